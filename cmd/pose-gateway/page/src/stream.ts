/* Keeps one stream of events going: the effects around the state machine of sse.ts. */

import { begin, EventParser, next, SILENCE, type Happening, type ServerEvent, type Subscription } from "./sse";

export interface StreamOptions {
  url: string;
  headers: () => Record<string, string>;
  onEvent: (event: ServerEvent) => void;
  onState: (state: Subscription) => void;
}

/** Starts a stream; call what comes back to end it. */
export function follow(options: StreamOptions): () => void {
  const stream = new Stream(options);
  void stream.connect();
  return () => stream.happen({ kind: "stop" });
}

class Stream {
  private state = begin();
  private parser = new EventParser();
  private retry: number | undefined;
  private lastID = "";
  private request: AbortController | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly options: StreamOptions;
  private readonly online = (): void => this.happen({ kind: "due" });

  constructor(options: StreamOptions) {
    this.options = options;
    window.addEventListener("online", this.online);
  }

  happen(happening: Happening): void {
    const before = this.state;
    this.state = next(before, happening, this.retry, Math.random());
    if (this.state === before) return;
    clearTimeout(this.timer);
    if (this.state.phase !== "Open" && this.state.phase !== "Connecting") this.request?.abort();
    if (this.state.phase === "Waiting") this.timer = setTimeout(() => this.happen({ kind: "due" }), this.state.delay);
    if (this.state.phase === "Connecting") void this.connect();
    if (this.state.phase === "Closed") window.removeEventListener("online", this.online);
    if (happening.kind !== "stop") this.options.onState(this.state);
  }

  async connect(): Promise<void> {
    const request = new AbortController();
    this.request = request;
    const quiet = (): void => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => request === this.request && this.happen({ kind: "silent" }), SILENCE);
    };
    quiet();
    try {
      const headers: Record<string, string> = { Accept: "text/event-stream", ...this.options.headers() };
      if (this.lastID !== "") headers["Last-Event-ID"] = this.lastID;
      const response = await fetch(this.options.url, { headers, credentials: "same-origin", cache: "no-store", redirect: "error", signal: request.signal });
      const streams = response.headers.get("Content-Type")?.startsWith("text/event-stream") === true;
      if (response.status !== 200 || !streams || response.body === null) {
        void response.body?.cancel();
        const after = Number(response.headers.get("Retry-After"));
        return this.happen({ kind: "failed", status: response.status, retryAfter: Number.isFinite(after) ? after : 0 });
      }
      this.parser = new EventParser();
      this.parser.lastID = this.lastID;
      this.happen({ kind: "opened" });
      await this.read(response.body, quiet);
      if (request === this.request) this.happen({ kind: "ended" });
    } catch {
      if (request !== this.request || request.signal.aborted) return;
      this.happen(this.state.phase === "Open" ? { kind: "ended" } : { kind: "failed", status: 0 });
    }
  }

  private async read(body: ReadableStream<Uint8Array<ArrayBuffer>>, quiet: () => void): Promise<void> {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    quiet();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      quiet();
      for (const event of this.parser.push(decoder.decode(value, { stream: true }))) this.options.onEvent(event);
      this.lastID = this.parser.lastID;
      this.retry = this.parser.retry ?? this.retry;
    }
  }
}
