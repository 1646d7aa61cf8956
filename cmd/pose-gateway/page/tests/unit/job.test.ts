import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { problem } from "../../src/api";
import { link, readConfig, readJob, readJobs, readResults, readStatus } from "../../src/read";
import { jobHash, route } from "../../src/router";
import { consequence, finished, notable, phase, sentence, share, steps } from "../../src/stages";
import { extensionOf, objection, Speed } from "../../src/upload/check";

const ORIGIN = "https://pose.example.org";

beforeAll(() => vi.stubGlobal("location", new URL(ORIGIN)));
afterAll(() => vi.unstubAllGlobals());

describe("what the gateway says", () => {
  test("is read whatever it is", () => {
    for (const nonsense of [undefined, null, 7, "x", [], {}, { status: [], links: 3 }, { status: { attempts: [null, 3, { evidence: [] }], conditions: "x", progress: 5, output: 3, video: [] } }]) {
      expect(() => {
        const job = readJob(nonsense);
        steps(job.status, []);
        phase(job);
        sentence(job.status);
        notable(job.status);
        share(job.status);
        readJobs(nonsense);
      }).not.toThrow();
    }
  });

  test("links lead to this very site or nowhere", () => {
    expect(link("/api/pose/jobs/a/results?x=1", ORIGIN)).toBe("/api/pose/jobs/a/results?x=1");
    expect(link(`${ORIGIN}/api/x`, ORIGIN)).toBe("/api/x");
    for (const foreign of ["https://evil.example/x", "//evil.example/x", "javascript:alert(1)", "data:text/html,x", "blob:https://pose.example.org/1", "http://pose.example.org/x", "https://pose.example.org.evil.example/", "\\\\evil.example\\x", "http://[", "", 7, undefined]) expect(link(foreign, ORIGIN)).toBe("");
  });

  test("lists are bounded, texts cleaned", () => {
    const status = readStatus({ attempts: Array(500).fill({ number: 1, state: "Failed", message: "x".repeat(5000) + "\u202e" }), phase: "Run\u0000ning" });
    expect(status.attempts.length).toBe(64);
    expect(status.attempts[0]!.message.length).toBe(1024);
    expect(status.phase).toBe("Run ning");
  });

  test("a figure of quality that is left out is nought where there is quality, and unknown where there is none", () => {
    expect(readStatus({ output: { people: 1, frames: 2, quality: { gaps: 3 } } }).output).toEqual({ people: 1, frames: 2, coveragePercent: 0, gaps: 3, idSwitchesSuspected: 0, peopleFiltered: 0 });
    expect(readStatus({ output: { people: 1, frames: 2 } }).output).toMatchObject({ gaps: undefined, coveragePercent: undefined });
  });

  test("exports are those that can be had, then those that cannot, with links to this site alone", () => {
    const results = readResults({
      exports: [
        { format: "bvh", title: "BVH", for: "animation", name: "run-bvh.zip", url: "/api/pose/exports/x/run-bvh.zip" },
        { format: "trc", title: "TRC", for: "OpenSim", name: "x.zip", url: "https://evil.example/x.zip" },
        { format: "c3d", url: "/api/pose/exports/x/y" },
      ],
      exportsMissing: [{ format: "csv", title: "CSV\u202e", for: "statistics", reason: "No 3D." }, 7],
    });
    expect(results.exports.map((item) => [item.format, item.title, item.use, item.name, item.url, item.reason])).toEqual([
      ["bvh", "BVH", "animation", "run-bvh.zip", "/api/pose/exports/x/run-bvh.zip", ""],
      ["c3d", "c3d", "", "", "/api/pose/exports/x/y", ""],
      ["csv", "CSV", "statistics", "", "", "No 3D."],
    ]);
    expect(readResults({}).exports).toEqual([]);
  });

  test("problems become words", () => {
    expect(problem(422, '{"title":"Refused","detail":"Choose another engine."}')).toBe("Choose another engine.");
    expect(problem(403, "<html>")).toMatch(/may not/);
    expect(problem(500, "")).toMatch(/failed \(500\)/);
    expect(problem(418, '{"title":"Teapot"}')).toBe("Teapot");
  });
});

