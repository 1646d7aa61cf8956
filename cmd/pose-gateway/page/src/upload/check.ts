/* What is wrong with a file before a byte of it is sent (pure). */

import type { Config } from "../types";
import { bytes } from "../format";
import { clean } from "../text";

export interface Candidate {
  name: string;
  size: number;
  type: string;
}

/** Containers that engines read, where the server names none. */
const VIDEO = [".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp", ".ogv", ".mxf"];

/** Why a file cannot be sent, and what to do; "" where nothing speaks against it. */
export function objection(file: Candidate, limits: Config["uploads"]): string {
  const known = limits.extensions.length > 0 ? limits.extensions : VIDEO;
  const extension = extensionOf(file.name);
  if (file.size === 0) return "The file is empty. Choose the video itself; a folder or a file that is still being copied cannot be sent.";
  if (!known.includes(extension)) {
    const kind = extension === "" ? "has no extension that says what it is" : `is a ${clean(extension, 16)} file`;
    return `It ${kind}. Choose a video: ${known.slice(0, 8).join(", ")}${known.length > 8 ? " …" : ""}.`;
  }
  if (/^(image|audio|text)\//.test(file.type)) return `It is ${file.type.split("/")[0]}, not a video.`;
  if (limits.maxBytes > 0 && file.size > limits.maxBytes) {
    return `It has ${bytes(file.size)}, and this server takes ${bytes(limits.maxBytes)}. Cut it or encode it smaller, for example with ffmpeg -crf 23.`;
  }
  return "";
}

/** The extension with its dot, in lower case. */
export function extensionOf(name: string): string {
  const dot = name.lastIndexOf(".");
  return dot > 0 ? name.slice(dot).toLowerCase() : "";
}

/** Bytes a second over the last samples, or undefined while there is too little to say. */
export class Speed {
  private samples: { at: number; bytes: number }[] = [];

  add(at: number, bytes: number): void {
    this.samples.push({ at, bytes });
    while (this.samples.length > 2 && at - this.samples[0]!.at > 8000) this.samples.shift();
  }

  reset(): void {
    this.samples = [];
  }

  get(): number | undefined {
    const first = this.samples[0], last = this.samples.at(-1);
    if (first === undefined || last === undefined || last.at - first.at < 700) return undefined;
    return ((last.bytes - first.bytes) * 1000) / (last.at - first.at);
  }
}
