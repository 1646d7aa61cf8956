/* JSON of the gateway into the page's types. Status holds words of engines and of strangers' videos: everything is cut and cleaned. */

import { clean } from "./text";
import type { Attempt, Condition, Config, Engine, Export, Job, JobStatus, ResultFile, Results, Session } from "./types";

type Json = Record<string, unknown>;

function record(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

function list(value: unknown, most: number): unknown[] {
  return Array.isArray(value) ? value.slice(0, most) : [];
}

function number(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

function optional(value: unknown): number | undefined {
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}

function time(value: unknown): string | undefined {
  return typeof value === "string" && !Number.isNaN(Date.parse(value)) ? value : undefined;
}

function strings(value: unknown, most: number, length: number): string[] {
  return list(value, most).map((item) => clean(item, length)).filter((item) => item !== "");
}

/**
 * A link of the gateway: a path of this very site, or "". Whatever a status or a store
 * says, the page sends nobody elsewhere.
 */
export function link(value: unknown, origin = location.origin): string {
  if (typeof value !== "string" || value === "" || value.length > 4096) return "";
  let url: URL;
  try {
    url = new URL(value, origin);
  } catch {
    return "";
  }
  return url.origin === origin && (url.protocol === "https:" || url.protocol === "http:") ? url.pathname + url.search : "";
}

export function readConfig(json: unknown): Config {
  const top = record(json), login = record(top.login), uploads = record(top.uploads), namespaces = record(top.namespaces);
  const mode = login.mode === "OIDC" || login.mode === "Proxy" ? login.mode : "Token";
  return {
    version: clean(top.version, 40),
    login: { mode, loginURL: link(login.loginURL), logoutURL: link(login.logoutURL) },
    uploads: {
      url: link(uploads.url),
      maxBytes: number(uploads.maxBytes),
      chunkBytes: number(uploads.chunkBytes),
      extensions: strings(uploads.extensions, 64, 16).map((e) => e.toLowerCase()),
    },
    namespaces: { preset: clean(namespaces.default, 63), choice: namespaces.choice === true },
  };
}

export function readSession(json: unknown): Session {
  const top = record(json);
  return { user: clean(top.user, 120), namespace: clean(top.namespace, 63), csrf: typeof top.csrfToken === "string" ? top.csrfToken : "" };
}

export function readEngines(json: unknown): Engine[] {
  return list(record(json).items, 200).map((value) => {
    const engine = record(value);
    return {
      name: clean(engine.name, 63),
      description: clean(engine.description, 300),
      isDefault: engine.default === true,
      ready: engine.ready !== false,
      message: clean(engine.message, 300),
      devices: strings(engine.devices, 8, 16),
      overlays: strings(engine.overlays, 8, 16),
      stages: strings(engine.stages, 32, 40),
    };
  });
}

export function readJobs(json: unknown): { jobs: Job[]; more: string } {
  const top = record(json);
  return { jobs: list(top.items, 1000).map(readJob), more: typeof top.continue === "string" ? top.continue : "" };
}

export function readJob(json: unknown): Job {
  const job = record(json), links = record(job.links);
  const id = clean(job.id, 253);
  return {
    id,
    name: clean(job.name, 120) || id,
    createdAt: time(job.createdAt) ?? "",
    engine: clean(job.engine, 63),
    device: clean(job.device, 16),
    overlay: clean(job.overlay, 16),
    deletesResults: job.deletionPolicy === "Delete",
    cancelled: job.cancelled === true,
    deleted: time(job.deletedAt) !== undefined,
    status: readStatus(job.status),
    links: { events: link(links.events), results: link(links.results), cancel: link(links.cancel), retry: link(links.retry), remove: link(links.delete) },
  };
}

export function readStatus(json: unknown): JobStatus {
  const status = record(json);
  const progress = record(status.progress);
  return {
    phase: clean(status.phase, 32),
    stage: clean(status.stage, 40),
    device: clean(status.device, 16),
    variant: clean(status.variant, 128),
    engineName: clean(status.engineName, 63),
    progress:
      status.progress === undefined
        ? undefined
        : {
            frames: number(progress.frames),
            totalFrames: number(progress.totalFrames),
            percent: number(progress.percent),
            milliFPS: number(progress.milliFPS),
            estimatedCompletionTime: time(progress.estimatedCompletionTime),
          },
    conditions: list(status.conditions, 32).map(readCondition),
    attempts: list(status.attempts, 64).map(readAttempt),
    skipped: list(status.skippedVariants, 32).map((value) => {
      const skipped = record(value);
      return { variant: clean(skipped.variant, 128), reason: clean(skipped.reason, 64), message: clean(skipped.message, 512) };
    }),
    video: readVideo(status.video),
    output: readOutput(status.output),
    reusedFrom: clean(record(status.reusedFrom).job, 320),
    lookup: clean(record(status.lookup).message, 1024),
    startTime: time(status.startTime),
    completionTime: time(status.completionTime),
  };
}

function readCondition(value: unknown): Condition {
  const condition = record(value);
  return { type: clean(condition.type, 64), status: clean(condition.status, 16), reason: clean(condition.reason, 64), message: clean(condition.message, 1024) };
}

function readAttempt(value: unknown): Attempt {
  const attempt = record(value), evidence = record(attempt.evidence), seconds = record(attempt.seconds);
  return {
    number: number(attempt.number),
    state: clean(attempt.state, 16),
    variant: clean(attempt.variant, 128),
    device: clean(attempt.device, 16),
    deviceUsed: clean(attempt.deviceUsed, 16),
    detector: clean(attempt.detector, 63),
    node: clean(attempt.node, 253),
    gpu: clean(attempt.gpu, 128) || clean(attempt.gpuProduct, 128),
    stage: clean(attempt.stage, 40),
    reason: clean(attempt.reason, 64),
    action: clean(attempt.action, 32),
    container: clean(attempt.container, 63),
    exitCode: optional(attempt.exitCode),
    signal: clean(attempt.signal, 16),
    message: clean(attempt.message, 1024),
    culprit: clean(evidence.culprit, 512),
    lastLines: strings(evidence.lastLines, 8, 400),
    notBefore: time(attempt.notBefore),
    startTime: time(attempt.startTime),
    finishTime: time(attempt.finishTime),
    peakMemoryBytes: number(attempt.peakMemoryBytes),
    limitMemoryBytes: number(attempt.limitMemoryBytes),
    seconds:
      attempt.seconds === undefined
        ? undefined
        : Object.fromEntries((["fetch", "prepare", "load", "track", "deliver", "engine"] as const).flatMap((key) => (optional(seconds[key]) === undefined ? [] : [[key, number(seconds[key])]]))),
  };
}

function readVideo(value: unknown): JobStatus["video"] {
  if (value === undefined || value === null) return undefined;
  const video = record(value);
  return {
    width: number(video.width),
    height: number(video.height),
    milliFPS: number(video.milliFPS),
    frames: number(video.frames),
    seconds: number(video.durationMilliseconds) / 1000,
    codec: clean(record(video.source).codec, 32) || clean(video.codec, 32),
    bytes: number(record(video.source).bytes),
  };
}

function readOutput(value: unknown): JobStatus["output"] {
  if (value === undefined || value === null) return undefined;
  const output = record(value);
  const told = output.quality !== undefined && output.quality !== null;
  const quality = record(output.quality);
  // Inside a quality that is there, a figure that is zero is left out.
  const figure = (key: string): number | undefined => (told ? number(quality[key]) : undefined);
  return {
    people: number(output.people),
    frames: number(output.frames),
    coveragePercent: figure("coveragePercent"),
    gaps: figure("gaps"),
    idSwitchesSuspected: figure("idSwitchesSuspected"),
    peopleFiltered: figure("peopleFiltered"),
  };
}

export function readResults(json: unknown): Results {
  const top = record(json);
  return {
    files: list(top.files, 64).map(readFile).filter((file) => file.url !== ""),
    exports: [...list(top.exports, 32), ...list(top.exportsMissing, 32)].map(readExport).filter((item) => item.url !== "" || item.reason !== ""),
    expiresAt: time(top.expiresAt),
  };
}

function readExport(value: unknown): Export {
  const item = record(value);
  const format = clean(item.format, 32);
  return { format, title: clean(item.title, 64) || format, use: clean(item.for, 160), name: clean(item.name, 128), url: link(item.url), reason: clean(item.reason, 400) };
}

function readFile(value: unknown): ResultFile {
  const file = record(value);
  const url = link(file.url);
  return {
    name: clean(file.name, 128),
    path: clean(file.path, 128) || clean(file.name, 128),
    size: number(file.size),
    sha256: clean(file.sha256, 64),
    mediaType: clean(file.mediaType, 100),
    url,
    downloadURL: link(file.downloadURL) || url,
  };
}
