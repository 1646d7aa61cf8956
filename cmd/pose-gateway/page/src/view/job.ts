/* The page of one job: where it stands, how it came there, and its result. */

import { jobPath, Failure, type Api } from "../api";
import { h, icon, say, fill, type Child } from "../dom";
import { bytes, duration, moment, pace, percent, rate, relative } from "../format";
import { readJob } from "../read";
import { finished, notable, phase, sentence, share, steps, type Step } from "../stages";
import { follow } from "../stream";
import { words } from "../text";
import type { Job } from "../types";
import { attemptsPart } from "./attempts";
import { announce, backLink, bar, chip, confirm, facts, notice, part, reason, type View } from "./common";

export function jobView(api: Api, id: string): View {
  const page = new JobPage(api, id);
  return { element: page.element, title: id, dispose: () => page.dispose() };
}

class JobPage {
  readonly element = h("div", { class: "stack" });
  private readonly api: Api;
  private readonly id: string;
  private readonly head = h("section", { class: "card" });
  private readonly progress = h("section", { class: "card", "aria-labelledby": "progress" });
  private readonly result = h("div", {});
  private readonly notes = h("div", { class: "stack", hidden: true });
  private readonly attempts = h("section", { class: "card", "aria-labelledby": "attempts" });
  private readonly details = h("section", { class: "card", "aria-labelledby": "details" });
  private readonly connection = h("p", { class: "hint", role: "status" });
  private readonly error = h("div", {});
  private readonly parts = { head: part(this.head), progress: part(this.progress), notes: part(this.notes), attempts: part(this.attempts), details: part(this.details) };
  private readonly clock = setInterval(() => this.show(), 1000);
  private stop: () => void = () => undefined;
  private leaveResult: (() => void) | undefined;
  private job: Job | undefined;
  private said = "";
  private gone = false;
  private stages = new Map<string, string[]>();

  constructor(api: Api, id: string) {
    this.api = api;
    this.id = id;
    this.element.append(backLink(), this.error, h("div", { class: "card" }, h("p", { role: "status" }, "Loading …")));
    void this.load();
    // Without the engines' own words for their stages the usual ones are shown.
    api.engines().then(
      (engines) => {
        this.stages = new Map(engines.map((engine) => [engine.name, engine.stages]));
        this.show();
      },
      () => undefined,
    );
  }

  dispose(): void {
    this.gone = true;
    clearInterval(this.clock);
    this.stop();
    this.leaveResult?.();
  }

  private async load(): Promise<void> {
    try {
      this.take(await this.api.job(this.id));
    } catch (error) {
      if (this.gone) return;
      const missing = error instanceof Failure && error.status === 404;
      fill(this.element, backLink(), h("h1", { class: "visually-hidden" }, "Job"), notice("bad", missing ? "There is no such job" : "The job could not be loaded", missing ? "It was deleted, or never was in this namespace." : reason(error), !missing && h("button", { type: "button", onclick: () => void this.load() }, "Try again")));
      return;
    }
    if (this.gone) return;
    fill(this.element, backLink(), this.connection, this.error, this.head, this.progress, this.notes, this.result, this.attempts, this.details);
    this.follow();
  }

  private follow(): void {
    this.stop = follow({
      url: this.job?.links.events || `${jobPath(this.id)}/events`,
      headers: () => this.api.headers(false),
      onEvent: ({ type, data }) => {
        if (type === "job") {
          try {
            this.take(readJob(JSON.parse(data)));
          } catch {
            // an event that is no JSON says nothing; the next one will
          }
        } else if (type === "deleted") this.deleted();
      },
      onState: (state) => {
        if (state.status === 401) this.api.onSignedOut();
        if (state.status === 404 || state.status === 410) this.deleted();
        say(this.connection, state.phase === "Waiting" ? "Connection lost; trying again …" : state.phase === "Closed" && state.status === 403 ? "You may see this job, but not follow it: load the page again to see how it goes on." : "");
      },
    });
  }

  private take(job: Job): void {
    if (this.gone || job.id !== this.id) return;
    this.job = job;
    document.title = `${job.name} · Pose`;
    this.show();
    this.tell(job);
    if (job.status.phase === "Succeeded" && job.links.results !== "" && this.leaveResult === undefined) void this.openResult(job);
  }

