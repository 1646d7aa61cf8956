import { readFileSync } from "node:fs";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, test } from "vitest";
import { pose } from "../fixtures/walk";
import { accessible, fits, launch, open, shot, type Look } from "./browser";
import { FakeGateway } from "./server";
import { failed, running, succeeded } from "./states";

/* Every view in every look: fits, is accessible, keeps to the policy, asks no other host. */

let browser: Browser, gateway: FakeGateway;

beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());
beforeEach(async () => {
  gateway = new FakeGateway(new URL("../../dist", import.meta.url).pathname);
  await gateway.start();
  gateway.put(failed("job-failed"));
  gateway.put(succeeded("job-done"));
  gateway.put(running("job-running", 42));
  gateway.files.set("job-done", {
    pose: { body: Buffer.from(JSON.stringify(pose({ people: 2, frames: 90 }))), path: "pose.json", mediaType: "application/json" },
    overlay: { body: readFileSync(new URL("../fixtures/walk.mp4", import.meta.url)), path: "overlay.mp4", mediaType: "video/mp4" },
    smpl: { body: Buffer.alloc(2048), path: "smpl.npz", mediaType: "application/octet-stream" },
  });
});
afterEach(() => gateway.stop());

const LOOKS: [string, Look][] = [
  ["light", {}],
  ["dark", { dark: true }],
  ["phone", { width: 360, height: 740 }],
  ["phone-dark-calm", { width: 360, height: 740, dark: true, calm: true }],
];

describe.each(LOOKS)("in the look %s", (look, options) => {
  test.each([
    ["home", "/#/", "evening-run.mp4"],
    ["running", "/#/jobs/job-running", "Progress"],
    ["failed", "/#/jobs/job-failed", "out of memory"],
    ["result", "/#/jobs/job-done", "squares of 1 m"],
    ["missing", "/#/jobs/nothing-here", "There is no such job"],
  ])("the view %s", async (name, path, text) => {
    const { context, page, faults } = await open(browser, gateway.url, options);
    await page.goto(path);
    await page.getByText(text).first().waitFor();
    if (name === "result") await page.locator(".space canvas").waitFor();
    await page.waitForTimeout(300);
    await shot(page, `${name}-${look}`);
    await fits(page);
    await accessible(page);
    expect(faults).toEqual([]);
    await context.close();
  });

  test("the view signin", async () => {
    gateway.mode = "OIDC";
    gateway.signedIn = false;
    const { context, page, faults } = await open(browser, gateway.url, options);
    await page.goto("/");
    await page.getByRole("link", { name: "Sign in" }).waitFor();
    await shot(page, `signin-${look}`);
    await fits(page);
    await accessible(page);
    expect(faults).toEqual([]);
    await context.close();
  });
});
