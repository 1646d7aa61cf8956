/* The result: video and skeletons side by side, under one clock. Loaded only where there is one, as three.js comes with it. */

import type { Api } from "../api";
import { h, icon, say } from "../dom";
import { bytes, percent, timecode } from "../format";
import { loadPose } from "../pose/load";
import { entryOf, type Pose } from "../pose/model";
import type { Choice } from "../result/colour";
import { FlatView } from "../result/flat";
import { defaultLayout, type Layout } from "../result/place";
import { Player } from "../result/player";
import { MAX_SHOWN, PoseScene, type Preset } from "../result/scene";
import { jointName, plural } from "../text";
import type { Job, ResultFile, Results } from "../types";
import { announce, bar, notice, reason } from "./common";
import { downloads, exportsCard, qualityFacts } from "./facts";
import { PeoplePanel } from "./people";

export interface ResultView {
  element: HTMLElement;
  dispose(): void;
}

/** Before its links expire the list of files is asked for again; so early. */
const EARLY = 60_000;

export async function resultView(api: Api, job: Job): Promise<ResultView> {
  const results = await api.results(job.links.results);
  const view = new Result(api, job, results);
  void view.load();
  return { element: view.element, dispose: () => view.dispose() };
}

class Result {
  readonly element = h("div", { class: "stack" });
  private readonly api: Api;
  private readonly job: Job;
  private results: Results;
  private readonly stop = new AbortController();
  private readonly viewer = h("div", { class: "viewer" });
  private readonly files = h("div", { class: "stack" });
  private readonly quality = h("div", {});
  private readonly renewal: ReturnType<typeof setInterval>;
  private readonly seen = (): void => void this.renew();
  private screen: Screen | undefined;

  constructor(api: Api, job: Job, results: Results) {
    this.api = api;
    this.job = job;
    this.results = results;
    this.element.append(h("section", { class: "card", "aria-labelledby": "result" }, h("h2", { id: "result" }, "Result"), this.viewer, this.quality), this.files);
    this.showFiles();
    this.quality.replaceChildren(qualityFacts(job, undefined));
    this.renewal = setInterval(() => void this.renew(), 15_000);
    document.addEventListener("visibilitychange", this.seen);
  }

  async load(): Promise<void> {
    const file = this.results.files.find((candidate) => baseName(candidate) === "pose.json" || candidate.name === "pose");
    if (file === undefined) return this.viewer.replaceChildren(notice("warn", "There is nothing to show here", "This result has no pose.json. Its files can be downloaded below."));
    const progress = bar("Loading of the skeletons");
    const text = h("p", { class: "hint" }, "Loading the skeletons …");
    this.viewer.replaceChildren(h("div", { class: "loading" }, text, progress.element));
    try {
      const pose = await loadPose(
        { url: new URL(file.url, location.origin).href, size: file.size },
        (loaded, total) => {
          progress.set(total > 0 ? Math.min(1, loaded / total) : undefined);
          say(text, `Loading the skeletons: ${bytes(loaded)}${total > 0 ? ` of ${bytes(total)}, ${percent(loaded / total)}` : ""}`);
        },
        this.stop.signal,
      );
      this.screen = new Screen(pose, this.overlay(), () => this.freshOverlay());
      this.viewer.replaceChildren(this.screen.element);
      this.screen.start();
      this.quality.replaceChildren(qualityFacts(this.job, pose));
    } catch (error) {
      if (this.stop.signal.aborted) return;
      this.viewer.replaceChildren(notice("bad", "The skeletons cannot be shown", reason(error), h("button", { type: "button", onclick: () => void this.load() }, "Try again")));
    }
  }

  dispose(): void {
    this.stop.abort();
    clearInterval(this.renewal);
    document.removeEventListener("visibilitychange", this.seen);
    this.screen?.dispose();
  }

  private overlay(): ResultFile | undefined {
    const videos = this.results.files.filter((file) => file.mediaType.startsWith("video/") || /\.(mp4|webm|mov)$/.test(file.path));
    return videos.find((file) => /overlay/i.test(file.name + file.path)) ?? videos[0];
  }

  private async renew(): Promise<void> {
    const end = this.results.expiresAt;
    if (end === undefined || Date.parse(end) - Date.now() > EARLY || document.hidden) return;
    try {
      await this.ask();
    } catch {
      // the next time will do; a download with an old link says what is wrong
    }
  }

