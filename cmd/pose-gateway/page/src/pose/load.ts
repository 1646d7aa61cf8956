import type { Pose } from "./model";

export interface ToWorker {
  url: string;
  /** Bytes of the file, 0 where not known. */
  size: number;
}

export type FromWorker = { kind: "progress"; bytes: number; total: number } | { kind: "pose"; pose: Pose } | { kind: "error"; message: string };

/** Loads a pose.json in a worker, which ends with it or with the signal. */
export function loadPose(request: ToWorker, onProgress: (bytes: number, total: number) => void, signal: AbortSignal): Promise<Pose> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    const stop = (): void => {
      worker.terminate();
      signal.removeEventListener("abort", abort);
    };
    const abort = (): void => {
      stop();
      reject(new DOMException("left", "AbortError"));
    };
    signal.addEventListener("abort", abort);
    worker.onerror = (event) => {
      stop();
      reject(new Error(`The pose.json could not be read: ${event.message || "the browser ended its worker, perhaps for want of memory"}. Download it instead.`));
    };
    worker.onmessage = (event: MessageEvent<FromWorker>) => {
      const message = event.data;
      if (message.kind === "progress") return onProgress(message.bytes, message.total);
      stop();
      if (message.kind === "pose") resolve(message.pose);
      else reject(new Error(message.message));
    };
    worker.postMessage(request);
  });
}