  /** Speaks on a new state, a new stage, and each tenth of the way. */
  private tell(job: Job): void {
    const { status } = job;
    const done = share(status);
    const text = status.phase === "Running" ? `${words(status.stage || "Waiting")}${done === undefined ? "" : `, ${Math.floor(done * 10) * 10}%`}` : `${phase(job).label}. ${sentence(status)}`;
    if (text !== this.said && this.said !== "") announce(text);
    this.said = text;
  }

  private show(): void {
    const { job } = this;
    if (job === undefined) return;
    const now = Date.now();
    this.parts.head([job.name, phase(job), sentence(job.status), job.links], () => this.headPart(job));
    const left = job.status.progress?.estimatedCompletionTime;
    const ended = finished(job.status);
    const stages = this.stages.get(job.status.engineName || job.engine) ?? [];
    this.progress.hidden = job.status.phase === "Succeeded";
    this.parts.progress([job.status.phase, job.status.stage, job.status.progress, job.status.attempts, ended ? "" : relative(left, now), stages], () => progressPart(job, stages, now));
    const notes = notable(job.status);
    this.notes.hidden = notes.length === 0;
    this.parts.notes(notes, () => notes.map((note) => notice(note.tone === "Good" ? "good" : "warn", words(note.type), note.message || words(note.reason))));
    const waits = job.status.attempts.at(-1)?.state === "Intended" ? Math.floor(now / 1000) : 0;
    this.attempts.hidden = job.status.attempts.length + job.status.skipped.length === 0;
    this.parts.attempts([job.status.attempts, job.status.skipped, waits], () => attemptsPart(job.id, job.status, now));
    this.parts.details([job.status, job.createdAt, ended ? 0 : Math.floor(now / 5000)], () => detailsPart(job, now));
  }

  private headPart(job: Job): Child[] {
    const state = phase(job);
    const { cancel, retry, remove } = job.links;
    return [
      h("div", { class: "row between wrap" }, h("h1", { class: "cut" }, job.name), chip(state.label, state.tone)),
      h("p", { class: state.tone === "Bad" ? "sentence bad-text" : "sentence" }, sentence(job.status)),
      h(
        "div",
        { class: "row wrap" },
        cancel !== "" && h("button", { type: "button", "data-focus": "cancel", onclick: () => void this.cancel(cancel) }, "Cancel job"),
        retry !== "" && h("button", { type: "button", "data-focus": "retry", onclick: () => void this.act("POST", retry) }, "Try again"),
        remove !== "" && h("button", { type: "button", "data-focus": "delete", class: "danger quiet", onclick: () => void this.remove(job, remove) }, "Delete"),
      ),
    ];
  }

  private async cancel(url: string): Promise<void> {
    if ((await confirm({ title: "Cancel this job?", text: "What runs is ended, and the frames computed so far are lost.", action: "Cancel job" })) !== undefined) await this.act("POST", url);
  }

  private async remove(job: Job, url: string): Promise<void> {
    const results = job.status.phase === "Succeeded";
    const answer = await confirm({
      title: "Delete this job?",
      text: results ? "The job and its uploaded video are removed. This cannot be undone." : "The job and its uploaded video are removed.",
      action: "Delete",
      ...(results ? { choice: "Remove the results from the store, too", chosen: job.deletesResults } : {}),
    });
    if (answer === undefined) return;
    const target = new URL(url, location.origin);
    if (results) target.searchParams.set("results", answer ? "Delete" : "Retain");
    await this.act("DELETE", target.pathname + target.search);
  }

  private async act(method: "POST" | "DELETE", url: string): Promise<void> {
    this.error.replaceChildren();
    try {
      const made = await this.api.act(method, url);
      if (method === "DELETE") location.hash = "#/";
      else if (made !== "" && made !== this.id) location.hash = `#/jobs/${encodeURIComponent(made)}`;
      announce("Done.");
    } catch (error) {
      this.error.replaceChildren(notice("bad", "That did not work", reason(error)));
    }
  }

  private deleted(): void {
    this.stop();
    this.leaveResult?.();
    clearInterval(this.clock);
    this.job = undefined;
    fill(this.element, backLink(), h("h1", { class: "visually-hidden" }, "Job"), notice("warn", "This job has been deleted"));
  }

