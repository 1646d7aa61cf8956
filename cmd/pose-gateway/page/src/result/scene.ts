/* The 3D view: skeletons as rods and balls on a grid of one metre. Draws only when something changed. */

import {
  AmbientLight, Color, CylinderGeometry, DirectionalLight, DynamicDrawUsage, GridHelper, InstancedMesh, Matrix4, MeshLambertMaterial,
  PerspectiveCamera, Quaternion, Raycaster, Scene, SphereGeometry, Vector2, Vector3, WebGLRenderer, type BufferGeometry,
} from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { entriesOf, type Pose } from "../pose/model";
import { rgb, type Choice } from "./colour";
import { boundsOf, place, stage, type Layout, type Stage } from "./place";

/** People that are drawn in one frame; a crowd beyond says nothing more. */
export const MAX_SHOWN = 64;

export type Preset = "Front" | "Side" | "Top" | "Corner" | "Camera";

export interface Hit {
  entry: number;
  joint: number;
  /** Pixels from the view's top left corner. */
  x: number;
  y: number;
}

const BALL = 0.026, ROD = 0.014;
const UP = new Vector3(0, 1, 0);
const ANGLES: Record<Exclude<Preset, "Camera">, [number, number]> = { Front: [0, 0.12], Side: [Math.PI / 2, 0.12], Top: [0, Math.PI / 2 - 0.01], Corner: [0.6, 0.35] };

export class PoseScene {
  private readonly renderer: WebGLRenderer;
  private readonly scene = new Scene();
  private readonly camera = new PerspectiveCamera(45, 1, 0.05, 5000);
  private readonly controls: OrbitControls;
  private readonly balls: InstancedMesh;
  private readonly rods: InstancedMesh;
  private readonly resize: ResizeObserver;
  private readonly points: Float32Array;
  private grid: GridHelper | undefined;
  private at: Stage;
  private background = new Color();
  private accent = new Color();
  private frame = 0;
  private choice: Choice;
  private joint = -1;
  private preset: Preset = "Corner";
  private readonly drawn: boolean[];
  private drawing = 0;
  private readonly box: HTMLElement;
  private readonly pose: Pose;

  /** Throws where the browser has no WebGL. */
  constructor(box: HTMLElement, pose: Pose, layout: Layout) {
    this.box = box;
    this.pose = pose;
    this.at = stage(pose, layout);
    this.renderer = new WebGLRenderer({ antialias: true });
    this.renderer.setPixelRatio(Math.min(2, devicePixelRatio));
    this.renderer.domElement.setAttribute("aria-hidden", "true");
    box.append(this.renderer.domElement);
    this.controls = new OrbitControls(this.camera, this.renderer.domElement);
    this.controls.addEventListener("change", () => this.draw());
    this.scene.add(new AmbientLight(0xffffff, 1.6));
    const sun = new DirectionalLight(0xffffff, 1.8);
    sun.position.set(2, 5, 4);
    this.scene.add(sun);
    const shown = Math.min(MAX_SHOWN, this.crowd());
    const joints = pose.skeleton.joints.length;
    this.points = new Float32Array(joints * 3);
    this.balls = this.instances(new SphereGeometry(1, 14, 10), shown * joints);
    this.rods = this.instances(new CylinderGeometry(1, 1, 1, 10, 1), (shown * pose.skeleton.edges.length) / 2);
    this.drawn = pose.skeleton.joints.map((_, k) => pose.skeleton.edges.includes(k));
    this.colours();
    this.view("Corner");
    this.resize = new ResizeObserver(() => this.fitSize());
    this.resize.observe(box);
  }

  /** Shows a frame, a person (undefined: everybody) and a joint (-1: none) that stands out. */
  show(frame: number, choice: Choice, joint: number): void {
    if (frame === this.frame && choice === this.choice && joint === this.joint && this.balls.userData.filled) return;
    const turned = choice !== this.choice;
    this.frame = frame;
    this.choice = choice;
    this.joint = joint;
    this.fill();
    // Whoever is chosen comes into the middle, seen from where one looked before.
    if (turned) this.view(this.preset);
  }

  layout(layout: Layout): void {
    this.at = stage(this.pose, layout);
    this.colours();
    this.view("Corner");
  }

