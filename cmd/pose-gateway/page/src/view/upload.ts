/* The card that takes videos: drop or choose, options, and a row for each upload. */

import type { Api } from "../api";
import { fill, h, icon, say } from "../dom";
import { bytes, duration, percent } from "../format";
import { jobHash } from "../router";
import { clean } from "../text";
import type { Config, Engine } from "../types";
import type { Item, UploadQueue } from "../upload/queue";
import { announce, bar, reason } from "./common";

export interface UploadCard {
  element: HTMLElement;
  dispose(): void;
}

const DEVICES: Record<string, string> = { Auto: "Automatic", GPU: "GPU only", CPU: "CPU only" };
const OVERLAYS: Record<string, string> = { Full: "With people as they are", Blurred: "With faces blurred", None: "No video" };

/** Shows the queue of uploads, which outlives the card: uploads go on while one looks at a job. */
export function uploadCard(api: Api, config: Config, queue: UploadQueue, finished: () => void): UploadCard {
  const rows = new Map<number, Row>();
  const list = h("ul", { class: "uploads", "aria-label": "Uploads" });
  const options = new Options();
  const show = (item: Item): void => {
    const row = rows.get(item.key) ?? new Row(item, queue);
    if (!queue.items.includes(item)) {
      row.element.remove();
      rows.delete(item.key);
      return;
    }
    if (!rows.has(item.key)) list.append(row.element);
    rows.set(item.key, row);
    if (row.update()) finished();
  };
  for (const item of queue.items) show(item);
  const stop = queue.listen(show);
  const take = (files: Iterable<File>): void => {
    for (const file of files) queue.add(file, options.values());
  };
  const element = h("section", { class: "card", "aria-labelledby": "new-job" }, h("h2", { id: "new-job" }, "New job"), dropZone(config, take), options.element, list);
  api.engines().then(
    (engines) => options.offer(engines),
    (error: unknown) => options.failed(reason(error)),
  );
  return { element, dispose: stop };
}

function dropZone(config: Config, take: (files: Iterable<File>) => void): HTMLElement {
  const { maxBytes, extensions } = config.uploads;
  const input = h("input", { type: "file", id: "files", class: "visually-hidden", multiple: true, accept: ["video/*", ...extensions].join(","), "aria-describedby": "drop-hint" });
  input.addEventListener("change", () => {
    take([...(input.files ?? [])]);
    input.value = ""; // so that the same file can be chosen again
  });
  const limit = [maxBytes > 0 ? `up to ${bytes(maxBytes)} each` : "", extensions.length > 0 ? extensions.slice(0, 6).join(", ") + (extensions.length > 6 ? " …" : "") : ""].filter((part) => part !== "").join(" · ");
  const zone = h(
    "div",
    { class: "drop" },
    input,
    h("label", { for: "files" }, icon("upload"), h("span", { class: "drop-title" }, "Drop videos here, or ", h("u", {}, "choose files")), h("span", { class: "hint", id: "drop-hint" }, limit)),
  );
  let depth = 0;
  const over = (on: boolean): void => void zone.classList.toggle("over", on);
  zone.addEventListener("dragenter", (event) => {
    event.preventDefault();
    over(++depth > 0);
  });
  zone.addEventListener("dragleave", () => over(--depth > 0));
  zone.addEventListener("dragover", (event) => event.preventDefault());
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    over(false);
    take([...(event.dataTransfer?.files ?? [])]);
  });
  return zone;
}

class Options {
  readonly element: HTMLElement;
  private readonly engine = h("select", { id: "engine", "aria-describedby": "engine-hint" });
  private readonly device = h("select", { id: "device" });
  private readonly overlay = h("select", { id: "overlay" });
  private readonly hint = h("p", { id: "engine-hint", class: "hint" });
  private engines: Engine[] = [];

  constructor() {
    this.element = h("div", {}, h("div", { class: "options" }, field("Engine", this.engine), field("Run on", this.device), field("Overlay video", this.overlay)), this.hint);
    this.engine.addEventListener("change", () => this.fit());
    fill(this.engine, h("option", { value: "" }, "The default engine"));
    this.fit();
  }

  values(): Record<string, string> {
    const values: Record<string, string> = { device: this.device.value, overlay: this.overlay.value };
    if (this.engine.value !== "") values.engine = this.engine.value;
    return values;
  }

  offer(engines: Engine[]): void {
    this.engines = engines;
    const preset = engines.find((engine) => engine.isDefault);
    fill(
      this.engine,
      preset === undefined && h("option", { value: "" }, engines.length === 0 ? "No engine is installed" : "The default engine"),
      ...engines.map((engine) => h("option", { value: engine.name, selected: engine === preset, disabled: !engine.ready && engine !== preset }, engineLabel(engine))),
    );
    this.fit();
  }

