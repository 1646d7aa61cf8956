/*
 * A gateway of the test's own: it speaks the API document as far as the page uses it,
 * serves the built page under the gateway's content security policy, and lets the test
 * play what the cluster would do.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { readFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";

export const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; worker-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const TYPES: Record<string, string> = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".json": "application/json", ".mp4": "video/mp4" };

export type JobJSON = Record<string, unknown> & { id: string };

interface TusUpload {
  length: number;
  data: Buffer[];
  offset: number;
  metadata: Record<string, string>;
}

export class FakeGateway {
  url = "";
  readonly jobs = new Map<string, JobJSON>();
  readonly files = new Map<string, Record<string, { body: Buffer; path: string; mediaType: string }>>();
  readonly uploads = new Map<string, TusUpload>();
  readonly requests: string[] = [];
  mode: "Token" | "OIDC" | "Proxy" = "Proxy";
  signedIn = true;
  maxBytes = 50_000_000;
  chunkBytes = 64_000;
  /** Milliseconds before each PATCH is answered. */
  patchDelay = 0;
  /** Answers with 500 so many times. */
  failPatches = 0;
  /** Links of results that are good: those made since this number. */
  goodLinks = 0;
  /** Milliseconds for which links say that they are good. */
  linksFor = 600_000;
  namespaceChoice = false;
  private links = 0;
  private readonly streams = new Set<{ id: string | undefined; response: ServerResponse }>();
  private readonly dist: string;
  private readonly server: Server;
  private event = 0;
  private count = 0;

  constructor(dist: string) {
    this.dist = dist;
    this.server = createServer((request, response) => {
      this.serve(request, response).catch((error: unknown) => {
        if (!response.headersSent) response.writeHead(500);
        response.end(String(error));
      });
    });
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  /** Makes or changes a job, and tells all who listen. */
  put(job: JobJSON): void {
    this.jobs.set(job.id, job);
    this.tell(job.id, "job", job);
  }

  remove(id: string): void {
    this.jobs.delete(id);
    this.tell(id, "deleted", { id });
  }

  /** Ends the links that were given so far. */
  expireLinks(): void {
    this.goodLinks = this.links + 1;
  }

  /** Breaks all event streams, as a server that restarts does. */
  breakStreams(): void {
    for (const { response } of this.streams) response.destroy();
  }

  get listeners(): number {
    return this.streams.size;
  }

  private tell(id: string, type: string, data: unknown): void {
    this.event++;
    for (const stream of this.streams) if (stream.id === undefined || stream.id === id) send(stream.response, this.event, type, data);
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", this.url);
    this.requests.push(`${request.method} ${url.pathname}`);
    response.setHeader("X-Content-Type-Options", "nosniff");
    response.setHeader("Content-Security-Policy", CSP);
    if (!url.pathname.startsWith("/api/")) return this.page(url.pathname, response);
    if (url.pathname === "/api/pose/config") return json(response, 200, this.config());
    if (url.pathname.startsWith("/api/pose/media/")) return this.media(url.pathname, request, response);
    if (url.pathname.startsWith("/api/pose/exports/")) return this.exported(url.pathname, response);
    const token = request.headers.authorization === "Bearer good-token";
    if (!(this.signedIn && this.mode !== "Token") && !token) return problem(response, 401, "Not signed in", "Sign in first.");
    const writing = !["GET", "HEAD", "OPTIONS"].includes(request.method ?? "");
    if (writing && !token && request.headers["x-csrf-token"] !== "csrf-1") return problem(response, 403, "CSRF token missing", "Load the page again.");
    return this.api(url, request, response, token);
  }

  private async api(url: URL, request: IncomingMessage, response: ServerResponse, token: boolean): Promise<void> {
    const path = url.pathname.slice("/api/pose".length);
    if (path === "/session") return json(response, 200, { user: "alice@example.org", namespace: request.headers["pose-namespace"] ?? "snow", kind: token ? "Token" : "Proxy", ...(token ? {} : { csrfToken: "csrf-1" }) });
    if (path === "/logout") {
      this.signedIn = false;
      return void response.writeHead(204).end();
    }
    if (path === "/engines") return json(response, 200, { items: ENGINES });
    if (path.startsWith("/uploads")) return this.tus(path, request, response);
    if (path === "/jobs") return json(response, 200, { items: [...this.jobs.values()].reverse() });
    if (path === "/jobs/events") return this.stream(undefined, request, response);
    const [, , id = "", act = ""] = path.split("/");
    const job = this.jobs.get(decodeURIComponent(id));
    if (job === undefined) return problem(response, 404, "Not found", `There is no job ${id}.`);
    return this.jobAct(job, act, request, response);
  }

  private jobAct(job: JobJSON, act: string, request: IncomingMessage, response: ServerResponse): void {
    if (act === "events") return this.stream(job.id, request, response);
    if (act === "results") return json(response, 200, this.results(job.id));
    if (act === "" && request.method === "DELETE") {
      this.remove(job.id);
      return void response.writeHead(204).end();
    }
    if (act === "cancel") {
      const cancelled = { ...job, cancelled: true, suspended: true };
      this.put(cancelled);
      return json(response, 200, cancelled);
    }
    if (act === "retry") {
      const again = { ...job, id: `${job.id}-again`, status: {}, links: links(`${job.id}-again`, ["cancel", "delete"]) };
      this.put(again);
      return json(response, 201, again);
    }
    return json(response, 200, job);
  }

  private config(): unknown {
    return {
      version: "test",
      login: { mode: this.mode, ...(this.mode === "OIDC" ? { loginURL: "/api/pose/login", logoutURL: "/api/pose/logout" } : {}) },
      uploads: { url: "/api/pose/uploads", maxBytes: this.maxBytes, chunkBytes: this.chunkBytes, extensions: [".mp4", ".mov", ".mkv", ".webm", ".avi"] },
      namespaces: { default: "snow", choice: this.namespaceChoice },
    };
  }

  private results(id: string): unknown {
    const link = ++this.links;
    const files = Object.entries(this.files.get(id) ?? {}).map(([name, file]) => ({
      name,
      path: file.path,
      size: file.body.length,
      sha256: "ab".repeat(32),
      mediaType: file.mediaType,
      url: `/api/pose/media/link${link}-${id}/${name}`,
      downloadURL: `/api/pose/media/down${link}-${id}/${name}`,
    }));
    return { manifestSHA256: "cd".repeat(32), people: 2, frames: 90, expiresAt: new Date(Date.now() + this.linksFor).toISOString(), files, ...this.exports(id, link) };
  }

  /** As the gateway tells them: without 3D those that need it are missing, with the reason. */
  private exports(id: string, link: number): { exports: object[]; exportsMissing: object[] } {
    const body = this.files.get(id)?.pose?.body.subarray(0, 100_000).toString("utf8") ?? "";
    const all = FORMATS.map(([format, title, use, flat]) => ({ format, title, for: use, can: flat || /"joints3d":"metres"/.test(body) }));
    return {
      exports: all.filter((item) => item.can).map(({ format, title, for: use }) => ({ format, title, for: use, name: `${id}-${format}.zip`, url: `/api/pose/exports/link${link}-${id}/${id}-${format}.zip` })),
      exportsMissing: all.filter((item) => !item.can).map(({ format, title, for: use }) => ({ format, title, for: use, reason: "This needs joints in 3D, and the result has them in 2D only. Engines with 3D are phalp and mediapipe." })),
    };
  }

  private exported(path: string, response: ServerResponse): void {
    const [, link = "", name = ""] = /^\/api\/pose\/exports\/link(\d+)-[^/]+\/(.+)$/.exec(path) ?? [];
    if (name === "" || Number(link) < this.goodLinks) return problem(response, 403, "Link expired", "The link has expired: ask for the job's results again.");
    response.writeHead(200, { "Content-Type": "application/zip", "Content-Disposition": `attachment; filename="${name}"` }).end(`zip of ${name}`);
  }

  private media(path: string, request: IncomingMessage, response: ServerResponse): void {
    const [, link = "", id = "", name = ""] = /^\/api\/pose\/media\/(?:link|down)(\d+)-([^/]+)\/(.+)$/.exec(path) ?? [];
    if (Number(link) < this.goodLinks) return problem(response, 403, "Link expired", "The link has expired: ask for the job's results again.");
    const file = this.files.get(id)?.[name];
    if (file === undefined) return problem(response, 404, "Not found", "There is no such file.");
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    response.setHeader("Content-Type", file.mediaType);
    response.setHeader("Accept-Ranges", "bytes");
    response.setHeader("Cache-Control", "no-store");
    if (path.includes("/down")) response.setHeader("Content-Disposition", `attachment; filename="${file.path}"`);
    if (range === null) return void response.writeHead(200, { "Content-Length": file.body.length }).end(file.body);
    const from = Number(range[1]), to = range[2] === "" ? file.body.length - 1 : Math.min(file.body.length - 1, Number(range[2]));
    response.writeHead(206, { "Content-Range": `bytes ${from}-${to}/${file.body.length}`, "Content-Length": to - from + 1 }).end(file.body.subarray(from, to + 1));
  }

  private stream(id: string | undefined, request: IncomingMessage, response: ServerResponse): void {
    response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
    response.write("retry: 300\n\n");
    const stream = { id, response };
    this.streams.add(stream);
    request.on("close", () => this.streams.delete(stream));
    for (const job of this.jobs.values()) if (id === undefined || id === job.id) send(response, this.event, "job", job);
    send(response, this.event, "sync", { ids: [...this.jobs.keys()].filter((job) => id === undefined || id === job) });
  }

  private async tus(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.setHeader("Tus-Resumable", "1.0.0");
    if (request.method === "POST") {
      const id = `u${++this.count}`;
      const pairs = String(request.headers["upload-metadata"] ?? "").split(",").map((pair) => pair.trim().split(" "));
      const metadata = Object.fromEntries(pairs.map(([key = "", value = ""]) => [key, Buffer.from(value, "base64").toString()]));
      this.uploads.set(id, { length: Number(request.headers["upload-length"]), data: [], offset: 0, metadata });
      return void response.writeHead(201, { Location: `/api/pose/uploads/${id}` }).end();
    }
    const upload = this.uploads.get(path.split("/")[2] ?? "");
    if (upload === undefined) return problem(response, 404, "Not found", "There is no such upload.");
    if (request.method === "DELETE") {
      this.uploads.delete(path.split("/")[2] ?? "");
      return void response.writeHead(204).end();
    }
    if (request.method === "HEAD") return void response.writeHead(200, { "Upload-Offset": upload.offset, "Upload-Length": upload.length }).end();
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    if (this.patchDelay > 0) await new Promise((resolve) => setTimeout(resolve, this.patchDelay));
    if (this.failPatches > 0) {
      this.failPatches--;
      return problem(response, 500, "Broken", "The store does not answer.");
    }
    // What a page that was closed still had under way can come in between, as with the real gateway.
    if (Number(request.headers["upload-offset"]) !== upload.offset) return problem(response, 409, "Other offset", `The upload is at ${upload.offset}.`);
    const body = Buffer.concat(chunks);
    upload.data.push(body);
    upload.offset += body.length;
    const headers: Record<string, string | number> = { "Upload-Offset": upload.offset };
    if (upload.offset === upload.length) headers["Pose-Job-Id"] = this.made(upload);
    response.writeHead(204, headers).end();
  }

  private made(upload: TusUpload): string {
    const id = `video-${this.jobs.size + 1}`;
    this.put(job(id, { name: upload.metadata.filename, engine: upload.metadata.engine, device: upload.metadata.device, overlay: upload.metadata.overlay, links: links(id, ["cancel", "delete"]) }));
    return id;
  }

  private async page(path: string, response: ServerResponse): Promise<void> {
    const name = path === "/" ? "index.html" : normalize(path).replace(/^(\.\.[/\\])+/, "");
    try {
      const body = await readFile(join(this.dist, name));
      response.writeHead(200, { "Content-Type": TYPES[extname(name)] ?? "application/octet-stream" }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  }
}

/** Name, title, what it is for, and whether 2D is enough. */
const FORMATS: [string, string, string, boolean][] = [
  ["coco", "COCO keypoints", "training and evaluation of detectors, annotation tools", true],
  ["openpose", "OpenPose", "programs that read the output of OpenPose", true],
  ["bvh", "BVH", "animation: Blender, MotionBuilder, Maya, Unity", false],
  ["trc", "TRC", "OpenSim", false],
  ["c3d", "C3D", "biomechanics: OpenSim, Mokka, Visual3D", false],
  ["csv", "Joint angles (CSV)", "statistics: R, pandas, a spreadsheet", false],
];

const ENGINES = [
  { name: "mediapipe", default: true, ready: true, description: "33 landmarks a person, on the CPU.", devices: ["CPU"], overlays: ["None", "Blurred", "Full"], stages: ["ModelLoad", "DetectorLoad", "Tracking", "Writing"], variants: [{ name: "cpu", device: "CPU" }] },
  { name: "phalp", default: false, ready: true, devices: ["GPU", "CPU"], overlays: ["None", "Full"], stages: ["ModelLoad", "DetectorLoad", "VisualizerSetup", "Tracking", "Writing"], variants: [{ name: "gpu", device: "GPU" }, { name: "cpu", device: "CPU" }] },
  { name: "openpose", default: false, ready: false, message: "Its image is not set.", devices: ["GPU"], overlays: ["None"], stages: [], variants: [] },
];

export function links(id: string, which: string[]): Record<string, string> {
  const base = `/api/pose/jobs/${id}`;
  return Object.fromEntries([["self", base], ["events", `${base}/events`], ...which.map((name) => [name, name === "delete" ? base : `${base}/${name}`])]);
}

export function job(id: string, more: Record<string, unknown> = {}): JobJSON {
  return { id, namespace: "snow", name: `${id}.mp4`, createdAt: new Date().toISOString(), device: "Auto", overlay: "Full", deletionPolicy: "Retain", suspended: false, cancelled: false, status: {}, links: links(id, []), ...more };
}

function send(response: ServerResponse, id: number, type: string, data: unknown): void {
  response.write(`id: ${id}\nevent: ${type}\ndata: ${JSON.stringify(data)}\n\n`);
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
}

function problem(response: ServerResponse, status: number, title: string, detail: string): void {
  response.writeHead(status, { "Content-Type": "application/problem+json", "X-Request-Id": "req-1" }).end(JSON.stringify({ title, status, detail, requestId: "req-1" }));
}