  /** Takes the page's colours again, after a change between dark and light. */
  colours(): void {
    // A property that depends on dark or light is resolved only where it is used: on an element's colour.
    const probe = document.createElement("span");
    this.box.append(probe);
    const colour = (name: string): Color => {
      probe.style.color = `var(${name})`;
      return new Color(getComputedStyle(probe).color);
    };
    this.background = colour("--stage");
    this.accent = colour("--text");
    this.scene.background = this.background;
    if (this.grid !== undefined) {
      this.scene.remove(this.grid);
      this.grid.dispose();
    }
    const { centre, extent } = this.at.bounds;
    const reach = Math.max(extent[0], extent[2]);
    const size = Math.min(200, 2 * Math.ceil(reach + 1.5));
    this.grid = new GridHelper(size, size, colour("--stage-axis"), colour("--stage-grid"));
    probe.remove();
    // On whole metres, so that the grid does not move when the layout does.
    this.grid.position.set(Math.round(centre[0]), this.at.floor, Math.round(centre[2]));
    this.scene.add(this.grid);
    this.fill();
  }

  /** Turns the camera to a preset; Camera is where the video's own camera stood. */
  view(preset: Preset): void {
    this.preset = preset;
    const { centre, extent } = (this.choice !== undefined ? boundsOf(this.pose, this.at, this.choice) : undefined) ?? this.at.bounds;
    if (preset === "Camera" && this.at.layout === "Room") {
      const f = this.pose.camera?.focalLengthPx ?? NaN;
      this.camera.fov = Number.isFinite(f) && f > 0 ? Math.min(100, Math.max(1, (2 * Math.atan(this.pose.video.height / 2 / f) * 180) / Math.PI)) : 45;
      this.camera.position.set(0, 0, 0);
      // The target lies on the axis of the camera, which looks along -z here.
      this.controls.target.set(0, 0, Math.min(-0.5, centre[2]));
    } else {
      const [turn, lift] = ANGLES[preset === "Camera" ? "Front" : preset];
      this.camera.fov = 45;
      const half = Math.tan((this.camera.fov / 2) * (Math.PI / 180));
      const wide = preset === "Side" ? extent[2] : Math.hypot(extent[0], preset === "Corner" ? extent[2] * 0.6 : 0);
      const high = preset === "Top" ? extent[2] : extent[1];
      const distance = Math.max(high / half, wide / (half * Math.max(0.3, this.camera.aspect))) * 1.2 + (preset === "Top" ? extent[1] : preset === "Side" ? extent[0] : extent[2]);
      this.controls.target.set(...centre);
      this.camera.position.set(Math.sin(turn) * Math.cos(lift), Math.sin(lift), Math.cos(turn) * Math.cos(lift)).multiplyScalar(distance).add(this.controls.target);
    }
    this.camera.updateProjectionMatrix();
    this.controls.update();
    this.draw();
  }

  /** Turns by radians about the vertical and the horizontal, zooms by a factor. */
  turn(sideways: number, upwards: number, zoom = 1): void {
    const arm = this.camera.position.clone().sub(this.controls.target);
    const radius = Math.min(4000, Math.max(0.3, arm.length() * zoom));
    const angle = Math.atan2(arm.x, arm.z) + sideways;
    const lift = Math.min(1.56, Math.max(-1.56, Math.asin(Math.min(1, Math.max(-1, arm.y / arm.length()))) + upwards));
    arm.set(Math.sin(angle) * Math.cos(lift), Math.sin(lift), Math.cos(angle) * Math.cos(lift)).multiplyScalar(radius);
    this.camera.position.copy(this.controls.target).add(arm);
    this.controls.update();
    this.draw();
  }

  /** The joint under a place on the screen. */
  pick(clientX: number, clientY: number): Hit | undefined {
    const area = this.renderer.domElement.getBoundingClientRect();
    const x = clientX - area.left, y = clientY - area.top;
    const ray = new Raycaster();
    ray.setFromCamera(new Vector2((x / area.width) * 2 - 1, 1 - (y / area.height) * 2), this.camera);
    const hit = ray.intersectObject(this.balls, false)[0];
    if (hit?.instanceId === undefined) return undefined;
    const code = (this.balls.userData.codes as number[])[hit.instanceId];
    if (code === undefined) return undefined;
    const joints = this.pose.skeleton.joints.length;
    return { entry: Math.floor(code / joints), joint: code % joints, x, y };
  }

