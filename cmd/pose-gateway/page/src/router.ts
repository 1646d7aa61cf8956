/* Places of the page, in the URL's hash: the server need not know them. */

export type Route = { name: "home" } | { name: "job"; id: string };

export function route(hash: string): Route {
  const match = /^#\/jobs\/([^/?#]{1,800})$/.exec(hash);
  if (match === null) return { name: "home" };
  try {
    const id = decodeURIComponent(match[1]!);
    // The names that Kubernetes allows, and nothing that could lead to another path.
    return /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(id) ? { name: "job", id } : { name: "home" };
  } catch {
    return { name: "home" };
  }
}

export function jobHash(id: string): string {
  return `#/jobs/${encodeURIComponent(id)}`;
}