  private async ask(): Promise<void> {
    this.results = await this.api.results(this.job.links.results);
    this.showFiles();
  }

  /** New links go to where the old ones are: what has the focus keeps it. */
  private showFiles(): void {
    const focused = [...this.files.querySelectorAll("a, button")].indexOf(document.activeElement as Element);
    const other = exportsCard(this.results);
    this.files.replaceChildren(downloads(this.results), ...(other === undefined ? [] : [other]));
    if (focused >= 0) [...this.files.querySelectorAll<HTMLElement>("a, button")][focused]?.focus({ preventScroll: true });
  }

  private async freshOverlay(): Promise<string> {
    await this.ask();
    return this.overlay()?.url ?? "";
  }
}

function baseName(file: ResultFile): string {
  return file.path.split("/").at(-1) ?? "";
}

/** The two views, the controls under them, and the panel beside them. */
class Screen {
  readonly element: HTMLElement;
  private readonly pose: Pose;
  private readonly player: Player;
  private readonly flat: FlatView;
  private readonly canvas = h("canvas", { class: "flat", "aria-hidden": "true" });
  private readonly video: HTMLVideoElement | undefined;
  /** When the video last failed, in ms: its link may have expired. */
  private failedAt = -Infinity;
  private readonly fresh: () => Promise<string>;
  private readonly space = h("div", { class: "space", tabindex: 0, role: "application", "aria-roledescription": "3D view", "aria-label": "Skeletons in 3D. Arrow keys turn the view, plus and minus zoom, F, S, T and C choose front, side, top and corner." });
  private readonly flatBox: HTMLElement;
  private readonly tip = h("div", { class: "tip", hidden: true });
  private readonly controls: Controls;
  private readonly panel: PeoplePanel;
  private readonly draw2d = h("input", { type: "checkbox", id: "draw2d" });
  private readonly sizes = new ResizeObserver(() => this.flat.draw());
  private readonly dark = matchMedia("(prefers-color-scheme: dark)");
  private readonly recolour = (): void => this.scene?.colours();
  private scene: PoseScene | undefined;
  private gone = false;
  private choice: Choice;
  private joint = -1;

  constructor(pose: Pose, overlay: ResultFile | undefined, fresh: () => Promise<string>) {
    this.pose = pose;
    this.fresh = fresh;
    this.player = new Player(pose.video.frames, pose.video.fps, () => this.update());
    this.flat = new FlatView(this.canvas, pose);
    this.video = overlay === undefined ? undefined : h("video", { src: overlay.url, muted: true, playsinline: true, preload: "auto", "aria-label": "Overlay video", tabindex: -1 });
    this.panel = new PeoplePanel(pose, { choose: (choice) => this.choose(choice), point: (joint) => this.point(joint), jump: (frame) => this.player.seek(frame) });
    this.controls = new Controls(pose, this.player);
    this.draw2d.checked = this.video === undefined || pose.joints3d === undefined;
    this.draw2d.addEventListener("change", () => this.update());
    this.flatBox = this.flatPart();
    this.element = h("div", { class: pose.joints3d === undefined ? "screen single" : "screen" }, h("div", { class: "views" }, this.flatBox, pose.joints3d !== undefined && this.spacePart()), this.controls.element, this.panel.element);
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.dark.addEventListener("change", this.recolour);
  }

  /** Once the element stands in the document, with a size. */
  start(): void {
    this.sizes.observe(this.canvas);
    if (this.video !== undefined) {
      // A muted attribute set by script does not mute.
      this.video.muted = true;
      this.player.attach(this.video);
      this.video.addEventListener("error", () => void this.videoFailed());
    }
    if (this.pose.joints3d !== undefined) this.openScene();
    this.update();
  }

  dispose(): void {
    this.gone = true;
    this.player.dispose();
    this.sizes.disconnect();
    this.dark.removeEventListener("change", this.recolour);
    this.scene?.dispose();
    if (this.video !== undefined) this.video.removeAttribute("src");
  }

  private openScene(): void {
    try {
      this.scene = new PoseScene(this.space, this.pose, defaultLayout(this.pose));
    } catch {
      this.space.replaceChildren(notice("warn", "No 3D here", "The browser offers no WebGL: switch hardware acceleration on, or use another browser. The skeletons are drawn over the video instead."));
      this.space.parentElement?.classList.add("no-3d");
      this.draw2d.checked = true;
    }
  }