  dispose(): void {
    cancelAnimationFrame(this.drawing);
    this.resize.disconnect();
    this.controls.dispose();
    for (const mesh of [this.balls, this.rods]) {
      mesh.geometry.dispose();
      mesh.dispose();
    }
    this.grid?.dispose();
    this.renderer.dispose();
    this.renderer.domElement.remove();
  }

  private instances(geometry: BufferGeometry, count: number): InstancedMesh {
    const mesh = new InstancedMesh(geometry, new MeshLambertMaterial(), Math.max(1, count));
    mesh.instanceMatrix.setUsage(DynamicDrawUsage);
    mesh.frustumCulled = false;
    this.scene.add(mesh);
    return mesh;
  }

  /** The most people in any frame. */
  private crowd(): number {
    let most = 1;
    for (let f = 0; f < this.pose.video.frames; f++) most = Math.max(most, this.pose.frameStart[f + 1]! - this.pose.frameStart[f]!);
    return most;
  }

  private fill(): void {
    const { pose } = this;
    const joints = pose.skeleton.joints.length, edges = pose.skeleton.edges;
    const [from, to] = entriesOf(pose, this.frame);
    const codes: number[] = [];
    let balls = 0, rods = 0;
    for (let n = from; n < Math.min(to, from + MAX_SHOWN); n++) {
      const chosen = this.choice === undefined || this.choice === pose.person[n];
      const colour = this.colour(n, chosen);
      for (let k = 0; k < joints; k++) {
        place(pose, this.at, n, k, this.points, k * 3);
        const stands = k === this.joint && chosen;
        if (!this.ball(balls, k, stands ? 2 : this.drawn[k] ? 1 : 0.6, stands ? this.accent : colour)) continue;
        codes[balls++] = n * joints + k;
      }
      for (let e = 0; e < edges.length; e += 2) if (this.rod(rods, edges[e]!, edges[e + 1]!, colour)) rods++;
    }
    this.balls.count = balls;
    this.rods.count = rods;
    this.balls.userData = { codes, filled: true };
    for (const mesh of [this.balls, this.rods]) {
      mesh.instanceMatrix.needsUpdate = true;
      if (mesh.instanceColor !== null) mesh.instanceColor.needsUpdate = true;
    }
    this.balls.boundingSphere = null; // or picking would go by an earlier frame
    this.draw();
  }

  private colour(n: number, chosen: boolean): Color {
    const id = this.pose.people.id[this.pose.person[n]!]!;
    const colour = new Color().setRGB(...rgb(id), "srgb");
    // A guess is paler than a sighting, and those who were not chosen almost leave.
    if (this.pose.observed[n] === 0) colour.lerp(this.background, 0.55);
    return chosen ? colour : colour.lerp(this.background, 0.8);
  }

  private ball(at: number, k: number, scale: number, colour: Color): boolean {
    const x = this.points[k * 3]!, y = this.points[k * 3 + 1]!, z = this.points[k * 3 + 2]!;
    if (!Number.isFinite(x + y + z)) return false;
    const r = BALL * scale;
    this.balls.setMatrixAt(at, scratch.matrix.makeScale(r, r, r).setPosition(x, y, z));
    this.balls.setColorAt(at, colour);
    return true;
  }

  private rod(at: number, a: number, b: number, colour: Color): boolean {
    const { start, end, along, matrix, turn } = scratch;
    start.fromArray(this.points, a * 3);
    end.fromArray(this.points, b * 3);
    along.subVectors(end, start);
    const length = along.length();
    if (!(length > 1e-4 && length < 100)) return false; // NaN, too
    turn.setFromUnitVectors(UP, along.divideScalar(length));
    matrix.compose(start.add(end).multiplyScalar(0.5), turn, end.set(ROD, length, ROD));
    this.rods.setMatrixAt(at, matrix);
    this.rods.setColorAt(at, colour);
    return true;
  }

  private fitSize(): void {
    const { clientWidth: width, clientHeight: height } = this.box;
    if (width === 0 || height === 0) return;
    const first = this.renderer.domElement.dataset.sized === undefined;
    this.renderer.domElement.dataset.sized = "";
    this.renderer.setSize(width, height);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    if (first) this.view("Corner"); // now that the width is known
    this.draw();
  }

  private draw(): void {
    if (this.drawing !== 0) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = 0;
      this.renderer.render(this.scene, this.camera);
    });
  }
}

const scratch = { start: new Vector3(), end: new Vector3(), along: new Vector3(), matrix: new Matrix4(), turn: new Quaternion() };
