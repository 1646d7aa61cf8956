/* The first page: new jobs, and the list of those that are there, which follows the cluster. */

import type { Api } from "../api";
import { h, icon, say } from "../dom";
import { age, moment, pace, percent } from "../format";
import { readJob } from "../read";
import { jobHash } from "../router";
import { phase, sentence, share } from "../stages";
import { follow } from "../stream";
import { plural, words } from "../text";
import type { Config, Job } from "../types";
import type { UploadQueue } from "../upload/queue";
import { bar, chip, notice, part, reason, type View } from "./common";
import { uploadCard } from "./upload";

export const EVENTS = "/api/pose/jobs/events";

/** How often the list is asked for where the server has no stream of all jobs. */
const POLL = 5000;

export function homeView(api: Api, config: Config, queue: UploadQueue): View {
  const jobs = new JobList(api);
  const upload = uploadCard(api, config, queue, () => void jobs.load());
  const element = h("div", { class: "stack" }, h("h1", { class: "visually-hidden" }, "Jobs"), upload.element, jobs.element);
  return {
    element,
    title: "Jobs",
    dispose: () => {
      upload.dispose();
      jobs.dispose();
    },
  };
}

class JobList {
  readonly element: HTMLElement;
  private readonly api: Api;
  private readonly jobs = new Map<string, Job>();
  private readonly rows = new Map<string, JobRow>();
  private readonly list = h("ul", { class: "jobs" });
  private readonly state = h("p", { class: "hint", role: "status" });
  private readonly more = h("button", { type: "button", hidden: true, onclick: () => void this.load(this.next) }, "Show older jobs");
  private next = "";
  private stop: () => void = () => undefined;
  private timer: ReturnType<typeof setInterval> | undefined;
  private readonly clock = setInterval(() => this.rows.forEach((row) => row.tick()), 10_000);

  constructor(api: Api) {
    this.api = api;
    this.element = h("section", { class: "card", "aria-labelledby": "jobs" }, h("div", { class: "row between" }, h("h2", { id: "jobs" }, "Jobs"), this.state), this.list, this.more);
    say(this.state, "Loading …");
    void this.load().then(() => this.follow());
  }

  async load(from = ""): Promise<void> {
    try {
      const { jobs, more } = await this.api.jobs(from);
      for (const job of jobs) this.jobs.set(job.id, job);
      if (from !== "" || this.next === "") this.next = more;
      this.more.hidden = this.next === "";
      say(this.state, "");
      this.show();
    } catch (error) {
      say(this.state, "");
      if (this.jobs.size === 0) this.list.replaceChildren(h("li", {}, notice("bad", "The list of jobs could not be loaded", reason(error), h("button", { type: "button", onclick: () => void this.load() }, "Try again"))));
    }
  }

  dispose(): void {
    this.stop();
    clearInterval(this.timer);
    clearInterval(this.clock);
  }

  private follow(): void {
    this.stop = follow({
      url: EVENTS,
      headers: () => this.api.headers(false),
      onEvent: ({ type, data }) => {
        if (type === "job") {
          const job = readJob(parse(data));
          if (job.id !== "") this.jobs.set(job.id, job);
        } else if (type === "deleted") this.jobs.delete(readJob(parse(data)).id);
        else if (type === "sync") this.forget(parse(data));
        this.show();
      },
      onState: (state) => {
        if (state.status === 401) this.api.onSignedOut();
        else if (state.phase === "Closed") this.timer ??= setInterval(() => void this.load(), POLL);
        say(this.state, state.phase === "Waiting" ? "Connection lost; trying again …" : "");
      },
    });
  }

  /** After the current state the server names all jobs that there are: others went while nobody listened. */
  private forget(data: unknown): void {
    const ids = typeof data === "object" && data !== null && "ids" in data && Array.isArray(data.ids) ? new Set<unknown>(data.ids) : undefined;
    if (ids !== undefined) for (const id of this.jobs.keys()) if (!ids.has(id)) this.jobs.delete(id);
  }

  private show(): void {
    const sorted = [...this.jobs.values()].sort((a, b) => (a.createdAt < b.createdAt ? 1 : a.createdAt > b.createdAt ? -1 : a.id < b.id ? -1 : 1));
    const elements = sorted.map((job) => {
      const row = this.rows.get(job.id) ?? new JobRow();
      this.rows.set(job.id, row);
      row.show(job);
      return row.element;
    });
    for (const id of this.rows.keys()) if (!this.jobs.has(id)) this.rows.delete(id);
    if (elements.length === 0) elements.push(h("li", { class: "empty" }, icon("figure"), h("p", {}, "No jobs yet. Drop a video above: people in it are found, followed and shown in 3D.")));
    // Moving a row that has the focus would take it away.
    if (elements.length !== this.list.children.length || elements.some((element, k) => this.list.children[k] !== element)) this.list.replaceChildren(...elements);
  }
}

function parse(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    return undefined;
  }
}

class JobRow {
  readonly element = h("li", {});
  private readonly render = part(this.element);
  private job: Job | undefined;

  show(job: Job): void {
    this.job = job;
    this.tick();
  }

  tick(): void {
    const { job } = this;
    if (job === undefined) return;
    const { status } = job;
    const state = phase(job), done = share(status), since = age(job.createdAt, Date.now());
    const running = status.phase === "Running";
    const doing = running ? [words(status.stage || "Waiting"), done === undefined ? "" : percent(done), pace(status.progress?.milliFPS).replace("–", "")].filter((text) => text !== "").join(" · ") : sentence(status);
    this.render([job.id, job.name, state, doing, done, since, status.device, status.output?.people], () => {
      const progress = bar(`Progress of ${job.name}`);
      progress.set(done);
      return [
        h(
          "a",
          { href: jobHash(job.id), "data-focus": "open" },
          h("span", { class: "job-name cut" }, job.name),
          chip(state.label, state.tone),
          h("span", { class: "hint cut job-doing" }, doing),
          h("span", { class: "hint job-meta", title: moment(job.createdAt) }, [status.output === undefined ? "" : plural(status.output.people, "person", "people"), status.device, since].filter((text) => text !== "").join(" · ")),
        ),
        running && progress.element,
      ];
    });
  }
}