  /** A link lives for minutes: a video that fails gets a new one, and goes on at its frame. One that fails again is broken. */
  private async videoFailed(): Promise<void> {
    const { video } = this;
    if (video === undefined || this.gone) return;
    if (performance.now() - this.failedAt > 10_000) {
      this.failedAt = performance.now();
      const url = await this.fresh().catch(() => "");
      if (this.gone) return;
      if (url !== "") {
        video.src = url; // the player takes it up when it is ready
        return;
      }
    }
    this.flatBox.classList.add("no-video");
    this.draw2d.checked = true;
    announce("The overlay video cannot be played; the skeletons are drawn without it.");
    this.update();
  }

  private update(): void {
    const frame = this.player.frame;
    this.scene?.show(frame, this.choice, this.joint);
    this.flat.show(frame, this.choice, this.joint, this.draw2d.checked);
    this.controls.update();
    this.panel.update(frame, this.choice, this.joint);
  }

  private choose(choice: Choice): void {
    this.choice = choice;
    if (choice !== undefined && entryOf(this.pose, this.player.frame, choice) < 0) this.player.seek(this.pose.people.firstFrame[choice]!);
    this.update();
  }

  private point(joint: number): void {
    this.joint = joint;
    this.update();
  }

  private flatPart(): HTMLElement {
    const { width, height } = this.pose.video;
    const frame = h("div", { class: this.video === undefined ? "picture no-video" : "picture" }, this.video, this.canvas);
    frame.style.aspectRatio = `${width} / ${height}`;
    // An upright video is as high as the window allows, and not as wide as it might be.
    frame.style.maxWidth = `calc(70vh * ${width / height})`;
    this.hover(this.canvas, (x, y) => this.flat.pick(x, y));
    const label = this.pose.joints3d === undefined || this.video !== undefined;
    return h("figure", {}, h("figcaption", {}, h("span", {}, this.video === undefined ? "Picture plane" : "Video"), label && h("label", { class: "check" }, this.draw2d, "Draw keypoints")), frame);
  }

  private spacePart(): HTMLElement {
    const layouts = h("select", { id: "layout", "aria-label": "Where people stand" }, h("option", { value: "Room" }, "In the room"), h("option", { value: "SideBySide" }, "Side by side"));
    layouts.value = defaultLayout(this.pose);
    const preset = (name: Preset, label: string): HTMLElement => {
      const look = (): void => {
        // The camera's place is one in the room.
        if (name === "Camera" && layouts.value !== "Room") this.scene?.layout((layouts.value = "Room"));
        this.scene?.view(name);
      };
      return h("button", { type: "button", class: "small", onclick: look }, label);
    };
    this.space.style.aspectRatio = String(Math.min(16 / 9, Math.max(0.8, this.pose.video.width / this.pose.video.height)));
    layouts.addEventListener("change", () => this.scene?.layout(layouts.value as Layout));
    this.hover(this.space, (x, y) => this.scene?.pick(x, y));
    this.space.addEventListener("keydown", (event) => this.spaceKey(event));
    return h(
      "figure",
      {},
      h("figcaption", {}, h("span", {}, "3D ", h("span", { class: "hint" }, "squares of 1 m")), this.pose.translation !== undefined && layouts),
      this.space,
      h("div", { class: "row wrap presets", role: "group", "aria-label": "Views" }, preset("Corner", "Corner"), preset("Front", "Front"), preset("Side", "Side"), preset("Top", "Top"), this.pose.translation !== undefined && preset("Camera", "Camera")),
      this.pose.translation === undefined && h("p", { class: "hint" }, "This engine gives the pose of each body, not where it stands: people are set side by side."),
      this.crowded() && h("p", { class: "hint" }, `At most ${MAX_SHOWN} people of a frame are drawn.`),
    );
  }

  private crowded(): boolean {
    const { frameStart } = this.pose;
    return frameStart.some((start, f) => f > 0 && start - frameStart[f - 1]! > MAX_SHOWN);
  }

