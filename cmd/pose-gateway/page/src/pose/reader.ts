/*
 * Reads a pose.json of any size piece by piece. `frames` is the last member of the file,
 * so everything needed to read a frame is known when the first one comes, and no more
 * than one frame is ever held as text. What comes out are the flat arrays of model.ts.
 */

import { isObject, PoseError, quote, readHeader, type Header } from "./header";
import type { Pose } from "./model";

export interface Limits {
  /** Bytes of arrays that are made; more than a page should take. */
  arrayBytes: number;
  /** Characters of the members before `frames`, and of one frame. */
  text: number;
}

export const LIMITS: Limits = { arrayBytes: 768 << 20, text: 32 << 20 };

const MAX_PEOPLE_IN_FRAME = 1000;

const QUOTE = 34, BACKSLASH = 92, OPEN_LIST = 91, CLOSE_LIST = 93, OPEN = 123, CLOSE = 125, COMMA = 44;

type Where = "Head" | "Frames" | "Tail" | "Done";

export class PoseReader {
  private where: Where = "Head";
  private text = ""; // of the head, or of the frame that is not complete yet
  private depth = 0;
  private inString = false;
  private escaped = false;
  private header: Header | undefined;
  private columns: Columns | undefined;
  private readonly index = new Map<number, number>();
  private readonly limits: Limits;

  constructor(limits: Limits = LIMITS) {
    this.limits = limits;
  }

  /** Frames read so far and in all; 0 while not known. */
  get progress(): { frames: number; total: number } {
    return { frames: this.columns?.frames ?? 0, total: this.header?.video.frames ?? 0 };
  }

  push(piece: string): void {
    let from = 0; // where what belongs to this.text begins
    // Locals: this loop runs once for each of perhaps a hundred million characters.
    let { depth, inString, escaped } = this;
    for (let k = 0; k < piece.length; k++) {
      const c = piece.charCodeAt(k);
      if (inString) {
        if (escaped) escaped = false;
        else if (c === BACKSLASH) escaped = true;
        else if (c === QUOTE) inString = false;
      } else if (c === QUOTE) inString = true;
      // Digits, points, minus signs and commas inside a frame are most of a file.
      else if (c < OPEN_LIST) {
        if (c === COMMA && this.where === "Tail") throw new PoseError("frames is not the last member of this pose.json, as its format demands.");
      } else if (c === OPEN || c === OPEN_LIST) {
        from = this.opens(piece, from, k, depth);
        depth++;
      } else if (c === CLOSE || c === CLOSE_LIST) {
        depth--;
        if (depth <= 2) from = this.closes(piece, from, k, depth);
      }
    }
    this.depth = depth;
    this.inString = inString;
    this.escaped = escaped;
    if (this.where === "Head" || (this.where === "Frames" && depth > 2)) this.keep(piece.slice(from));
  }

  /** A bracket opens at k: perhaps the list of frames, or a frame. Where the text to keep begins comes back. */
  private opens(piece: string, from: number, k: number, depth: number): number {
    if (this.where === "Head" && depth === 1 && piece[k] === "[" && this.atFrames(piece.slice(from, k))) {
      this.endHead(this.text + piece.slice(from, k + 1));
      return k + 1;
    }
    return this.where === "Frames" && depth === 2 ? k : from;
  }

  private closes(piece: string, from: number, k: number, depth: number): number {
    if (this.where === "Frames" && depth === 2) {
      this.endFrame(this.text + piece.slice(from, k + 1));
      return k + 1;
    }
    if (this.where === "Frames" && depth === 1) this.where = "Tail";
    else if (this.where === "Tail" && depth === 0) this.where = "Done";
    return from;
  }

  /** The whole result; throws where the file ended early. */
  end(): Pose {
    const { header, columns } = this;
    if (header === undefined || columns === undefined) throw new PoseError("This is no pose.json: it has no list of frames.");
    if (this.where !== "Done" || columns.frames !== header.video.frames) {
      throw new PoseError(`The pose.json ends early: ${columns.frames} of ${header.video.frames} frames are there. Load the page again; if that does not help, the file was cut off when it was stored.`);
    }
    const { has3D: _, hasTranslation: __, ...rest } = header;
    return { ...rest, ...columns.finish() };
  }

  private atFrames(piece: string): boolean {
    return /[{,]\s{0,64}"frames"\s{0,64}:\s{0,64}$/.test((this.text + piece).slice(-256));
  }

  private keep(piece: string): void {
    if (this.text.length + piece.length > this.limits.text) throw new PoseError(`The pose.json has ${this.where === "Head" ? "a head" : "a frame"} of more than ${this.limits.text >> 20} MiB, which no engine writes.`);
    this.text += piece;
  }

  private endHead(text: string): void {
    this.text = "";
    this.header = readHeader(parse(text + "]}", "the members before frames"));
    this.header.people.id.forEach((id, k) => this.index.set(id, k));
    this.columns = new Columns(this.header, this.limits.arrayBytes);
    this.where = "Frames";
  }

  private endFrame(text: string): void {
    this.text = "";
    const columns = this.columns!;
    const frame = parse(text, `frame ${columns.frames}`);
    if (!isObject(frame) || frame.index !== columns.frames) throw new PoseError(`Frame ${columns.frames} of the pose.json has the index ${quote(isObject(frame) ? frame.index : frame)}: frames must count 0, 1, 2 …`);
    if (!Array.isArray(frame.people) || frame.people.length > MAX_PEOPLE_IN_FRAME) throw new PoseError(`people of frame ${columns.frames} must be a list of at most ${MAX_PEOPLE_IN_FRAME}.`);
    let before = -1;
    for (const value of frame.people) {
      const person = isObject(value) ? value : {};
      const k = typeof person.id === "number" ? this.index.get(person.id) : undefined;
      if (k === undefined || k <= before) throw new PoseError(`Frame ${columns.frames} has the person ${quote(person.id)}, ${k === undefined ? "whom the list of people lacks" : "and ids must ascend"}.`);
      before = k;
      columns.add(k, person);
    }
    columns.endFrame(frame.time);
  }
}

function parse(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new PoseError(`The pose.json is no valid JSON in ${what}: ${error instanceof Error ? error.message.slice(0, 160) : ""}`);
  }
}

