/*
 * What the page shows of a job's way, from its status alone (pure).
 *
 * The runner's stages are known: Fetch, Prepare, EngineStart, Deliver. Those of the
 * engine lie between, and their names and order are its own business: the gateway
 * tells them. Where it does not, the page takes those of the project's engines.
 */

import { words } from "./text";
import type { Attempt, Job, JobStatus } from "./types";

export type StepState = "Done" | "Current" | "Ahead" | "Failed";

export interface Step {
  name: string;
  label: string;
  hint: string;
  state: StepState;
  /** Seconds, where the attempt's record has them. */
  seconds: number | undefined;
}

const USUAL = ["ModelLoad", "DetectorLoad", "Tracking", "Writing"];

const HINTS: Record<string, string> = {
  Waiting: "for a place on a machine",
  Fetch: "the video comes from its store",
  Prepare: "the video is checked and made readable",
  EngineStart: "the engine starts",
  ModelLoad: "the body model is loaded",
  DetectorLoad: "what finds people is loaded",
  VisualizerSetup: "what draws is made ready",
  Tracking: "people are found and followed",
  Writing: "the results are written",
  Deliver: "results are checked and stored",
};

/** Members of attempts[].seconds; load is the engine's time before its first frame. */
const SECONDS: Record<string, keyof NonNullable<Attempt["seconds"]>> = { Fetch: "fetch", Prepare: "prepare", Tracking: "track", Deliver: "deliver" };

/** The steps of the live attempt, or of the last one. Stages are the engine's, in order, where they are known. */
export function steps(status: JobStatus, stages: string[]): Step[] {
  const attempt = status.attempts.at(-1);
  const stage = status.stage || attempt?.stage || "";
  const names = ["Waiting", "Fetch", "Prepare", ...(stages.length > 0 ? stages : USUAL), "Deliver"];
  const at = position(names, attempt?.state === "Intended" && status.stage === "" ? "" : stage);
  return names.map((name, k) => ({
    name,
    label: words(name),
    hint: k === at && stage === "EngineStart" ? HINTS.EngineStart! : (HINTS[name] ?? "a stage of the engine's own"),
    state: stateOf(status, attempt, k, at),
    seconds: SECONDS[name] === undefined ? undefined : attempt?.seconds?.[SECONDS[name]],
  }));
}

/** Where a stage stands among the names; one that is not there is put before Deliver. */
function position(names: string[], stage: string): number {
  if (stage === "") return 0;
  if (stage === "EngineStart" || stage === "Preflight") return Math.min(3, names.length - 1);
  const at = names.indexOf(stage);
  if (at >= 0) return at;
  names.splice(names.length - 1, 0, stage);
  return names.length - 2;
}

function stateOf(status: JobStatus, attempt: Attempt | undefined, k: number, at: number): StepState {
  if (status.phase === "Succeeded") return "Done";
  if (k < at) return "Done";
  if (k > at) return "Ahead";
  if (status.phase === "Failed" || attempt?.state === "Failed") return "Failed";
  return status.phase === "Suspended" ? "Ahead" : "Current";
}

export type Tone = "Good" | "Bad" | "Busy" | "Quiet" | "Warn";

/** The phase in one word and its tone. */
export function phase(job: Job): { label: string; tone: Tone } {
  const { status } = job;
  if (job.deleted) return { label: "Being deleted", tone: "Quiet" };
  if (job.cancelled && !finished(status)) return { label: status.phase === "Suspended" ? "Cancelled" : "Being cancelled", tone: "Quiet" };
  switch (status.phase) {
    case "Succeeded":
      return status.conditions.some((c) => c.type === "Degraded" && c.status === "True") ? { label: "Done, fell back", tone: "Warn" } : { label: "Done", tone: "Good" };
    case "Failed":
      return { label: "Failed", tone: "Bad" };
    case "Running":
      return { label: "Running", tone: "Busy" };
    case "Suspended":
      return { label: "Paused", tone: "Quiet" };
    case "Deleting":
      return { label: "Being deleted", tone: "Quiet" };
    default:
      return { label: "Waiting", tone: "Quiet" };
  }
}

/** True once nothing of a job changes any more. */
export function finished(status: JobStatus): boolean {
  return status.phase === "Succeeded" || status.phase === "Failed";
}

/** The one sentence on a job: the message of its condition Ready, or what stands for it. */
export function sentence(status: JobStatus): string {
  const ready = status.conditions.find((condition) => condition.type === "Ready");
  if (ready !== undefined && ready.message !== "") return ready.message;
  return status.phase === "" ? "The job is new; the operator has not looked at it yet." : "";
}

/** How far the current stage is, 0..1, or undefined where that is not known. */
export function share(status: JobStatus): number | undefined {
  const progress = status.progress;
  if (progress === undefined || status.phase !== "Running") return undefined;
  if (progress.totalFrames > 0) return Math.min(1, progress.frames / progress.totalFrames);
  return progress.percent > 0 ? Math.min(1, progress.percent / 100) : undefined;
}

const ACTIONS: Record<string, string> = {
  Retry: "tried again the same way",
  RetryElsewhere: "tried again on another machine",
  NextVariant: "went on with the next variant",
  Fail: "the job ended",
};

/** What followed from a failed attempt, in words. */
export function consequence(attempt: Attempt): string {
  return attempt.action === "" ? "" : (ACTIONS[attempt.action] ?? words(attempt.action));
}

/** Conditions worth showing: those that say something beyond the phase. */
export function notable(status: JobStatus): { type: string; tone: Tone; reason: string; message: string }[] {
  const quiet = new Set(["Ready", "Reconciling", "Stalled", "Complete", "Failed", "Finished"]);
  const tones: Record<string, Tone> = { Reused: "Good", Suspended: "Quiet", NoPeople: "Warn", PeopleFiltered: "Warn", Degraded: "Warn", DeviceMismatch: "Warn", ResultsDeleted: "Quiet" };
  return status.conditions
    .filter((c) => !quiet.has(c.type) && (c.type === "EngineResolved" ? c.status === "False" : c.status === "True" || c.type === "ResultsDeleted"))
    .map((c) => ({ type: c.type, tone: tones[c.type] ?? "Warn", reason: c.reason, message: c.message }));
}
