/*
 * Text from outside: file names, messages of engines, names of joints. It reaches the
 * page as text nodes only (dom.ts has no way to write markup), and is cleaned here of
 * what would still deceive a reader: control characters, and the marks that turn the
 * direction of writing or are not seen at all.
 */

// C0 and C1 controls, soft hyphen, zero width characters, bidirectional marks, line and
// paragraph separators, the byte order mark, and the tag characters.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;

/** Text of at most max characters in one line; anything but a string is "". */
export function clean(value: unknown, max = 200): string {
  if (typeof value !== "string") return "";
  // Cut before replacing: a text of many megabytes must not cost as much.
  const line = value.slice(0, max * 4).replace(UNSEEN, " ").replace(/\s+/gu, " ").trim();
  const characters = [...line];
  return characters.length <= max ? line : characters.slice(0, max - 1).join("").trimEnd() + "…";
}

/** "DetectorLoadCrash" as "Detector load crash", "GPUHardwareFault" as "GPU hardware fault". */
export function words(name: string): string {
  const parts = name
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .replace(/([A-Z]+)([A-Z][a-z])/g, "$1 $2")
    .split(/[\s_-]+/)
    .filter((part) => part !== "");
  return parts.map((part, k) => (/^[A-Z0-9]{2,}$/.test(part) ? part : k === 0 ? part[0]!.toUpperCase() + part.slice(1) : part.toLowerCase())).join(" ");
}

/** "left_foot_index" as "left foot index". */
export function jointName(name: string): string {
  return clean(name.replace(/[_\s]+/g, " "), 60);
}

/** "1 person", "2 people". */
export function plural(count: number, one: string, many: string): string {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}
