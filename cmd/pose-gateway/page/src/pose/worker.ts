/* Fetches and reads a pose.json away from the page's thread, so that nothing stutters meanwhile. */

import { buffers } from "./model";
import { PoseError } from "./header";
import { PoseReader } from "./reader";
import type { FromWorker, ToWorker } from "./load";

/** Bytes of a file that the page takes at all. */
const MAX_BYTES = 1 << 30;

const scope = self as unknown as { postMessage(message: FromWorker, transfer?: Transferable[]): void; onmessage: ((event: MessageEvent<ToWorker>) => void) | null };

scope.onmessage = (event) => {
  void run(event.data).catch((error: unknown) => {
    scope.postMessage({ kind: "error", message: error instanceof PoseError ? error.message : `The pose.json could not be loaded: ${error instanceof Error ? error.message : String(error)}` });
  });
};

async function run({ url, size }: ToWorker): Promise<void> {
  const response = await fetch(url, { credentials: "same-origin" });
  if (!response.ok || response.body === null) throw new PoseError(`The pose.json could not be loaded: the server answered ${response.status}. Load the page again.`);
  // A compressed answer has a Content-Length of its own; the size of the file is known from the list of results.
  const total = size > 0 ? size : Number(response.headers.get("Content-Length") ?? 0);
  const reader = new PoseReader();
  // fatal: a file that is not UTF-8 is refused rather than shown with holes.
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let bytes = 0, told = 0;
  for await (const piece of pieces(response.body)) {
    bytes += piece.byteLength;
    if (bytes > MAX_BYTES) throw new PoseError("The pose.json is larger than 1 GiB, more than a page can show. Download it instead.");
    reader.push(decode(decoder, piece));
    if (bytes - told > 1 << 20) {
      told = bytes;
      scope.postMessage({ kind: "progress", bytes, total });
    }
  }
  reader.push(decode(decoder, undefined));
  const pose = reader.end();
  scope.postMessage({ kind: "pose", pose }, buffers(pose));
}

function decode(decoder: TextDecoder, piece: Uint8Array<ArrayBuffer> | undefined): string {
  try {
    return piece === undefined ? decoder.decode() : decoder.decode(piece, { stream: true });
  } catch {
    throw new PoseError("The pose.json is no UTF-8 text.");
  }
}

async function* pieces(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}