/** The arrays while they grow. */
class Columns {
  frames = 0;
  private entries = 0;
  private capacity = 0;
  private readonly joints: number;
  private readonly frameStart: Uint32Array<ArrayBuffer>;
  private readonly time: Float64Array<ArrayBuffer>;
  private timed = 0;
  private person = new Uint32Array(0);
  private observed = new Uint8Array(0);
  private bbox = new Float32Array(0);
  private joints2d = new Float32Array(0);
  private joints3d = new Float32Array(0);
  private translation = new Float32Array(0);
  private readonly header: Header;
  private readonly most: number;

  constructor(header: Header, arrayBytes: number) {
    this.header = header;
    this.joints = header.skeleton.joints.length;
    const frames = header.video.frames;
    this.most = Math.floor((arrayBytes - frames * 12) / (25 + this.joints * (header.has3D ? 24 : 12) + (header.hasTranslation ? 12 : 0)));
    if (this.most < 1) throw new PoseError(`The result has ${frames} frames, more than a page can show. Download it instead.`);
    this.frameStart = new Uint32Array(frames + 1);
    this.time = new Float64Array(frames);
  }

  add(person: number, from: Record<string, unknown>): void {
    if (this.entries === this.capacity) this.grow();
    const n = this.entries++;
    this.person[n] = person;
    this.observed[n] = from.observed === false ? 0 : 1;
    copy(this.bbox, n * 4, from.bbox, 4);
    this.copyJoints(this.joints2d, n, from.joints2d);
    if (this.header.has3D) this.copyJoints(this.joints3d, n, from.joints3d);
    if (this.header.hasTranslation) copy(this.translation, n * 3, from.translation, 3);
  }

  endFrame(time: unknown): void {
    if (this.frames >= this.time.length) throw new PoseError(`The pose.json has more frames than the ${this.time.length} that it announces.`);
    if (typeof time === "number") {
      this.time[this.frames] = time;
      this.timed++;
    }
    this.frameStart[++this.frames] = this.entries;
  }

  finish(): Pick<Pose, "frameStart" | "time" | "person" | "observed" | "bbox" | "joints2d" | "joints3d" | "translation"> {
    const n = this.entries, j = this.joints * 3;
    return {
      frameStart: this.frameStart,
      time: this.timed === this.frames ? this.time : undefined,
      person: this.person.slice(0, n),
      observed: this.observed.slice(0, n),
      bbox: this.bbox.slice(0, n * 4),
      joints2d: this.joints2d.slice(0, n * j),
      joints3d: this.header.has3D ? this.joints3d.slice(0, n * j) : undefined,
      translation: this.header.hasTranslation ? this.translation.slice(0, n * 3) : undefined,
    };
  }

  private copyJoints(into: Float32Array, n: number, from: unknown): void {
    const rows = Array.isArray(from) ? from : [];
    for (let k = 0; k < this.joints; k++) copy(into, (n * this.joints + k) * 3, rows[k], 3);
  }

  private grow(): void {
    if (this.entries >= this.most) throw new PoseError(`The result is larger than a page can show: more than ${this.most.toLocaleString("en")} sightings of people. Download it instead.`);
    // As many entries as the frames so far suggest, so that most files need one or two steps.
    const guess = this.frames === 0 ? 256 : Math.ceil((this.entries / this.frames) * this.time.length * 1.1);
    this.capacity = Math.min(this.most, Math.max(256, Math.min(guess, this.capacity * 8), this.capacity * 2));
    const wider = (array: Float32Array, width: number): Float32Array<ArrayBuffer> => {
      const bigger = new Float32Array(this.capacity * width);
      bigger.set(array);
      return bigger;
    };
    const person = new Uint32Array(this.capacity), observed = new Uint8Array(this.capacity);
    person.set(this.person);
    observed.set(this.observed);
    this.person = person;
    this.observed = observed;
    this.bbox = wider(this.bbox, 4);
    this.joints2d = wider(this.joints2d, this.joints * 3);
    if (this.header.has3D) this.joints3d = wider(this.joints3d, this.joints * 3);
    if (this.header.hasTranslation) this.translation = wider(this.translation, 3);
  }
}

/** Copies numbers; what is missing, null or no number becomes NaN. */
function copy(into: Float32Array, at: number, from: unknown, count: number): void {
  const list = Array.isArray(from) ? from : [];
  for (let k = 0; k < count; k++) {
    const value: unknown = list[k];
    into[at + k] = typeof value === "number" ? value : NaN;
  }
}
