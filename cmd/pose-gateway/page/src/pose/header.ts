/* The members of pose.json before `frames`, checked: docs/pose-json.md of the project is the contract. */

import { clean } from "../text";
import type { Pose } from "./model";

export type Header = Pick<Pose, "video" | "engine" | "skeleton" | "camera" | "quality" | "people"> & { has3D: boolean; hasTranslation: boolean };

/** What is wrong with a file, in words for a person. */
export class PoseError extends Error {
  override name = "PoseError";
}

type Json = Record<string, unknown>;

export function readHeader(json: unknown): Header {
  const top = object(json, "the file");
  if (top.kind !== "PoseResult" || top.apiVersion !== "pose.dev/v1alpha1") {
    throw new PoseError(`This is no pose.json that the page knows: its kind is ${quote(top.kind)} and its apiVersion ${quote(top.apiVersion)}; PoseResult of pose.dev/v1alpha1 was expected.`);
  }
  const video = object(top.video, "video");
  const units = object(top.units, "units");
  const engine = isObject(top.engine) ? top.engine : {};
  return {
    video: {
      width: whole(video.width, "video.width", 1, 16384),
      height: whole(video.height, "video.height", 1, 16384),
      fps: number(video.fps, "video.fps", 1e-6, 1000),
      frames: whole(video.frames, "video.frames", 1, 10_000_000),
      startFrame: whole(video.startFrame ?? 0, "video.startFrame", 0, Number.MAX_SAFE_INTEGER),
      captureFPS: video.captureFPS === undefined ? undefined : number(video.captureFPS, "video.captureFPS", 1e-6, 1e6),
    },
    engine: { name: clean(engine.name, 128), version: clean(engine.version, 128), device: clean(engine.device, 16) },
    skeleton: readSkeleton(object(top.skeleton, "skeleton")),
    camera: isObject(top.camera) ? readCamera(top.camera) : undefined,
    quality: isObject(top.quality) ? readQuality(top.quality) : undefined,
    people: readPeople(top.people),
    has3D: units.joints3d === "metres",
    hasTranslation: units.joints3d === "metres" && units.translation === "metres",
  };
}

function readSkeleton(skeleton: Json): Header["skeleton"] {
  const joints = list(skeleton.joints, "skeleton.joints", 256);
  if (joints.length === 0) throw new PoseError("skeleton.joints is empty: a skeleton has at least one joint.");
  const edges = list(skeleton.edges, "skeleton.edges", 1024);
  const pairs = new Uint16Array(edges.length * 2);
  edges.forEach((edge, k) => {
    const pair = list(edge, `skeleton.edges[${k}]`, 2);
    pairs[2 * k] = whole(pair[0], `skeleton.edges[${k}][0]`, 0, joints.length - 1);
    pairs[2 * k + 1] = whole(pair[1], `skeleton.edges[${k}][1]`, 0, joints.length - 1);
  });
  return { name: clean(skeleton.name, 64), joints: joints.map((name, k) => clean(name, 60) || `joint ${k}`), edges: pairs };
}

function readCamera(camera: Json): Header["camera"] {
  const caveats = Array.isArray(camera.caveats) ? camera.caveats.slice(0, 16).map((line) => clean(line, 400)) : [];
  return { model: clean(camera.model, 32), focalLengthPx: Number(camera.focalLengthPx), focalLengthOrigin: clean(camera.focalLengthOrigin, 32), caveats };
}

function readQuality(quality: Json): Header["quality"] {
  const optional = (value: unknown): number | undefined => (typeof value === "number" ? value : undefined);
  return {
    coverage: optional(quality.coverage) ?? NaN,
    gaps: optional(quality.gaps) ?? NaN,
    idSwitchesSuspected: optional(quality.idSwitchesSuspected),
    peopleFiltered: optional(quality.peopleFiltered),
    peopleNotSelected: optional(quality.peopleNotSelected),
  };
}

function readPeople(value: unknown): Header["people"] {
  const people = list(value, "people", 1_000_000);
  const columns = { id: new Uint32Array(people.length), firstFrame: new Uint32Array(people.length), lastFrame: new Uint32Array(people.length), framesSeen: new Uint32Array(people.length) };
  people.forEach((value, k) => {
    const person = object(value, `people[${k}]`);
    columns.id[k] = whole(person.id, `people[${k}].id`, 1, 2147483647);
    if (k > 0 && columns.id[k]! <= columns.id[k - 1]!) throw new PoseError(`people[${k}].id is ${columns.id[k]}: ids must ascend.`);
    columns.firstFrame[k] = whole(person.firstFrame, `people[${k}].firstFrame`, 0, 10_000_000);
    columns.lastFrame[k] = whole(person.lastFrame, `people[${k}].lastFrame`, 0, 10_000_000);
    columns.framesSeen[k] = whole(person.framesSeen, `people[${k}].framesSeen`, 0, 10_000_000);
  });
  return columns;
}

export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function object(value: unknown, what: string): Json {
  if (!isObject(value)) throw new PoseError(`${what} of the pose.json is ${quote(value)}, and must be an object.`);
  return value;
}

function list(value: unknown, what: string, most: number): unknown[] {
  if (!Array.isArray(value)) throw new PoseError(`${what} of the pose.json is ${quote(value)}, and must be a list.`);
  if (value.length > most) throw new PoseError(`${what} of the pose.json has ${value.length} entries; at most ${most} are read.`);
  return value;
}

function number(value: unknown, what: string, least: number, most: number): number {
  if (typeof value !== "number" || !(value >= least && value <= most)) throw new PoseError(`${what} of the pose.json is ${quote(value)}, and must be a number from ${least} to ${most}.`);
  return value;
}

function whole(value: unknown, what: string, least: number, most: number): number {
  const n = number(value, what, least, most);
  if (!Number.isInteger(n)) throw new PoseError(`${what} of the pose.json is ${n}, and must be a whole number.`);
  return n;
}

export function quote(value: unknown): string {
  if (value === undefined) return "missing";
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "a list" : "an object";
  return clean(JSON.stringify(value), 60);
}
