/* The panel beside the views: choose a person, see and point at joints. */

import { h, icon, say } from "../dom";
import { percent } from "../format";
import { entryOf, type Pose } from "../pose/model";
import { css, type Choice } from "../result/colour";
import { jointName } from "../text";
import { chip } from "./common";

interface Acts {
  choose(choice: Choice): void;
  point(joint: number): void;
  jump(frame: number): void;
}

/** People that get a button; the list of a crowd goes on in a field for the number. */
const MAX_BUTTONS = 200;

export class PeoplePanel {
  readonly element: HTMLElement;
  private readonly pose: Pose;
  private readonly acts: Acts;
  private readonly buttons: HTMLButtonElement[] = [];
  private readonly everybody: HTMLButtonElement;
  private readonly about = h("div", { class: "about" });
  private readonly joints = h("details", { class: "joints" }, h("summary", {}, "Joints"));
  private readonly rows: { row: HTMLElement; at: HTMLElement; seen: HTMLElement }[] = [];
  private choice: Choice;
  private frame = 0;
  private joint = -1;
  private shown = "";

  constructor(pose: Pose, acts: Acts) {
    this.pose = pose;
    this.acts = acts;
    this.everybody = h("button", { type: "button", class: "person", "aria-pressed": "true", onclick: () => acts.choose(undefined) }, "Everybody");
    const list = h("div", { class: "people", role: "group", "aria-label": "People" }, pose.people.id.length > 0 && this.everybody);
    for (let p = 0; p < Math.min(MAX_BUTTONS, pose.people.id.length); p++) {
      const id = pose.people.id[p]!;
      const dot = h("span", { class: "swatch", "aria-hidden": "true" });
      dot.style.background = css(id);
      const button = h("button", { type: "button", class: "person", "aria-pressed": "false", onclick: () => acts.choose(this.choice === p ? undefined : p) }, dot, `Person ${id}`);
      this.buttons.push(button);
      list.append(button);
    }
    const more = pose.people.id.length - MAX_BUTTONS;
    this.element = h(
      "div",
      { class: "panel" },
      h("h3", {}, "People"),
      pose.people.id.length === 0 ? h("p", { class: "hint" }, "Nobody was seen in this video.") : list,
      more > 0 && h("p", { class: "hint" }, `${more} more are shown, and are in the file.`),
      this.about,
      pose.people.id.length > 0 && this.joints,
    );
    this.joints.append(this.table());
    this.joints.addEventListener("toggle", () => this.update(this.frame, this.choice, this.joint));
  }

  update(frame: number, choice: Choice, joint: number): void {
    this.choice = choice;
    this.frame = frame;
    this.joint = joint;
    const key = [frame, choice, joint, this.joints.open].join();
    if (key === this.shown) return;
    this.shown = key;
    this.everybody.setAttribute("aria-pressed", String(choice === undefined));
    this.buttons.forEach((button, p) => {
      button.setAttribute("aria-pressed", String(choice === p));
      button.classList.toggle("absent", entryOf(this.pose, frame, p) < 0);
    });
    this.tellAbout(frame, choice);
    if (this.joints.open) this.tellJoints(frame, choice, joint);
  }

  private tellAbout(frame: number, choice: Choice): void {
    if (choice === undefined) return this.about.replaceChildren();
    const { people, observed, video } = this.pose;
    const entry = entryOf(this.pose, frame, choice);
    const first = people.firstFrame[choice]!, last = people.lastFrame[choice]!;
    const here = entry < 0 ? chip("Not in this frame", "Quiet") : observed[entry] === 0 ? chip("Estimated here", "Warn") : chip("Seen here", "Good");
    this.about.replaceChildren(
      h("div", { class: "row wrap" }, h("strong", {}, `Person ${people.id[choice]!}`), here),
      h("p", { class: "hint" }, `Frames ${first + 1} to ${last + 1}, seen in ${people.framesSeen[choice]!} (${percent(people.framesSeen[choice]! / video.frames)} of the video)`),
      h("button", { type: "button", class: "small", onclick: () => this.acts.jump(first) }, icon("previous"), "First frame"),
    );
  }

  private table(): HTMLElement {
    const body = h("tbody");
    this.pose.skeleton.joints.forEach((name, k) => {
      const at = h("td", { class: "number" }), seen = h("td", { class: "number" });
      const row = h("tr", {}, h("th", { scope: "row" }, h("button", { type: "button", class: "bare", onfocus: () => this.acts.point(k), onblur: () => this.acts.point(-1), onclick: () => this.acts.point(k) }, jointName(name))), at, seen);
      row.addEventListener("pointerenter", () => this.acts.point(k));
      row.addEventListener("pointerleave", () => this.acts.point(-1));
      this.rows.push({ row, at, seen });
      body.append(row);
    });
    const unit = this.pose.joints3d === undefined ? "x, y (px)" : "x, y, z (m)";
    return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table of joints" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Joint"), h("th", { scope: "col", class: "number" }, unit), h("th", { scope: "col", class: "number" }, "Visible"))), body));
  }

  private tellJoints(frame: number, choice: Choice, joint: number): void {
    const { pose } = this;
    // With everybody there are no figures, unless there is only one.
    const only = choice ?? (pose.frameStart[frame + 1]! - pose.frameStart[frame]! === 1 ? pose.person[pose.frameStart[frame]!] : undefined);
    const entry = only === undefined ? -1 : entryOf(pose, frame, only);
    this.rows.forEach(({ row, at, seen }, k) => {
      row.classList.toggle("on", k === joint);
      if (entry < 0) {
        say(at, "–");
        return say(seen, "–");
      }
      const base = (entry * pose.skeleton.joints.length + k) * 3;
      const values = pose.joints3d === undefined ? [pose.joints2d[base]!, pose.joints2d[base + 1]!].map((v) => v.toFixed(0)) : [0, 1, 2].map((a) => (Math.round(pose.joints3d![base + a]! * 100) / 100 + 0).toFixed(2));
      say(at, values.map((value) => (value === "NaN" ? "–" : value)).join("  "));
      say(seen, percent(pose.joints2d[base + 2]!));
    });
  }
}
