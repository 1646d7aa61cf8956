/*
 * A pose.json in memory: flat arrays in place of objects, which take a tenth of the
 * memory and pass from the worker to the page without a copy.
 *
 * An entry is one person in one frame. Entries stand by frame, then by id. F frames,
 * N entries, J joints, P people. A number that the file lacks is NaN.
 */
export interface Pose {
  video: { width: number; height: number; fps: number; frames: number; startFrame: number; captureFPS: number | undefined };
  engine: { name: string; version: string; device: string };
  skeleton: { name: string; joints: string[]; edges: Uint16Array<ArrayBuffer> /* pairs, 2 an edge */ };
  camera: { model: string; focalLengthPx: number; focalLengthOrigin: string; caveats: string[] } | undefined;
  quality: { coverage: number; gaps: number; idSwitchesSuspected: number | undefined; peopleFiltered: number | undefined; peopleNotSelected: number | undefined } | undefined;
  people: { id: Uint32Array<ArrayBuffer>; firstFrame: Uint32Array<ArrayBuffer>; lastFrame: Uint32Array<ArrayBuffer>; framesSeen: Uint32Array<ArrayBuffer> };
  /** F + 1: the entries of frame f are frameStart[f] to frameStart[f + 1] - 1. */
  frameStart: Uint32Array<ArrayBuffer>;
  /** F, seconds in the source video; undefined where the file has none. */
  time: Float64Array<ArrayBuffer> | undefined;
  /** N: index into people. */
  person: Uint32Array<ArrayBuffer>;
  /** N: 0 where the engine guessed between two sightings. */
  observed: Uint8Array<ArrayBuffer>;
  /** 4 N: left, top, width, height in pixels. */
  bbox: Float32Array<ArrayBuffer>;
  /** 3 J N: x, y in pixels, visibility 0..1. */
  joints2d: Float32Array<ArrayBuffer>;
  /** 3 J N: x right, y down, z forward in metres from the middle of the hips; undefined where the file has none. */
  joints3d: Float32Array<ArrayBuffer> | undefined;
  /** 3 N: that middle in the camera's frame, metres; undefined where the file has none. */
  translation: Float32Array<ArrayBuffer> | undefined;
}

/** The buffers of a pose, to hand over without copying. */
export function buffers(pose: Pose): ArrayBuffer[] {
  const arrays = [pose.skeleton.edges, ...Object.values(pose.people), pose.frameStart, pose.time, pose.person, pose.observed, pose.bbox, pose.joints2d, pose.joints3d, pose.translation];
  return arrays.filter((array) => array !== undefined).map((array) => array.buffer);
}

/** The entries of a frame as [from, to). */
export function entriesOf(pose: Pose, frame: number): [number, number] {
  return [pose.frameStart[frame] ?? 0, pose.frameStart[frame + 1] ?? pose.frameStart[frame] ?? 0];
}

/** The entry of a person (index into people) in a frame, or -1. */
export function entryOf(pose: Pose, frame: number, person: number): number {
  let [low, high] = entriesOf(pose, frame);
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (pose.person[middle]! < person) low = middle + 1;
    else high = middle;
  }
  return low < entriesOf(pose, frame)[1] && pose.person[low] === person ? low : -1;
}

/**
 * For results without a place in the room: a slot for each person so that two who are
 * in view at the same time never share one. The usual greedy colouring of intervals:
 * people by first frame, each into the lowest slot that is free.
 */
export function slots(firstFrame: ArrayLike<number>, lastFrame: ArrayLike<number>): Uint32Array {
  const order = Array.from({ length: firstFrame.length }, (_, k) => k).sort((a, b) => firstFrame[a]! - firstFrame[b]! || a - b);
  const until: number[] = [];
  const slot = new Uint32Array(firstFrame.length);
  for (const k of order) {
    let free = until.findIndex((end) => end < firstFrame[k]!);
    if (free < 0) free = until.push(-1) - 1;
    until[free] = lastFrame[k]!;
    slot[k] = free;
  }
  return slot;
}
