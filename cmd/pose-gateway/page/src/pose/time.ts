/*
 * Frames and seconds. The overlay video has every frame of the result, at a steady rate
 * of video.fps (engines write it so even where the source's rate varies): frame i is
 * shown from i / fps to (i + 1) / fps.
 */

export interface Timeline {
  frames: number;
  /** Frames a second of the video that is shown. */
  fps: number;
}

/**
 * The timeline for a video of so many seconds. Where it does not fit the result's rate
 * (by more than a frame and 2%) the video's own length decides: frames are spread
 * evenly over it.
 */
export function timeline(frames: number, fps: number, videoSeconds: number | undefined): Timeline {
  const expected = frames / fps;
  if (videoSeconds === undefined || !Number.isFinite(videoSeconds) || videoSeconds <= 0) return { frames, fps };
  return Math.abs(videoSeconds - expected) <= Math.max(1 / fps, expected * 0.02) ? { frames, fps } : { frames, fps: frames / videoSeconds };
}

/** The frame that is on the screen at a time of the video, in seconds. */
export function frameAt(line: Timeline, seconds: number): number {
  if (!Number.isFinite(seconds)) return 0;
  // Media times are rounded to microseconds or worse: a hundredth of a frame is added.
  return clampFrame(line, Math.floor(seconds * line.fps + 0.01));
}

/** Where to seek so that a frame is shown: its middle, which no rounding moves to a neighbour. */
export function seekTo(line: Timeline, frame: number): number {
  return (clampFrame(line, frame) + 0.5) / line.fps;
}

export function clampFrame(line: Timeline, frame: number): number {
  return Math.min(line.frames - 1, Math.max(0, Math.round(frame)));
}

export function seconds(line: Timeline): number {
  return line.frames / line.fps;
}