  /** The name of the joint under the pointer. */
  private hover(over: HTMLElement, pick: (x: number, y: number) => { entry: number; joint: number; x: number; y: number } | undefined): void {
    over.addEventListener("pointermove", (event) => {
      const hit = event.buttons === 0 ? pick(event.clientX, event.clientY) : undefined;
      this.tip.hidden = hit === undefined;
      if (hit === undefined) return;
      const person = this.pose.people.id[this.pose.person[hit.entry]!]!;
      say(this.tip, `${jointName(this.pose.skeleton.joints[hit.joint]!)} · person ${person}`);
      over.parentElement!.append(this.tip);
      const area = over.getBoundingClientRect(), box = over.parentElement!.getBoundingClientRect();
      this.tip.style.left = `${Math.min(hit.x + 12, area.width - 150) + area.left - box.left}px`;
      this.tip.style.top = `${hit.y + 14 + area.top - box.top}px`;
    });
    over.addEventListener("pointerleave", () => (this.tip.hidden = true));
    over.addEventListener("click", (event) => {
      const hit = pick(event.clientX, event.clientY);
      if (hit !== undefined) this.choose(this.pose.person[hit.entry]);
    });
  }

  private spaceKey(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || this.scene === undefined) return;
    const step = event.shiftKey ? 0.35 : 0.12;
    const turns: Record<string, [number, number, number]> = { ArrowLeft: [-step, 0, 1], ArrowRight: [step, 0, 1], ArrowUp: [0, step, 1], ArrowDown: [0, -step, 1], "+": [0, 0, 0.85], "=": [0, 0, 0.85], "-": [0, 0, 1.18] };
    const presets: Record<string, Preset> = { f: "Front", s: "Side", t: "Top", c: "Corner" };
    const turn = turns[event.key], preset = presets[event.key.toLowerCase()];
    if (turn !== undefined) this.scene.turn(...turn);
    else if (preset !== undefined) this.scene.view(preset);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  private key(event: KeyboardEvent): void {
    const target = event.target as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || ["INPUT", "SELECT", "BUTTON", "SUMMARY", "A"].includes(target.tagName)) return;
    const steps: Record<string, () => void> = {
      " ": () => this.player.toggle(),
      k: () => this.player.toggle(),
      ",": () => this.player.step(-1),
      ".": () => this.player.step(1),
      j: () => this.player.step(-Math.round(this.player.line.fps)),
      l: () => this.player.step(Math.round(this.player.line.fps)),
    };
    const act = steps[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  }
}

/** Play, step, scrub, speed. */
class Controls {
  readonly element: HTMLElement;
  private readonly pose: Pose;
  private readonly player: Player;
  private readonly play = h("button", { type: "button", class: "round primary" });
  private readonly slider: HTMLInputElement;
  private readonly time = h("output", { class: "time" });
  private playing: boolean | undefined;

  constructor(pose: Pose, player: Player) {
    this.pose = pose;
    this.player = player;
    this.slider = h("input", { type: "range", min: 0, max: pose.video.frames - 1, step: 1, value: 0, "aria-label": "Frame" });
    this.slider.addEventListener("input", () => player.seek(Number(this.slider.value)));
    this.play.addEventListener("click", () => player.toggle());
    const speed = h("select", { "aria-label": "Speed" }, ...[0.1, 0.25, 0.5, 1, 2].map((value) => h("option", { value, selected: value === 1 }, `${value}×`)));
    speed.addEventListener("change", () => player.setSpeed(Number(speed.value)));
    const step = (by: number, label: string, name: "previous" | "next"): HTMLElement => h("button", { type: "button", class: "round", "aria-label": label, title: label, onclick: () => player.step(by) }, icon(name));
    this.element = h("div", { class: "controls" }, step(-1, "Frame before", "previous"), this.play, step(1, "Next frame", "next"), this.slider, this.time, speed);
  }

  update(): void {
    const { player, pose } = this;
    if (this.playing !== player.playing) {
      this.playing = player.playing;
      this.play.replaceChildren(icon(player.playing ? "pause" : "play"));
      this.play.setAttribute("aria-label", player.playing ? "Pause" : "Play");
    }
    this.slider.value = String(player.frame);
    const at = pose.time?.[player.frame] ?? (pose.video.startFrame + player.frame) / pose.video.fps;
    const [from, to] = [pose.frameStart[player.frame] ?? 0, pose.frameStart[player.frame + 1] ?? 0];
    this.slider.setAttribute("aria-valuetext", `Frame ${player.frame + 1} of ${pose.video.frames}, ${timecode(at)}, ${plural(to - from, "person", "people")}`);
    say(this.time, `${timecode(at)} · ${player.frame + 1}/${pose.video.frames}`);
  }
}