  private async openResult(job: Job): Promise<void> {
    let left = false;
    this.leaveResult = () => (left = true);
    this.result.replaceChildren(h("div", { class: "card" }, h("p", { role: "status" }, "Loading the result …")));
    try {
      const { resultView } = await import("./result");
      const view = await resultView(this.api, job);
      if (left) return view.dispose();
      this.leaveResult = view.dispose;
      this.result.replaceChildren(view.element);
    } catch (error) {
      if (left) return;
      const again = (): void => void this.openResult(this.job ?? job);
      this.result.replaceChildren(notice("bad", "The result could not be loaded", reason(error), h("button", { type: "button", onclick: again }, "Try again")));
    }
  }
}

function progressPart(job: Job, stages: string[], now: number): Child[] {
  const { status } = job;
  const done = share(status), progress = status.progress;
  const measure = bar(`Progress of ${words(status.stage || "the job")}`);
  measure.set(done);
  const way = steps(status, stages);
  const current = way.find((step) => step.state === "Current");
  const figures: string[] = [];
  if (progress !== undefined && status.phase === "Running") {
    if (done !== undefined) figures.push(percent(done));
    if (progress.totalFrames > 0) figures.push(`frame ${progress.frames.toLocaleString("en")} of ${progress.totalFrames.toLocaleString("en")}`);
    if (progress.milliFPS > 0) figures.push(pace(progress.milliFPS));
    if (progress.estimatedCompletionTime !== undefined) figures.push(`this stage ends ${relative(progress.estimatedCompletionTime, now)}`);
  }
  const attempt = status.attempts.at(-1);
  const which = attempt === undefined ? "" : `Attempt ${attempt.number}: ${attempt.variant} on ${attempt.device}`;
  return [
    h("div", { class: "row between wrap" }, h("h2", { id: "progress" }, "Progress"), h("span", { class: "hint" }, which)),
    h("ol", { class: "stepper" }, ...way.map(stepItem)),
    current !== undefined && h("p", { class: "hint" }, `${current.label}: ${current.hint}.`),
    status.phase === "Running" && measure.element,
    figures.length > 0 && h("p", { class: "figures" }, figures.join(" · ")),
  ];
}

function stepItem(step: Step): HTMLElement {
  const mark = step.state === "Done" ? "check" : step.state === "Failed" ? "cross" : "dot";
  const spoken: Record<Step["state"], string> = { Done: "done", Current: "now", Ahead: "to come", Failed: "failed here" };
  return h(
    "li",
    { class: step.state.toLowerCase(), "aria-current": step.state === "Current" ? "step" : undefined },
    h("span", { class: "mark" }, icon(mark)),
    h("span", { class: "step-text" }, h("strong", {}, step.label, h("span", { class: "visually-hidden" }, ` (${spoken[step.state]})`)), step.seconds !== undefined && h("span", { class: "hint" }, duration(step.seconds))),
  );
}

function detailsPart(job: Job, now: number): Child[] {
  const { status } = job;
  const video = status.video;
  return [
    h("h2", { id: "details" }, "Details"),
    facts([
      ["Job", job.id],
      ["Made", job.createdAt === "" ? "" : `${moment(job.createdAt)}`],
      ["Took", status.startTime === undefined ? "" : duration(Math.max(0, ((status.completionTime === undefined ? now : Date.parse(status.completionTime)) - Date.parse(status.startTime)) / 1000))],
      ["Engine", [status.engineName || job.engine, status.variant].filter((text) => text !== "").join(" / ")],
      ["Ran on", status.device],
      ["Asked for", [words(job.device), job.overlay === "" || job.overlay === "None" ? "no overlay video" : `overlay video, ${job.overlay.toLowerCase()}`].filter((text) => text !== "").join(", ")],
      ["Video", video === undefined ? "" : [`${video.width} × ${video.height}`, `${rate(video.milliFPS / 1000)} fps`, `${video.frames.toLocaleString("en")} frames`, duration(video.seconds), video.codec, video.bytes > 0 ? bytes(video.bytes) : ""].filter((text) => text !== "").join(" · ")],
      ["Computed by", status.reusedFrom],
      ["Earlier results", status.lookup],
    ]),
  ];
}