describe("the way of a job", () => {
  const engine = ["ModelLoad", "DetectorLoad", "Tracking"];
  const states = (status: object, stages = engine): string => steps(readStatus(status), stages).map((step) => `${step.name}:${step.state}`).join(" ");

  test.each([
    ["is new", {}, "Waiting:Current Fetch:Ahead Prepare:Ahead ModelLoad:Ahead DetectorLoad:Ahead Tracking:Ahead Deliver:Ahead"],
    ["tracks", { phase: "Running", stage: "Tracking" }, "Waiting:Done Fetch:Done Prepare:Done ModelLoad:Done DetectorLoad:Done Tracking:Current Deliver:Ahead"],
    ["starts its engine", { phase: "Running", stage: "EngineStart" }, "Waiting:Done Fetch:Done Prepare:Done ModelLoad:Current DetectorLoad:Ahead Tracking:Ahead Deliver:Ahead"],
    ["is in a stage that nobody announced", { phase: "Running", stage: "Dancing" }, "Waiting:Done Fetch:Done Prepare:Done ModelLoad:Done DetectorLoad:Done Tracking:Done Dancing:Current Deliver:Ahead"],
    ["failed while loading", { phase: "Failed", attempts: [{ number: 1, state: "Failed", stage: "DetectorLoad" }] }, "Waiting:Done Fetch:Done Prepare:Done ModelLoad:Done DetectorLoad:Failed Tracking:Ahead Deliver:Ahead"],
    ["waits for its second attempt", { phase: "Pending", attempts: [{ number: 1, state: "Failed", stage: "Tracking" }, { number: 2, state: "Intended" }] }, "Waiting:Current Fetch:Ahead Prepare:Ahead ModelLoad:Ahead DetectorLoad:Ahead Tracking:Ahead Deliver:Ahead"],
    ["is done", { phase: "Succeeded", attempts: [{ number: 1, state: "Succeeded", stage: "Deliver" }] }, "Waiting:Done Fetch:Done Prepare:Done ModelLoad:Done DetectorLoad:Done Tracking:Done Deliver:Done"],
  ])("that %s", (_, status, expected) => expect(states(status)).toBe(expected));

  test("has the usual stages where the engine's are not known, and never changes them", () => {
    const before = states({ phase: "Running", stage: "Writing" }, []);
    expect(before).toBe("Waiting:Done Fetch:Done Prepare:Done ModelLoad:Done DetectorLoad:Done Tracking:Done Writing:Current Deliver:Ahead");
    states({ phase: "Running", stage: "Dancing" }, []);
    expect(states({ phase: "Running", stage: "Writing" }, [])).toBe(before);
  });

  test("phases in a word", () => {
    const label = (job: object): string => phase(readJob(job)).label;
    expect(label({ status: {} })).toBe("Waiting");
    expect(label({ status: { phase: "Succeeded" } })).toBe("Done");
    expect(label({ status: { phase: "Succeeded", conditions: [{ type: "Degraded", status: "True" }] } })).toBe("Done, fell back");
    expect(label({ cancelled: true, status: { phase: "Running" } })).toBe("Being cancelled");
    expect(label({ cancelled: true, status: { phase: "Suspended" } })).toBe("Cancelled");
    expect(label({ cancelled: true, status: { phase: "Succeeded" } })).toBe("Done");
    expect(label({ deletedAt: "2026-01-01T00:00:00Z", status: { phase: "Running" } })).toBe("Being deleted");
  });

  test("how far a stage is", () => {
    const of = (progress: object, phase = "Running"): number | undefined => share(readStatus({ phase, progress }));
    expect(of({ frames: 30, totalFrames: 120 })).toBe(0.25);
    expect(of({ percent: 40 })).toBe(0.4);
    expect(of({ frames: 500, totalFrames: 120 })).toBe(1);
    expect([of({}), of({ frames: 30 }), of({ percent: 40 }, "Failed")]).toEqual([undefined, undefined, undefined]);
  });

  test("conditions that say more than the phase", () => {
    const of = (type: string, status: string): string[] => notable(readStatus({ conditions: [{ type, status, reason: "R", message: "m" }] })).map((note) => note.type);
    expect([of("Degraded", "True"), of("EngineResolved", "False"), of("ResultsDeleted", "False"), of("Invented", "True")].flat()).toEqual(["Degraded", "EngineResolved", "ResultsDeleted", "Invented"]);
    expect([of("Ready", "False"), of("EngineResolved", "True"), of("Degraded", "False"), of("Complete", "True")].flat()).toEqual([]);
    expect(consequence(readStatus({ attempts: [{ action: "NextVariant" }] }).attempts[0]!)).toBe("went on with the next variant");
    expect(finished(readStatus({ phase: "Failed" }))).toBe(true);
  });
});

