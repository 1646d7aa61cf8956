/* What is known of a result beside the picture: how good it is, and its files. */

import { h, icon, type Child } from "../dom";
import { bytes, percent, rate } from "../format";
import type { Pose } from "../pose/model";
import { plural } from "../text";
import type { Export, Job, Results } from "../types";
import { facts } from "./common";

/** Quality as the engine tells it. The file says it more exactly than the job's status; that is there at once. */
export function qualityFacts(job: Job, pose: Pose | undefined): HTMLElement {
  const output = job.status.output;
  const quality = pose?.quality;
  const figure = (inFile: number | undefined, inStatus: number | undefined): Child => {
    const value = inFile !== undefined && Number.isFinite(inFile) ? inFile : inStatus;
    return value === undefined ? "" : value.toLocaleString("en");
  };
  const coverage = quality !== undefined && Number.isFinite(quality.coverage) ? quality.coverage : output?.coveragePercent === undefined ? undefined : output.coveragePercent / 100;
  const caveats = pose?.camera?.caveats ?? [];
  return h(
    "div",
    { class: "quality" },
    facts([
      ["People", figure(pose?.people.id.length, output?.people)],
      ["Frames", figure(pose?.video.frames, output?.frames)],
      ["Somebody seen in", coverage === undefined ? "" : `${percent(coverage)} of frames`],
      ["Lost and found again", count(figure(quality?.gaps, output?.gaps), "time", "times")],
      ["Mix-ups suspected", figure(quality?.idSwitchesSuspected, output?.idSwitchesSuspected)],
      ["Left out as too small or brief", figure(quality?.peopleFiltered, output?.peopleFiltered)],
      ["Skeleton", pose === undefined ? "" : `${pose.skeleton.name}, ${plural(pose.skeleton.joints.length, "joint", "joints")}`],
      ["Recorded at", pose?.video.captureFPS === undefined ? "" : `${rate(pose.video.captureFPS)} fps, shown at ${rate(pose.video.fps)}`],
      ["Engine", pose === undefined ? "" : `${pose.engine.name} ${pose.engine.version}`],
    ]),
    caveats.length > 0 && h("details", {}, h("summary", {}, "Before you measure in it"), h("ul", {}, ...caveats.map((line) => h("li", {}, line)))),
  );
}

function count(value: Child, one: string, many: string): Child {
  return value === "" ? "" : `${String(value)} ${value === "1" ? one : many}`;
}

export function downloads(results: Results): HTMLElement {
  const items = results.files.map((file) =>
    h("li", {}, h("a", { class: "button", href: file.downloadURL, download: file.path.split("/").at(-1) ?? "" }, icon("download"), h("span", { class: "cut" }, file.path), h("span", { class: "hint" }, bytes(file.size))), file.sha256 !== "" && h("code", { class: "digest", title: `sha256 ${file.sha256}` }, `sha256 ${file.sha256.slice(0, 12)}…`)),
  );
  return h("section", { class: "card", "aria-labelledby": "downloads" }, h("h2", { id: "downloads" }, "Download"), items.length === 0 ? h("p", { class: "hint" }, "This result has no files.") : h("ul", { class: "downloads" }, ...items));
}

/** The result in the formats of other programs. Those that it cannot be had in stand there too, and say why. */
export function exportsCard(results: Results): HTMLElement | undefined {
  if (results.exports.length === 0) return undefined;
  return h(
    "section",
    { class: "card", "aria-labelledby": "exports" },
    h("h2", { id: "exports" }, "For other programs"),
    h("p", { class: "hint" }, "The whole result as a zip in the format of your choice, made when you ask for it. All of them are estimates from one camera."),
    h("ul", { class: "downloads exports" }, ...results.exports.map((item, index) => h("li", {}, ...exportChoice(item, `export-${index}`)))),
  );
}

function exportChoice(item: Export, id: string): Child[] {
  const about = [h("span", { id, class: "hint use" }, `For ${item.use}`)];
  if (item.url !== "") return [h("a", { class: "button", href: item.url, download: item.name, "aria-describedby": id }, icon("download"), h("span", { class: "cut" }, item.title)), ...about];
  // It stays in the order of tabs: who hears the page learns why, too.
  return [
    h("button", { type: "button", class: "refused", "aria-disabled": "true", "aria-describedby": `${id} ${id}-why` }, icon("cross"), h("span", { class: "cut" }, item.title)),
    ...about,
    h("p", { id: `${id}-why`, class: "hint use why" }, item.reason),
  ];
}