  failed(message: string): void {
    say(this.hint, `The list of engines could not be loaded: ${message}`);
  }

  /** Offers what the chosen engine can do, and keeps the choice where that is possible. */
  private fit(): void {
    const engine = this.engines.find((candidate) => candidate.name === this.engine.value);
    const devices = engine === undefined || engine.devices.length === 0 ? ["GPU", "CPU"] : engine.devices;
    choices(this.device, DEVICES, ["Auto", ...devices.filter((device) => device in DEVICES)], "Auto");
    const overlays = engine === undefined || engine.overlays.length === 0 ? ["Full", "Blurred", "None"] : Object.keys(OVERLAYS).filter((o) => engine.overlays.includes(o));
    choices(this.overlay, OVERLAYS, overlays, overlays.includes("Blurred") ? "Blurred" : (overlays[0] ?? "None"));
    say(this.hint, engine === undefined ? "" : [engine.description, engine.ready ? "" : `Jobs wait until this engine is ready. ${engine.message}`].filter((text) => text !== "").join(" "));
  }
}

function engineLabel(engine: Engine): string {
  const notes = [engine.isDefault ? "default" : "", engine.ready ? "" : "not ready"].filter((note) => note !== "");
  return engine.name + (notes.length > 0 ? ` (${notes.join(", ")})` : "");
}

function choices(select: HTMLSelectElement, labels: Record<string, string>, values: string[], preset: string): void {
  const chosen = values.includes(select.value) ? select.value : preset;
  fill(select, ...values.map((value) => h("option", { value, selected: value === chosen }, labels[value] ?? value)));
}

function field(label: string, control: HTMLSelectElement): HTMLElement {
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control);
}

/** One upload's row. */
class Row {
  readonly element: HTMLElement;
  private readonly item: Item;
  private readonly queue: UploadQueue;
  private readonly text = h("p", { class: "hint" });
  private readonly progress: ReturnType<typeof bar>;
  private readonly buttons = h("div", { class: "row" });
  private state = "";

  constructor(item: Item, queue: UploadQueue) {
    this.item = item;
    this.queue = queue;
    this.progress = bar(`Upload of ${item.name}`);
    this.element = h("li", {}, h("div", { class: "upload-head" }, h("strong", { class: "cut" }, item.name), this.buttons), this.progress.element, this.text);
  }

  /** Shows the item; true when it has just become a job. */
  update(): boolean {
    const { item } = this;
    this.progress.set(item.file.size === 0 ? 0 : item.sent / item.file.size);
    say(this.text, this.words());
    if (item.state === this.state) return false;
    this.state = item.state;
    this.element.className = item.state.toLowerCase();
    this.progress.element.hidden = item.state === "Refused" || item.state === "Done";
    this.fillButtons();
    if (item.state !== "Waiting") announce(`${item.name}: ${item.state === "Sending" ? "upload begins" : this.words()}`);
    return item.state === "Done";
  }

  private words(): string {
    const { item } = this;
    const done = `${percent(item.file.size === 0 ? 0 : item.sent / item.file.size)} of ${bytes(item.file.size)}`;
    switch (item.state) {
      case "Refused":
        return `Not sent. ${item.message}`;
      case "Waiting":
        return `Waits for the upload before it · ${bytes(item.file.size)}`;
      case "Sending":
        return item.speed === undefined || item.speed <= 0 ? done : `${done} · ${bytes(item.speed)}/s · ${duration((item.file.size - item.sent) / item.speed)} left`;
      case "Paused":
        return `Paused at ${done}`;
      case "Failed":
        return `Stopped at ${done}. ${item.message}`;
      case "Done":
        return "Sent. The job has been made.";
    }
  }

  private fillButtons(): void {
    const { item, queue } = this;
    const hadFocus = this.buttons.contains(document.activeElement);
    const button = (label: string, act: () => void): HTMLElement => h("button", { type: "button", class: "small", "aria-label": `${label}: ${item.name}`, onclick: act }, label);
    fill(
      this.buttons,
      (item.state === "Sending" || item.state === "Waiting") && button("Pause", () => queue.pause(item)),
      item.state === "Paused" && button("Go on", () => queue.resume(item)),
      item.state === "Failed" && button("Try again", () => queue.resume(item)),
      item.state === "Done" && item.jobID !== "" && h("a", { class: "button small", href: jobHash(clean(item.jobID, 253)) }, "Open job"),
      button(item.state === "Done" || item.state === "Refused" ? "Dismiss" : "Cancel", () => {
        const next = this.element.nextElementSibling?.querySelector("button") ?? document.getElementById("files");
        queue.remove(item);
        if (next instanceof HTMLElement) next.focus();
      }),
    );
    if (hadFocus) this.buttons.querySelector<HTMLElement>("button, a")?.focus();
  }
}
