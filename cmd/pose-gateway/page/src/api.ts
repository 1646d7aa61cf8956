/* Requests to the gateway. Every failure becomes an error with words for a person. */

import { readConfig, readEngines, readJob, readJobs, readResults, readSession } from "./read";
import { clean } from "./text";
import type { Config, Engine, Job, Results, Session } from "./types";

/** What the gateway or the network said no to. */
export class Failure extends Error {
  override name = "Failure";
  readonly status: number;
  readonly requestID: string;

  constructor(message: string, status: number, requestID: string) {
    super(message);
    this.status = status;
    this.requestID = requestID;
  }
}

const TIMEOUT = 30_000;

export class Api {
  session: Session | undefined;
  /** Called when the gateway no longer knows who asks. */
  onSignedOut: () => void = () => undefined;
  /** Typed by the user where there is no login; kept in memory alone, gone with the page. */
  token = "";
  /** Another namespace than the gateway's own choice, where that is allowed. */
  namespace = "";

  async config(): Promise<Config> {
    return readConfig(await this.json("GET", "/api/pose/config"));
  }

  async signIn(): Promise<Session> {
    this.session = readSession(await this.json("GET", "/api/pose/session"));
    return this.session;
  }

  async signOut(url: string): Promise<void> {
    await this.json("POST", url);
    this.session = undefined;
    this.token = "";
  }

  async engines(): Promise<Engine[]> {
    return readEngines(await this.json("GET", "/api/pose/engines"));
  }

  async jobs(more = ""): Promise<{ jobs: Job[]; more: string }> {
    const query = new URLSearchParams({ limit: "50" });
    if (more !== "") query.set("continue", more);
    return readJobs(await this.json("GET", `/api/pose/jobs?${query.toString()}`));
  }

  async job(id: string): Promise<Job> {
    return readJob(await this.json("GET", jobPath(id)));
  }

  async results(url: string): Promise<Results> {
    return readResults(await this.json("GET", url));
  }

  /** Cancels, retries or deletes; the id of the job that the answer speaks of, or "". */
  async act(method: "POST" | "DELETE", url: string): Promise<string> {
    const answer = await this.json(method, url);
    return answer === undefined ? "" : readJob(answer).id;
  }

  /** Headers that every request needs; writing ones carry the token against forgery, too. */
  headers(writing: boolean): Record<string, string> {
    const headers: Record<string, string> = {};
    if (this.token !== "") headers.Authorization = `Bearer ${this.token}`;
    if (this.namespace !== "") headers["Pose-Namespace"] = this.namespace;
    if (writing && this.session !== undefined && this.session.csrf !== "") headers["X-CSRF-Token"] = this.session.csrf;
    return headers;
  }

  private async json(method: string, url: string): Promise<unknown> {
    let response: Response;
    try {
      response = await fetch(url, {
        method,
        headers: { Accept: "application/json", ...this.headers(method !== "GET") },
        credentials: "same-origin",
        redirect: "error", // a login page of a proxy is no answer to a program
        signal: AbortSignal.timeout(TIMEOUT),
      });
    } catch (error) {
      const slow = error instanceof DOMException && error.name === "TimeoutError";
      throw new Failure(slow ? "The server did not answer within half a minute. Try again." : "The server cannot be reached. Look whether you are online, and try again.", 0, "");
    }
    const text = await response.text();
    if (!response.ok) throw this.refusal(response.status, text, response.headers.get("X-Request-Id") ?? "");
    if (text === "") return undefined;
    try {
      return JSON.parse(text) as unknown;
    } catch {
      throw new Failure("The server answered with something that is no JSON: perhaps a proxy stands between. Load the page again.", response.status, "");
    }
  }

  private refusal(status: number, text: string, requestID: string): Failure {
    if (status === 401) this.onSignedOut();
    return new Failure(problem(status, text), status, requestID);
  }
}

export function jobPath(id: string): string {
  return `/api/pose/jobs/${encodeURIComponent(id)}`;
}

const MEANING: Record<number, string> = {
  401: "You are not signed in any more.",
  403: "You may not do this. Ask whoever runs this service for the right.",
  404: "There is no such thing here (any more).",
  409: "The job has changed meanwhile. Look at it again.",
  413: "The file is larger than the server takes.",
  415: "The server does not take files of this kind.",
  429: "Too many requests. Wait a minute, and try again.",
  503: "The service is not ready. Try again in a minute.",
};

/** The words of an RFC 9457 problem, or the meaning of the status where there are none. */
export function problem(status: number, text: string): string {
  let title = "", detail = "";
  try {
    const json = JSON.parse(text.slice(0, 65536)) as Record<string, unknown>;
    title = clean(json.title, 200);
    detail = clean(json.detail, 600);
  } catch {
    // no problem document: the status says what can be said
  }
  if (detail !== "") return detail[0]!.toUpperCase() + detail.slice(1);
  return MEANING[status] ?? (title !== "" ? title : `The server failed (${status}). Try again; if it goes on, tell whoever runs this service.`);
}
