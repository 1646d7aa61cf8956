/* Uploads, one after the other, by tus 1.0: each can pause, and goes on after a lost connection or a closed page. */

import { DetailedError, Upload } from "tus-js-client";
import { Failure, problem, type Api } from "../api";
import type { Config } from "../types";
import { clean } from "../text";
import { objection, Speed } from "./check";

export type State = "Refused" | "Waiting" | "Sending" | "Paused" | "Failed" | "Done";

export interface Item {
  key: number;
  file: File;
  name: string;
  state: State;
  /** Why it was refused or failed. */
  message: string;
  sent: number;
  /** Bytes a second, where known. */
  speed: number | undefined;
  /** The job that came of it. */
  jobID: string;
  options: Record<string, string>;
}

interface Running {
  upload: Upload;
  speed: Speed;
}

const JOB_HEADER = "Pose-Job-Id";

export class UploadQueue {
  readonly items: Item[] = [];
  private readonly running = new Map<number, Running>();
  private count = 0;
  private readonly api: Api;
  private readonly limits: Config["uploads"];
  private readonly listeners = new Set<(item: Item) => void>();

  constructor(api: Api, limits: Config["uploads"]) {
    this.api = api;
    this.limits = limits;
  }

  /** Calls back at each change of an item; what comes back ends that. */
  listen(listener: (item: Item) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  add(file: File, options: Record<string, string>): Item {
    const message = objection(file, this.limits);
    const item: Item = { key: ++this.count, file, name: clean(file.name, 120) || "video", state: message === "" ? "Waiting" : "Refused", message, sent: 0, speed: undefined, jobID: "", options };
    this.items.push(item);
    this.changed(item);
    this.advance();
    return item;
  }

  /** Pauses one that is being sent; what has arrived stays at the server. */
  pause(item: Item): void {
    if (item.state !== "Sending" && item.state !== "Waiting") return;
    void this.running.get(item.key)?.upload.abort();
    this.set(item, "Paused");
    this.advance();
  }

  resume(item: Item): void {
    if (item.state !== "Paused" && item.state !== "Failed") return;
    this.set(item, "Waiting");
    this.advance();
  }

  /** Forgets an item, and what arrived of it at the server. */
  remove(item: Item): void {
    const upload = this.running.get(item.key)?.upload;
    if (item.state !== "Done" && upload !== undefined) upload.abort(true).catch(() => undefined); // the server lets it expire
    this.running.delete(item.key);
    this.items.splice(this.items.indexOf(item), 1);
    this.changed(item);
    this.advance();
  }

  /** Stops all that is on its way; what has arrived stays at the server. */
  pauseAll(): void {
    // Waiting ones first: else each would begin when the one before it stops.
    for (const state of ["Waiting", "Sending"]) for (const item of this.items) if (item.state === state) this.pause(item);
  }

  /** Forgets everything, as the next user of this page must not see it. */
  clear(): void {
    this.pauseAll();
    for (const item of [...this.items]) this.remove(item);
  }

  /** Share of all bytes that have arrived, 0..1, while something is on its way. */
  get share(): number | undefined {
    const items = this.items.filter((item) => item.state === "Sending" || item.state === "Waiting");
    const size = items.reduce((sum, item) => sum + item.file.size, 0);
    return size === 0 ? undefined : items.reduce((sum, item) => sum + item.sent, 0) / size;
  }

  /** True while leaving the page would interrupt something. */
  get busy(): boolean {
    return this.items.some((item) => item.state === "Sending" || item.state === "Waiting");
  }

  private advance(): void {
    if (this.items.some((item) => item.state === "Sending")) return;
    const item = this.items.find((candidate) => candidate.state === "Waiting");
    if (item !== undefined) void this.start(item);
  }

  private async start(item: Item): Promise<void> {
    this.set(item, "Sending");
    let running = this.running.get(item.key);
    if (running === undefined) {
      running = { upload: this.make(item), speed: new Speed() };
      this.running.set(item.key, running);
      // One that was cut off, by a closed page perhaps, goes on where it was.
      const earlier = await running.upload.findPreviousUploads().catch(() => []);
      if (earlier[0] !== undefined) running.upload.resumeFromPreviousUpload(earlier[0]);
    }
    running.speed.reset();
    if (item.state === "Sending") running.upload.start();
  }

  private make(item: Item): Upload {
    const { api, limits } = this;
    return new Upload(item.file, {
      endpoint: limits.url,
      ...(limits.chunkBytes > 0 ? { chunkSize: limits.chunkBytes } : {}),
      retryDelays: [0, 1000, 3000, 5000, 10_000, 20_000, 30_000],
      metadata: { filename: item.file.name.slice(0, 255), filetype: item.file.type || "application/octet-stream", ...item.options },
      removeFingerprintOnSuccess: true,
      // Another user, or other options, is another upload.
      fingerprint: (file) => Promise.resolve(["tus", "pose", api.session?.user, api.session?.namespace, file.name, file.type, file.size, file.lastModified, JSON.stringify(item.options)].join("|")),
      onBeforeRequest: (request) => {
        for (const [name, value] of Object.entries(api.headers(request.getMethod() !== "HEAD"))) request.setHeader(name, value);
      },
      onAfterResponse: (_, response) => {
        const id = response.getHeader(JOB_HEADER);
        if (id !== undefined && id !== "") item.jobID = clean(id, 253);
      },
      onProgress: (sent) => this.progress(item, sent),
      onShouldRetry: (error) => retryable(error),
      onError: (error) => this.failed(item, error),
      onSuccess: () => {
        item.sent = item.file.size;
        this.set(item, "Done");
        this.advance();
      },
    });
  }

  private progress(item: Item, sent: number): void {
    if (item.state !== "Sending") return;
    const speed = this.running.get(item.key)?.speed;
    speed?.add(performance.now(), sent);
    item.sent = sent;
    item.speed = speed?.get();
    this.changed(item);
  }

  private failed(item: Item, error: Error | DetailedError): void {
    if (item.state !== "Sending") return;
    const status = statusOf(error);
    if (status === 401) this.api.onSignedOut();
    item.message = status === 0 ? "The connection to the server was lost. What has arrived is kept: go on when you are online again." : problem(status, (error as DetailedError).originalResponse?.getBody() ?? "");
    this.set(item, status === 0 || status === 401 || retryable(error) ? "Failed" : "Refused");
    this.advance();
  }

  private changed(item: Item): void {
    for (const listener of this.listeners) listener(item);
  }

  private set(item: Item, state: State): void {
    item.state = state;
    if (state !== "Failed" && state !== "Refused") item.message = "";
    if (state !== "Sending") item.speed = undefined;
    this.changed(item);
  }
}

function statusOf(error: Error | DetailedError): number {
  if (error instanceof Failure) return error.status;
  return error instanceof DetailedError ? (error.originalResponse?.getStatus() ?? 0) : 0;
}

/** Repeating helps against a lost connection, a server that restarts or is busy, and a lock that an earlier connection still holds. */
function retryable(error: Error | DetailedError): boolean {
  const status = statusOf(error);
  return status === 0 || status === 409 || status === 423 || status === 429 || status >= 500;
}

/** Forgets where uploads were, so that the next user of this browser finds nothing of them. */
export function forgetUploads(storage: Storage): void {
  for (const key of Object.keys(storage)) if (key.startsWith("tus::")) storage.removeItem(key);
}
