/*
 * The page on a cluster, with nothing played: hack/e2e starts it, with a proxy before
 * the gateway that has signed the user in. The engine's GPU variant is staged and dies;
 * what computes the result is real.
 */

import { readFileSync } from "node:fs";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { accessible, close, launch, open, shot, type Watched } from "../e2e/browser";

const need = (name: string): string => {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set: this test is run by hack/e2e (make test-e2e)`);
  return value;
};

const GATEWAY = need("POSE_GATEWAY"), VIDEO = need("POSE_VIDEO"), ENGINE = need("POSE_ENGINE"), FRAMES = Number(need("POSE_FRAMES"));
/** Pods start, and the engine loads its model: milliseconds for a job. */
const PATIENCE = 8 * 60_000;

let browser: Browser;
const opened: Watched[] = [];

beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());
afterEach(() => close(opened));

async function visit(): Promise<Page> {
  const watched = await open(browser, GATEWAY);
  opened.push(watched);
  await watched.page.goto("/");
  return watched.page;
}

test("a video is dropped, its GPU attempt dies, the CPU computes it, the result is seen, downloaded and deleted", { timeout: PATIENCE + 60_000 }, async () => {
  const page = await visit();
  await page.getByLabel("Engine").locator("option", { hasText: ENGINE }).waitFor({ state: "attached" });
  await page.getByLabel("Engine").selectOption(ENGINE);
  await page.getByLabel("Overlay video").selectOption("Full");
  await page.setInputFiles("#files", VIDEO);
  await page.getByRole("link", { name: "Open job" }).click();

  // Live, without a reload: the attempts, why the second was made, and how far it is.
  await page.getByText("Detector load crash").first().waitFor({ timeout: PATIENCE });
  await shot(page, "cluster-fallback");
  await page.getByText(new RegExp(`frame \\d+ of ${FRAMES}`)).first().waitFor({ timeout: PATIENCE });
  await shot(page, "cluster-running");
  await page.getByRole("heading", { name: "Result" }).waitFor({ timeout: PATIENCE });
  await page.getByText("instead of gpu, because attempt 1 with gpu failed").first().waitFor();

  // The real overlay beside the real skeletons, under one clock.
  await page.locator(".space canvas").waitFor();
  await expect.poll(() => page.locator("video").evaluate((video) => (video as HTMLVideoElement).readyState)).toBeGreaterThan(1);
  await page.getByLabel("Frame", { exact: true }).fill(String(FRAMES - 5));
  await expect.poll(() => page.locator("video").evaluate((video) => (video as HTMLVideoElement).currentTime)).toBeGreaterThan(0);
  await shot(page, "cluster-result");
  await accessible(page);

  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "pose.json" }).click()]);
  const pose = JSON.parse(readFileSync(await download.path(), "utf8"));
  expect(pose.frames.length).toBe(FRAMES);
  const [motion] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "BVH" }).click()]);
  expect(readFileSync(await motion.path()).subarray(0, 2).toString("latin1")).toBe("PK");

  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await expect.poll(() => page.url()).toMatch(/#\/$/);
});
