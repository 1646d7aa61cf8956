/* What the gateway says, as the page uses it. read.ts makes these of JSON and trusts nothing. */

export interface Config {
  version: string;
  login: { mode: "OIDC" | "Proxy" | "Token"; loginURL: string; logoutURL: string };
  uploads: { url: string; maxBytes: number; chunkBytes: number; extensions: string[] };
  namespaces: { preset: string; choice: boolean };
}

export interface Session {
  user: string;
  namespace: string;
  csrf: string;
}

export interface Engine {
  name: string;
  description: string;
  isDefault: boolean;
  ready: boolean;
  message: string;
  devices: string[];
  overlays: string[];
  /** In order, between Prepare and Deliver. */
  stages: string[];
}

export interface Condition {
  type: string;
  status: string;
  reason: string;
  message: string;
}

export interface Attempt {
  number: number;
  state: string;
  variant: string;
  device: string;
  deviceUsed: string;
  detector: string;
  node: string;
  gpu: string;
  stage: string;
  reason: string;
  action: string;
  container: string;
  exitCode: number | undefined;
  signal: string;
  message: string;
  culprit: string;
  lastLines: string[];
  notBefore: string | undefined;
  startTime: string | undefined;
  finishTime: string | undefined;
  peakMemoryBytes: number;
  limitMemoryBytes: number;
  seconds: Partial<Record<"fetch" | "prepare" | "load" | "track" | "deliver" | "engine", number>> | undefined;
}

export interface JobStatus {
  phase: string;
  stage: string;
  device: string;
  variant: string;
  engineName: string;
  progress: { frames: number; totalFrames: number; percent: number; milliFPS: number; estimatedCompletionTime: string | undefined } | undefined;
  conditions: Condition[];
  attempts: Attempt[];
  skipped: { variant: string; reason: string; message: string }[];
  video: { width: number; height: number; milliFPS: number; frames: number; seconds: number; codec: string; bytes: number } | undefined;
  output: { people: number; frames: number; coveragePercent: number | undefined; gaps: number | undefined; idSwitchesSuspected: number | undefined; peopleFiltered: number | undefined } | undefined;
  reusedFrom: string;
  lookup: string;
  startTime: string | undefined;
  completionTime: string | undefined;
}

export interface Job {
  id: string;
  /** The video's file name: a label and nothing else. */
  name: string;
  createdAt: string;
  engine: string;
  device: string;
  overlay: string;
  deletesResults: boolean;
  cancelled: boolean;
  /** Its removal was asked for. */
  deleted: boolean;
  status: JobStatus;
  /** What may be done now; "" where it may not. */
  links: { events: string; results: string; cancel: string; retry: string; remove: string };
}

export interface ResultFile {
  /** Name of the output, as "pose". */
  name: string;
  /** Its file in the result's folder, as "pose.json". */
  path: string;
  size: number;
  sha256: string;
  mediaType: string;
  /** Signed for a short while; shown in place. */
  url: string;
  /** The same as a download. */
  downloadURL: string;
}

/** A format of another program, in which a result can be had or not. */
export interface Export {
  format: string;
  title: string;
  /** Programs and purposes. */
  use: string;
  /** Name of the file; "" where it cannot be had. */
  name: string;
  /** Signed for a short while; "" where it cannot be had. */
  url: string;
  /** Why it cannot be had. */
  reason: string;
}

export interface Results {
  files: ResultFile[];
  exports: Export[];
  expiresAt: string | undefined;
}
