/* Skeletons in pixels of the video, drawn over it or, where there is none, on an empty frame of its shape. */

import { entriesOf, type Pose } from "../pose/model";
import { css, type Choice } from "./colour";

export interface FlatHit {
  entry: number;
  joint: number;
  x: number;
  y: number;
}

export class FlatView {
  private readonly context: CanvasRenderingContext2D;
  private readonly canvas: HTMLCanvasElement;
  private readonly pose: Pose;
  private frame = 0;
  private choice: Choice;
  private joint = -1;
  private on = true;

  constructor(canvas: HTMLCanvasElement, pose: Pose) {
    const context = canvas.getContext("2d");
    if (context === null) throw new Error("the browser gives no 2D canvas");
    this.context = context;
    this.canvas = canvas;
    this.pose = pose;
  }

  show(frame: number, choice: Choice, joint: number, on: boolean): void {
    this.frame = frame;
    this.choice = choice;
    this.joint = joint;
    this.on = on;
    this.draw();
  }

  draw(): void {
    const { canvas, context, pose } = this;
    const ratio = Math.min(2, devicePixelRatio);
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    context.clearRect(0, 0, width, height);
    if (!this.on || width === 0) return;
    context.setTransform(width / pose.video.width, 0, 0, height / pose.video.height, 0, 0);
    const unit = pose.video.width / Math.max(1, canvas.clientWidth); // pixels of the video in one of the page
    const [from, to] = entriesOf(pose, this.frame);
    for (let n = from; n < to; n++) this.person(n, unit);
    context.setTransform(1, 0, 0, 1, 0, 0);
  }

  /** The joint nearest to a place on the screen, within 14 px. */
  pick(clientX: number, clientY: number): FlatHit | undefined {
    const { pose } = this;
    const area = this.canvas.getBoundingClientRect();
    const scaleX = area.width / pose.video.width, scaleY = area.height / pose.video.height;
    const x = clientX - area.left, y = clientY - area.top;
    const joints = pose.skeleton.joints.length;
    const [from, to] = entriesOf(pose, this.frame);
    let best: FlatHit | undefined, near = 14;
    for (let n = from; n < to; n++) {
      for (let k = 0; k < joints; k++) {
        const at = (n * joints + k) * 3;
        const distance = Math.hypot(pose.joints2d[at]! * scaleX - x, pose.joints2d[at + 1]! * scaleY - y);
        if (distance < near) {
          near = distance;
          best = { entry: n, joint: k, x, y };
        }
      }
    }
    return best;
  }

  private person(n: number, unit: number): void {
    const { context, pose } = this;
    const chosen = this.choice === undefined || this.choice === pose.person[n];
    const id = pose.people.id[pose.person[n]!]!;
    const joints = pose.skeleton.joints.length, at = n * joints * 3;
    const alpha = (chosen ? 1 : 0.25) * (pose.observed[n] === 0 ? 0.5 : 1);
    const point = (k: number): [number, number] => [pose.joints2d[at + k * 3]!, pose.joints2d[at + k * 3 + 1]!];
    context.strokeStyle = css(id, alpha);
    context.lineWidth = 2.5 * unit;
    context.lineCap = "round";
    context.beginPath();
    for (let e = 0; e < pose.skeleton.edges.length; e += 2) {
      const a = point(pose.skeleton.edges[e]!), b = point(pose.skeleton.edges[e + 1]!);
      if (!Number.isFinite(a[0] + a[1] + b[0] + b[1])) continue;
      context.moveTo(...a);
      context.lineTo(...b);
    }
    context.stroke();
    for (let k = 0; k < joints; k++) {
      const [x, y] = point(k);
      if (!Number.isFinite(x + y)) continue;
      const stands = chosen && k === this.joint;
      context.fillStyle = stands ? "#ffffff" : css(id, alpha * (pose.joints2d[at + k * 3 + 2]! >= 0.5 ? 1 : 0.45));
      context.beginPath();
      context.arc(x, y, (stands ? 6 : 2.6) * unit, 0, Math.PI * 2);
      context.fill();
      if (stands) {
        context.lineWidth = 2 * unit;
        context.stroke();
      }
    }
    this.label(n, id, unit, alpha);
  }

  private label(n: number, id: number, unit: number, alpha: number): void {
    const { context, pose } = this;
    const x = pose.bbox[n * 4]!, y = pose.bbox[n * 4 + 1]!;
    if (!Number.isFinite(x + y)) return;
    context.font = `600 ${12 * unit}px system-ui, sans-serif`;
    const text = String(id), wide = context.measureText(text).width + 8 * unit;
    const top = Math.max(0, y - 16 * unit);
    context.fillStyle = `rgb(0 0 0 / ${0.65 * alpha})`;
    context.fillRect(x, top, wide, 16 * unit);
    context.fillStyle = `rgb(255 255 255 / ${alpha})`;
    context.fillText(text, x + 4 * unit, top + 12 * unit);
  }
}
