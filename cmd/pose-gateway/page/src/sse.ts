/*
 * Server-sent events (HTML standard, "Server-sent events"), read from a response of
 * fetch rather than by EventSource: that one cannot send a header, does not say why it
 * failed, and goes on asking after the session has ended.
 *
 * Both parts are pure. `EventParser` turns text into events. `next` is the state
 * machine of one subscription:
 *
 *   Connecting --opened--> Open --ended/silent--> Waiting --due--> Connecting
 *        \--failed: 401, 403, 404, 410, 204--> Closed
 *         \--failed: anything else--> Waiting
 *
 * A wait doubles from the server's `retry` (or a second) up to half a minute, with a
 * spread, so that the pages of a restarted server do not all come back at once.
 */

export interface ServerEvent {
  type: string;
  data: string;
  id: string;
}

/** No event of the gateway is larger; what is has not come from it. */
const MAX_EVENT = 4 << 20;

export class EventParser {
  /** Last id that the server gave; sent again as Last-Event-ID. */
  lastID = "";
  /** Milliseconds that the server asked for by `retry:`. */
  retry: number | undefined;

  private rest = "";
  private type = "";
  private data: string[] = [];
  private size = 0;
  private first = true;

  /** Events that are complete with this piece of text. Throws where an event is larger than 4 MiB. */
  push(text: string): ServerEvent[] {
    if (this.first && text !== "") {
      this.first = false;
      if (text.startsWith("\ufeff")) text = text.slice(1);
    }
    this.rest += text;
    const events: ServerEvent[] = [];
    for (;;) {
      const end = /\r\n|\n|\r(?=[^])/.exec(this.rest);
      if (end === null) break;
      const line = this.rest.slice(0, end.index);
      this.rest = this.rest.slice(end.index + end[0].length);
      const event = this.line(line);
      if (event !== undefined) events.push(event);
    }
    if (this.rest.length + this.size > MAX_EVENT) throw new Error("the server sent an event of more than 4 MiB");
    return events;
  }

  private line(line: string): ServerEvent | undefined {
    if (line === "") return this.dispatch();
    if (line.startsWith(":")) return undefined;
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    switch (field) {
      case "data":
        this.data.push(value);
        this.size += value.length;
        break;
      case "event":
        this.type = value;
        break;
      case "id":
        if (!value.includes("\0")) this.lastID = value;
        break;
      case "retry":
        if (/^\d{1,7}$/.test(value)) this.retry = Number(value);
    }
    return undefined;
  }

  private dispatch(): ServerEvent | undefined {
    const event = this.data.length === 0 ? undefined : { type: this.type || "message", data: this.data.join("\n"), id: this.lastID };
    this.type = "";
    this.data = [];
    this.size = 0;
    return event;
  }
}

export type Phase = "Connecting" | "Open" | "Waiting" | "Closed";

export interface Subscription {
  phase: Phase;
  /** Connections that failed in a row. */
  failures: number;
  /** Milliseconds to wait, in phase Waiting. */
  delay: number;
  /** HTTP status that closed the subscription for good, or 0. */
  status: number;
}

export type Happening =
  | { kind: "opened" }
  | { kind: "ended" } // the server or the network closed the stream
  | { kind: "silent" } // no byte for SILENCE
  | { kind: "failed"; status: number; retryAfter?: number } // no stream; status 0 where nothing answered
  | { kind: "due" } // the wait is over, or the network is back
  | { kind: "stop" };

/** Heartbeats come every 15 s or more often: after three that did not come the connection is dead. */
export const SILENCE = 50_000;

const MAX_DELAY = 30_000;
const FINAL = new Set([204, 401, 403, 404, 410]);

export function begin(): Subscription {
  return { phase: "Connecting", failures: 0, delay: 0, status: 0 };
}

/** The state after something happened. retry in ms as the server asked, spread in 0..1 from a random source. */
export function next(state: Subscription, happening: Happening, retry: number | undefined, spread: number): Subscription {
  if (state.phase === "Closed") return state;
  switch (happening.kind) {
    case "stop":
      return { ...state, phase: "Closed", delay: 0 };
    case "opened":
      return { phase: "Open", failures: 0, delay: 0, status: 0 };
    case "due":
      return state.phase === "Waiting" ? { ...state, phase: "Connecting", delay: 0 } : state;
    case "failed":
      if (FINAL.has(happening.status)) return { ...state, phase: "Closed", delay: 0, status: happening.status };
      return wait(state, Math.max(retry ?? 1000, (happening.retryAfter ?? 0) * 1000), spread);
    case "ended":
    case "silent":
      return wait(state, retry ?? 1000, spread);
  }
}

function wait(state: Subscription, base: number, spread: number): Subscription {
  const whole = Math.min(MAX_DELAY, Math.max(250, base) * 2 ** Math.min(state.failures, 10));
  return { phase: "Waiting", failures: state.failures + 1, delay: Math.round(whole * (0.75 + spread / 2)), status: 0 };
}
