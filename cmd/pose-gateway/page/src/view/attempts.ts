/* What was tried, in order, and why the next thing was. */

import { h, icon, type Child } from "../dom";
import { between, bytes, duration, moment, relative } from "../format";
import { consequence } from "../stages";
import { words } from "../text";
import type { Attempt, JobStatus } from "../types";
import { chip, facts } from "./common";

/** Which details are open: they stay so when the list is made anew. */
const open = new Set<string>();

export function attemptsPart(id: string, status: JobStatus, now: number): Child[] {
  return [
    h("h2", { id: "attempts" }, "Attempts"),
    h("ol", { class: "attempts" }, ...status.skipped.map((skipped) => h("li", { class: "skipped" }, h("div", { class: "row wrap" }, icon("skip"), h("strong", {}, skipped.variant), chip("Not tried", "Quiet"), h("span", { class: "hint" }, words(skipped.reason))), skipped.message !== "" && h("p", {}, skipped.message))), ...status.attempts.map((attempt) => item(id, attempt, now))),
  ];
}

function item(id: string, attempt: Attempt, now: number): HTMLElement {
  const failed = attempt.state === "Failed";
  const state = failed ? chip(words(attempt.reason) || "Failed", "Bad") : attempt.state === "Succeeded" ? chip("Succeeded", "Good") : chip(attempt.state === "Running" ? "Running" : "About to start", "Busy");
  const waits = attempt.state === "Intended" && attempt.notBefore !== undefined && Date.parse(attempt.notBefore) > now ? `It starts ${relative(attempt.notBefore, now)}.` : "";
  const device = attempt.deviceUsed !== "" && attempt.deviceUsed !== attempt.device ? `${attempt.device} asked for, ${attempt.deviceUsed} used` : attempt.device;
  const then = consequence(attempt);
  return h(
    "li",
    { class: attempt.state.toLowerCase() },
    h("div", { class: "row wrap" }, h("strong", {}, `${attempt.number}. ${attempt.variant}`), h("span", { class: "hint" }, device), state),
    attempt.message !== "" && h("p", {}, attempt.message),
    waits !== "" && h("p", {}, waits),
    then !== "" && h("p", { class: "then" }, icon("next"), `Then: ${then}`),
    more(id, attempt, now),
  );
}

function more(id: string, attempt: Attempt, now: number): HTMLElement {
  const key = `${id}/${attempt.number}`;
  const took = between(attempt.startTime, attempt.finishTime, now);
  const memory = attempt.peakMemoryBytes > 0 ? `${bytes(attempt.peakMemoryBytes)}${attempt.limitMemoryBytes > 0 ? ` of ${bytes(attempt.limitMemoryBytes)}` : ""}` : "";
  const seconds = attempt.seconds === undefined ? "" : Object.entries(attempt.seconds).filter(([name]) => name !== "engine").map(([name, value]) => `${name} ${duration(value)}`).join(" · ");
  const details = h(
    "details",
    { open: open.has(key) },
    h("summary", { "data-focus": `attempt-${key}` }, `Details of attempt ${attempt.number}`),
    facts([
      ["Began", attempt.startTime === undefined ? "" : moment(attempt.startTime)],
      ["Took", took === undefined || attempt.startTime === undefined ? "" : duration(took)],
      ["Parts", seconds],
      ["Stage reached", words(attempt.stage)],
      ["Detector", attempt.detector],
      ["Machine", attempt.node],
      ["GPU", attempt.gpu],
      ["Most memory", memory],
      ["Ended by", attempt.signal !== "" ? `signal ${attempt.signal}` : attempt.exitCode === undefined ? "" : `exit code ${attempt.exitCode}`],
      ["In container", attempt.container],
      ["Decided by the line", attempt.culprit === "" ? "" : h("code", {}, attempt.culprit)],
    ]),
    attempt.lastLines.length > 0 && h("pre", { tabindex: 0, "aria-label": `Last lines of the log of attempt ${attempt.number}` }, attempt.lastLines.join("\n")),
  );
  details.addEventListener("toggle", () => (details.open ? open.add(key) : open.delete(key)));
  return details;
}
