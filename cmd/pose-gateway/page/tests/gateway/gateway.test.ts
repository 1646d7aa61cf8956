/*
 * The page on a real gateway; browser_test.go starts it, plays the operator behind
 * POSE_CONTROL, and stands for a proxy that has signed the user in.
 */

import { readFileSync } from "node:fs";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { close, launch, open, shot, type Watched } from "../e2e/browser";
import { CSP } from "../e2e/server";
import { pose } from "../fixtures/walk";

const need = (name: string): string => {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set: these tests are run by browser_test.go (make gateway)`);
  return value;
};

const GATEWAY = need("POSE_GATEWAY"), CONTROL = need("POSE_CONTROL");
const PROXY = { "X-Proxy-Secret": need("POSE_PROXY_SECRET"), "X-Forwarded-User": need("POSE_PROXY_USER") };
const VIDEO = new URL("../fixtures/walk.mp4", import.meta.url).pathname;

let browser: Browser;
const opened: Watched[] = [];

beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());
afterEach(() => close(opened));

async function visit(path = "/", headers: Record<string, string> = PROXY): Promise<Page> {
  const watched = await open(browser, GATEWAY);
  opened.push(watched);
  await watched.context.setExtraHTTPHeaders(headers);
  await watched.page.goto(path);
  return watched.page;
}

/** The object in the cluster. */
async function object(name: string): Promise<any> {
  return (await fetch(`${CONTROL}/jobs/${name}`)).json();
}

async function setStatus(name: string, status: unknown): Promise<void> {
  const response = await fetch(`${CONTROL}/jobs/${name}/status`, { method: "PUT", body: JSON.stringify(status) });
  if (!response.ok) throw new Error(await response.text());
}

async function succeed(name: string, poseJSON: string): Promise<void> {
  const form = new FormData();
  form.set("pose.json", new Blob([poseJSON]), "pose.json");
  form.set("overlay.mp4", new Blob([readFileSync(VIDEO)]), "overlay.mp4");
  const response = await fetch(`${CONTROL}/jobs/${name}/result`, { method: "POST", body: form });
  if (!response.ok) throw new Error(await response.text());
}

/** Sends the video through the page and opens its job; its name comes back. */
async function send(page: Page): Promise<string> {
  await page.getByLabel("Engine").locator("option", { hasText: "mediapipe" }).waitFor({ state: "attached" });
  await page.setInputFiles("#files", VIDEO);
  await page.getByRole("link", { name: "Open job" }).click();
  await page.getByRole("heading", { name: "walk.mp4" }).waitFor();
  return new URL(page.url()).hash.slice("#/jobs/".length);
}

const tracking = (frames: number, conditions: unknown[] = []): unknown => ({
  phase: "Running",
  stage: "Tracking",
  device: "CPU",
  variant: "cpu",
  engineName: "mediapipe",
  startTime: "2026-01-01T00:00:00Z",
  progress: { frames, totalFrames: 90, percent: Math.round(frames / 0.9), milliFPS: 12_000 },
  attempts: [
    { number: 1, state: "Failed", variant: "gpu", device: "GPU", stage: "DetectorLoad", reason: "DetectorLoadCrash", action: "NextVariant", signal: "SIGSEGV", message: "The engine died while it loaded its detector." },
    { number: 2, state: "Running", variant: "cpu", device: "CPU", stage: "Tracking" },
  ],
  conditions,
});

test("a video goes in, its job is followed, its result is seen and downloaded", async () => {
  const page = await visit();
  const name = await send(page);
  const made = await object(name);
  expect(made.spec.video.uri).toMatch(/^s3:\/\/poses\/.*\.mp4$/);
  expect(made.spec.output.overlay).toBe("Blurred");

  await setStatus(name, tracking(30));
  await page.getByText("frame 30 of 90").waitFor();
  await page.getByText("Detector load crash").waitFor();
  await setStatus(name, tracking(60));
  await page.getByText("frame 60 of 90").waitFor();
  await shot(page, "gateway-running");

  await succeed(name, JSON.stringify(pose({ people: 2, frames: 90 })));
  await page.locator(".space canvas").waitFor();
  await expect.poll(() => page.locator("video").evaluate((video) => (video as HTMLVideoElement).readyState)).toBeGreaterThan(1);
  await page.getByLabel("Frame", { exact: true }).fill("45");
  await expect.poll(() => page.locator("video").evaluate((video) => (video as HTMLVideoElement).currentTime)).toBeCloseTo(45.5 / 30, 2);
  await shot(page, "gateway-result");
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "overlay.mp4" }).click()]);
  expect(readFileSync(await download.path()).equals(readFileSync(VIDEO))).toBe(true);
  expect(download.suggestedFilename()).toBe("overlay.mp4");
  // In the format of another program, by the link that the gateway sealed.
  const [motion] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "BVH" }).click()]);
  expect(motion.suggestedFilename()).toBe("walk-bvh.zip");
  const zip = readFileSync(await motion.path());
  expect(zip.subarray(0, 4).toString("latin1")).toBe("PK\u0003\u0004");
  expect(zip.includes("walk-bvh/person-1.bvh")).toBe(true);
});

test("a job is cancelled, tried again and deleted", async () => {
  const page = await visit();
  const name = await send(page);
  await setStatus(name, tracking(30));
  await page.getByText("frame 30 of 90").waitFor();
  await page.getByRole("button", { name: "Cancel job" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel job" }).click();
  await page.getByText("Being cancelled").waitFor();
  expect((await object(name)).spec.suspend).toBe(true);
  await setStatus(name, { ...(tracking(30) as object), phase: "Suspended", stage: "", progress: undefined });
  await page.getByText("Cancelled", { exact: true }).first().waitFor();
  await page.getByRole("button", { name: "Try again" }).click();
  await expect.poll(() => page.url()).not.toContain(`/${name}`);
  const again = new URL(page.url()).hash.slice("#/jobs/".length);
  expect((await object(again)).spec.video.uri).toBe((await object(name)).spec.video.uri);
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await expect.poll(() => page.url()).toMatch(/#\/$/);
  await expect.poll(async () => {
    const response = await fetch(`${CONTROL}/jobs/${again}`);
    return response.ok ? ((await response.json()) as any).metadata.deletionTimestamp !== undefined : true;
  }).toBe(true);
});

test("what is no video is refused with the server's words", async () => {
  const page = await visit();
  await page.getByLabel("Engine").locator("option", { hasText: "mediapipe" }).waitFor({ state: "attached" });
  await page.setInputFiles("#files", { name: "fake.mp4", mimeType: "video/mp4", buffer: Buffer.from("no video at all, only words of some length") });
  await page.locator(".uploads").getByText("Not sent. The file does not begin as a video does").waitFor();
  await shot(page, "gateway-refused");
});

test("without the proxy nobody is let in, and the policy is the one that the page was tried under", async () => {
  const page = await visit("/", {});
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  expect((await page.request.get("/")).headers()["content-security-policy"]).toBe(CSP);
});