describe("files before they are sent", () => {
  const limits = { url: "/u", maxBytes: 1e9, chunkBytes: 0, extensions: [".mp4", ".mov"] };

  test.each([
    ["a video", { name: "a.MP4", size: 5, type: "video/mp4" }, ""],
    ["a video of a type that the browser does not know", { name: "a.mov", size: 5, type: "" }, ""],
    ["a picture", { name: "a.png", size: 5, type: "image/png" }, /is a \.png file. Choose a video: \.mp4, \.mov/],
    ["a picture under a video's name", { name: "a.mp4", size: 5, type: "image/png" }, /image, not a video/],
    ["no extension", { name: "video", size: 5, type: "" }, /no extension/],
    ["a hidden file", { name: ".mp4", size: 5, type: "" }, /no extension/],
    ["nothing", { name: "a.mp4", size: 0, type: "video/mp4" }, /empty/],
    ["too much", { name: "a.mp4", size: 2e9, type: "video/mp4" }, /has 2\.0 GB, and this server takes 1\.0 GB/],
  ])("%s", (_, file, words) => {
    if (words === "") expect(objection(file, limits)).toBe("");
    else expect(objection(file, limits)).toMatch(words);
  });

  test("a server without limits has none", () => expect(objection({ name: "a.webm", size: 1e15, type: "" }, { ...limits, maxBytes: 0, extensions: [] })).toBe(""));

  test("extensions and speeds", () => {
    expect(["a.tar.GZ", "a", "a.", ".a"].map(extensionOf)).toEqual([".gz", "", ".", ""]);
    const speed = new Speed();
    speed.add(0, 0);
    expect(speed.get()).toBeUndefined();
    speed.add(1000, 5000);
    expect(speed.get()).toBe(5000);
    speed.add(20_000, 5000);
    expect(speed.get()!).toBeLessThan(1); // what was long ago does not count
  });
});

test("places of the page", () => {
  expect(route("#/jobs/run-42")).toEqual({ name: "job", id: "run-42" });
  expect(route(jobHash("run.42"))).toEqual({ name: "job", id: "run.42" });
  for (const hash of ["", "#/", "#/jobs/", "#/jobs/..%2f..%2fx", "#/jobs/%ff", "#/jobs/A", "#/jobs/a/b", "#/jobs/" + "a".repeat(300)]) expect(route(hash)).toEqual({ name: "home" });
});

test("config and results without the members that matter", () => {
  expect(readConfig({ login: { mode: "Magic" } }).login.mode).toBe("Token");
  expect(readResults({ files: [{ name: "pose", path: "pose.json", url: "https://evil.example/pose.json" }, { name: "overlay", url: "/api/pose/media/x/overlay" }] }).files.map((file) => [file.name, file.path, file.downloadURL])).toEqual([["overlay", "overlay", "/api/pose/media/x/overlay"]]);
});
