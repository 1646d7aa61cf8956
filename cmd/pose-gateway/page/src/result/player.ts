/*
 * One clock for video and skeletons. With a video the video is the clock: skeletons
 * follow the frame that is really on the screen. Without one a clock of our own runs.
 */

import { clampFrame, frameAt, seconds, seekTo, timeline, type Timeline } from "../pose/time";

export class Player {
  line: Timeline;
  frame = 0;
  playing = false;
  speed = 1;
  private readonly frames: number;
  private readonly fps: number;
  private readonly changed: () => void;
  private video: HTMLVideoElement | undefined;
  private wanted = -1; // frame to seek to once the video can
  private clock = 0;
  private watching = 0;
  private startedAt = 0;
  private startedFrame = 0;

  constructor(frames: number, fps: number, changed: () => void) {
    this.frames = frames;
    this.fps = fps;
    this.changed = changed;
    this.line = timeline(frames, fps, undefined);
  }

  /** Makes a video the clock, whenever its length is known and until it fails; it may get another source later. */
  attach(video: HTMLVideoElement): void {
    const ready = (): void => {
      this.halt();
      this.video = video;
      this.wanted = -1;
      this.line = timeline(this.frames, this.fps, video.duration);
      video.playbackRate = this.speed;
      this.seek(this.frame);
      this.watch(video);
      this.changed();
    };
    video.addEventListener("loadedmetadata", ready);
    video.addEventListener("error", () => this.detach());
    video.addEventListener("play", () => this.state(true));
    for (const end of ["pause", "ended"]) video.addEventListener(end, () => this.stopped(video));
    video.addEventListener("seeked", () => this.seeked());
    if (video.readyState >= 1) ready();
  }

  detach(): void {
    this.video = undefined;
    this.line = timeline(this.frames, this.fps, undefined);
    this.state(false);
  }

  toggle(): void {
    if (this.playing) this.pause();
    else this.play();
  }

  play(): void {
    if (this.frame >= this.line.frames - 1) this.seek(0);
    if (this.video !== undefined) {
      this.video.play().catch(() => this.state(false));
      return;
    }
    this.state(true);
    this.startedAt = performance.now();
    this.startedFrame = this.frame;
    this.clock = requestAnimationFrame(() => this.tick());
  }

  pause(): void {
    this.video?.pause();
    this.halt();
    this.state(false);
  }

  /** Goes to a frame; while the video still seeks, only the last one asked for counts. */
  seek(frame: number): void {
    const to = clampFrame(this.line, frame);
    this.startedAt = performance.now();
    this.startedFrame = to;
    this.set(to);
    if (this.video === undefined) return;
    if (this.video.seeking) this.wanted = to;
    else this.video.currentTime = seekTo(this.line, to);
  }

  /** Moves by frames, as a key does: it stops. */
  step(by: number): void {
    if (this.playing) this.pause();
    this.seek(this.frame + by);
  }

  setSpeed(speed: number): void {
    this.speed = speed;
    this.startedAt = performance.now();
    this.startedFrame = this.frame;
    if (this.video !== undefined) this.video.playbackRate = speed;
    this.changed();
  }

  get duration(): number {
    return seconds(this.line);
  }

  dispose(): void {
    this.halt();
    this.video?.pause();
    this.video = undefined;
  }

  /** The last frame before a stop is not always told by the browser, which drops frames when it is busy. */
  private stopped(video: HTMLVideoElement): void {
    if (this.video !== video) return;
    if (!video.seeking && this.wanted < 0) this.set(frameAt(this.line, video.currentTime));
    this.state(false);
  }

  private seeked(): void {
    if (this.wanted < 0 || this.video === undefined) return;
    const to = this.wanted;
    this.wanted = -1;
    this.video.currentTime = seekTo(this.line, to);
  }

  private watch(video: HTMLVideoElement): void {
    const round = ++this.watching; // an earlier source's callbacks end here
    // The time of the frame that is shown where the browser tells, or else the clock's.
    const follow = (time: number): void => {
      if (this.video !== video || round !== this.watching) return;
      if (this.playing && !video.seeking && this.wanted < 0) this.set(frameAt(this.line, time));
      again();
    };
    const again = (): void => {
      if ("requestVideoFrameCallback" in video) video.requestVideoFrameCallback((_, data) => follow(data.mediaTime));
      else requestAnimationFrame(() => follow((video as HTMLVideoElement).currentTime));
    };
    again();
  }

  private tick(): void {
    if (!this.playing || this.video !== undefined) return;
    const frame = this.startedFrame + ((performance.now() - this.startedAt) / 1000) * this.line.fps * this.speed;
    this.set(clampFrame(this.line, Math.floor(frame)));
    if (this.frame >= this.line.frames - 1) return this.pause();
    this.clock = requestAnimationFrame(() => this.tick());
  }

  private halt(): void {
    cancelAnimationFrame(this.clock);
  }

  private state(playing: boolean): void {
    this.playing = playing;
    this.changed();
  }

  private set(frame: number): void {
    if (frame === this.frame) return;
    this.frame = frame;
    this.changed();
  }
}
