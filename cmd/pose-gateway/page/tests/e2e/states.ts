/* States of jobs that the tests play. */

import { job, links, type JobJSON } from "./server";

const at = (seconds: number): string => new Date(Date.now() + seconds * 1000).toISOString();

export function running(id: string, frames: number): JobJSON {
  return job(id, {
    name: "evening-run.mp4",
    createdAt: at(-300),
    engine: "phalp",
    links: links(id, ["cancel", "delete"]),
    status: {
      phase: "Running",
      stage: "Tracking",
      device: "CPU",
      variant: "cpu",
      engineName: "phalp",
      startTime: at(-290),
      progress: { summary: "35%", frames, totalFrames: 120, percent: Math.round(frames / 1.2), milliFPS: 2600, estimatedCompletionTime: at(30) },
      conditions: [{ type: "Ready", status: "False", reason: "Progressing", message: "Attempt 2 (cpu on CPU) runs: Tracking, 35% 42/120" }],
      skippedVariants: [{ variant: "gpu-yolo", reason: "LearnedSkip", message: "It crashed for 4 videos of 3 namespaces on NVIDIA A10." }],
      attempts: [crashed(), { number: 2, state: "Running", variant: "cpu", device: "CPU", node: "node-b", stage: "Tracking", startTime: at(-60), seconds: { fetch: 2, prepare: 3, load: 40 } }],
      video: { width: 640, height: 360, milliFPS: 30000, frames: 120, durationMilliseconds: 4000, codec: "h264" },
    },
  });
}

function crashed(): Record<string, unknown> {
  return {
    number: 1,
    state: "Failed",
    variant: "gpu",
    device: "GPU",
    node: "node-a",
    gpu: "NVIDIA A10",
    stage: "DetectorLoad",
    reason: "DetectorLoadCrash",
    action: "NextVariant",
    container: "engine",
    signal: "SIGSEGV",
    message: "The engine died by SIGSEGV while it loaded its detector. Variants that load the same detector on a GPU are skipped.",
    startTime: at(-280),
    finishTime: at(-65),
    peakMemoryBytes: 8.1e9,
    limitMemoryBytes: 16e9,
    evidence: { culprit: "Segmentation fault (core dumped)", lastLines: ["pose-engine: stage=detector_load", "<script>alert(1)</script>", "Segmentation fault (core dumped)"] },
  };
}

export function succeeded(id: string, more: Record<string, unknown> = {}): JobJSON {
  const status = running(id, 120).status as Record<string, unknown>;
  const attempts = status.attempts as Record<string, unknown>[];
  return job(id, {
    name: "evening-run.mp4",
    createdAt: at(-600),
    engine: "phalp",
    links: links(id, ["results", "retry", "delete"]),
    status: {
      ...status,
      phase: "Succeeded",
      stage: "",
      progress: undefined,
      completionTime: at(-20),
      attempts: [attempts[0], { ...attempts[1], state: "Succeeded", stage: "Deliver", finishTime: at(-20), seconds: { fetch: 2, prepare: 3, load: 40, track: 46, deliver: 4 } }],
      conditions: [
        { type: "Ready", status: "True", reason: "Succeeded", message: "2 people in 90 frames, by attempt 2 (cpu on CPU)." },
        { type: "Degraded", status: "True", reason: "Fallback", message: "The job ran on the CPU instead of a GPU: attempt 1 (gpu) failed with DetectorLoadCrash." },
      ],
      output: { people: 2, frames: 90, manifestSHA256: "cd".repeat(32), quality: { coveragePercent: 100, gaps: 1, peopleFiltered: 2 } },
    },
    ...more,
  });
}

export function failed(id: string): JobJSON {
  const first = crashed();
  return job(id, {
    name: '<img src=x onerror="document.title=1">\u202egnp.mp4',
    createdAt: at(-900),
    links: links(id, ["retry", "delete"]),
    status: {
      phase: "Failed",
      engineName: "phalp",
      device: "CPU",
      variant: "cpu",
      startTime: at(-880),
      completionTime: at(-400),
      conditions: [{ type: "Ready", status: "False", reason: "OutOfMemory", message: "The engine ran out of memory (16 GB). Give it more by podTemplate.resources.cpu, or cut the video." }],
      attempts: [first, { number: 2, state: "Failed", variant: "cpu", device: "CPU", stage: "Tracking", reason: "OutOfMemory", action: "Fail", exitCode: 137, message: "The engine was killed with its memory at the limit of 16 GB." }],
    },
  });
}
