/*
 * Where people stand in the 3D view. pose.json has the camera's axes (x right, y down, z
 * forward, metres); WebGL's are x right, y up, z towards the viewer. One is the other
 * turned by half a turn about x: (x, y, z) becomes (x, -y, -z).
 */

import { slots, type Pose } from "../pose/model";

/** Room: each at its translation. Side by side: hips on one line, for results without a place in the room. */
export type Layout = "Room" | "SideBySide";

export interface Stage {
  layout: Layout;
  /** 3 P: added to a person's joints (already turned), SideBySide only. */
  offset: Float32Array;
  /** Height of the floor: under the feet of most. */
  floor: number;
  /** Where people are. */
  bounds: Bounds;
}

/** Middle and half extent, metres. */
export interface Bounds {
  centre: [number, number, number];
  extent: [number, number, number];
}

/** Metres between two people side by side. */
const GAP = 1.3;
/** People in one row; more stand in rows behind. */
const ROW = 8;
/** A room deeper than this cannot be looked at as a whole. */
const DEEP = 25;
const SAMPLES = 1500;

/** Room where there are translations and they span no more than a hall. */
export function defaultLayout(pose: Pose): Layout {
  return pose.translation !== undefined && stage(pose, "Room").bounds.extent[2] * 2 <= DEEP ? "Room" : "SideBySide";
}

/** The joint k of entry n in the view's axes, into out at 3 at. NaN where it is not known. */
export function place(pose: Pose, at: Stage, n: number, k: number, out: Float32Array | number[], into: number): void {
  const j = (n * pose.skeleton.joints.length + k) * 3;
  const joints = pose.joints3d!;
  let x = joints[j]!, y = -joints[j + 1]!, z = -joints[j + 2]!;
  if (at.layout === "Room") {
    x += pose.translation![n * 3]!;
    y -= pose.translation![n * 3 + 1]!;
    z -= pose.translation![n * 3 + 2]!;
  } else {
    const p = pose.person[n]! * 3;
    x += at.offset[p]!;
    y += at.offset[p + 1]!;
    z += at.offset[p + 2]!;
  }
  out[into] = x;
  out[into + 1] = y;
  out[into + 2] = z;
}

export function stage(pose: Pose, layout: Layout): Stage {
  const at: Stage = { layout, offset: offsets(pose), floor: -1, bounds: { centre: [0, 0, 0], extent: [1, 1, 1] } };
  const cloud = sample(pose, at, undefined);
  if (cloud === undefined) return at;
  // The feet of most stand on the floor; whoever the engine sinks into it is an outlier.
  at.floor = quantile(cloud.lowest, 0.1);
  at.bounds = bounds(cloud.axes);
  return at;
}

/** Where one person is, over the whole video; undefined where nothing is known of them. */
export function boundsOf(pose: Pose, at: Stage, person: number): Bounds | undefined {
  const cloud = sample(pose, at, person);
  return cloud && bounds(cloud.axes);
}

interface Cloud {
  axes: [number[], number[], number[]];
  /** Lowest joint of each entry. */
  lowest: number[];
}

/** The joints of some entries, spread over the video, of a person or of all. */
function sample(pose: Pose, at: Stage, person: number | undefined): Cloud | undefined {
  const entries: number[] = [];
  for (let n = 0; n < pose.person.length; n++) if (person === undefined || pose.person[n] === person) entries.push(n);
  const step = Math.max(1, Math.floor(entries.length / SAMPLES));
  const cloud: Cloud = { axes: [[], [], []], lowest: [] };
  const point = [0, 0, 0];
  for (let e = 0; e < entries.length; e += step) {
    let low = Infinity;
    for (let k = 0; k < pose.skeleton.joints.length; k++) {
      place(pose, at, entries[e]!, k, point, 0);
      if (!point.every(Number.isFinite)) continue;
      low = Math.min(low, point[1]!);
      cloud.axes.forEach((axis, a) => axis.push(point[a]!));
    }
    if (low < Infinity) cloud.lowest.push(low);
  }
  return cloud.lowest.length === 0 ? undefined : cloud;
}

function bounds(axes: Cloud["axes"]): Bounds {
  const found: Bounds = { centre: [0, 0, 0], extent: [1, 1, 1] };
  axes.forEach((axis, a) => {
    // The last percent of joints on either side are guesses far off.
    const low = quantile(axis, 0.01), high = quantile(axis, 0.99);
    found.centre[a] = (low + high) / 2;
    found.extent[a] = Math.max(0.3, (high - low) / 2);
  });
  return found;
}

function offsets(pose: Pose): Float32Array {
  const slot = slots(pose.people.firstFrame, pose.people.lastFrame);
  const count = slot.reduce((most, s) => Math.max(most, s + 1), 0);
  const columns = Math.min(ROW, count);
  const offset = new Float32Array(slot.length * 3);
  slot.forEach((s, p) => {
    offset[p * 3] = ((s % ROW) - (columns - 1) / 2) * GAP;
    offset[p * 3 + 2] = -Math.floor(s / ROW) * GAP * 1.5;
  });
  return offset;
}

export function quantile(values: number[], share: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}
