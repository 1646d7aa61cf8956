import { readFileSync } from "node:fs";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { pose } from "../fixtures/walk";
import { accessible, close, fits, launch, open, shot, type Look, type Watched } from "./browser";
import { FakeGateway } from "./server";
import { succeeded } from "./states";

/* The page of a result: video and skeletons under one clock, people, joints, files, and what is broken. */

let browser: Browser, gateway: FakeGateway;
const opened: Watched[] = [];
const OVERLAY = readFileSync(new URL("../fixtures/walk.mp4", import.meta.url));

beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());
beforeEach(async () => {
  gateway = new FakeGateway(new URL("../../dist", import.meta.url).pathname);
  await gateway.start();
});
afterEach(async () => {
  await close(opened);
  await gateway.stop();
});

async function visit(body: string | Buffer, overlay: Buffer | undefined, look: Look = {}, before?: (page: Page) => Promise<void>): Promise<Page> {
  gateway.put(succeeded("a"));
  gateway.files.set("a", {
    pose: { body: Buffer.from(body), path: "pose.json", mediaType: "application/json" },
    ...(overlay === undefined ? {} : { overlay: { body: overlay, path: "overlay.mp4", mediaType: "video/mp4" } }),
  });
  const watched = await open(browser, gateway.url, look);
  opened.push(watched);
  await before?.(watched.page);
  await watched.page.goto("/#/jobs/a");
  return watched.page;
}

const walk = (options: Partial<Parameters<typeof pose>[0]> = {}): string => JSON.stringify(pose({ people: 2, frames: 90, ...options }));
const frame = (page: Page): Promise<number> => page.getByLabel("Frame", { exact: true }).evaluate((slider) => Number((slider as HTMLInputElement).value));
const videoTime = (page: Page): Promise<number> => page.locator("video").evaluate((video) => (video as HTMLVideoElement).currentTime);

/** A number that changes when the picture of an element does. */
async function picture(page: Page, selector: string): Promise<string> {
  const { createHash } = await import("node:crypto");
  return createHash("sha256").update(await page.locator(selector).screenshot()).digest("hex");
}

async function ready(page: Page): Promise<void> {
  await page.locator(".space canvas").waitFor();
  await expect.poll(() => page.locator("video").evaluate((video) => (video as HTMLVideoElement).readyState)).toBeGreaterThan(1);
}

describe("one clock", () => {
  test("scrubbing moves the video, the video moves the skeletons, both stay together", async () => {
    const page = await visit(walk(), OVERLAY);
    await ready(page);
    const before = await picture(page, ".space");
    await page.getByLabel("Frame", { exact: true }).fill("45");
    await expect.poll(() => videoTime(page)).toBeCloseTo(45.5 / 30, 2);
    await expect.poll(() => picture(page, ".space")).not.toBe(before);
    await page.getByText("0:01.50 · 46/90").waitFor();

    await page.getByLabel("Speed").selectOption("0.5");
    await page.getByRole("button", { name: "Play" }).click();
    await page.getByRole("button", { name: "Pause" }).waitFor();
    expect(await page.locator("video").evaluate((video) => (video as HTMLVideoElement).playbackRate)).toBe(0.5);
    await expect.poll(() => frame(page)).toBeGreaterThan(50);
    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByRole("button", { name: "Play" }).waitFor();
    await page.waitForTimeout(200);
    expect(Math.abs((await videoTime(page)) * 30 - (await frame(page)))).toBeLessThan(1.6);
    // to the end, where it stops, and from there anew
    await page.getByLabel("Speed").selectOption("2");
    await page.getByRole("button", { name: "Play" }).click();
    await expect.poll(() => frame(page), { timeout: 15_000 }).toBe(89);
    await page.getByRole("button", { name: "Play" }).waitFor();
    await page.getByRole("button", { name: "Play" }).click();
    await expect.poll(() => frame(page)).toBeLessThan(80);
  });

  test("many moves in a row end at the last", async () => {
    const page = await visit(walk(), OVERLAY);
    await ready(page);
    await page.getByLabel("Frame", { exact: true }).evaluate((slider) => {
      for (const value of [5, 60, 12, 80, 33]) {
        (slider as HTMLInputElement).value = String(value);
        slider.dispatchEvent(new Event("input"));
      }
    });
    await expect.poll(() => videoTime(page)).toBeCloseTo(33.5 / 30, 2);
    expect(await frame(page)).toBe(33);
  });

  test("without a video a clock of its own runs", async () => {
    const page = await visit(walk(), undefined);
    await page.locator(".space canvas").waitFor();
    await page.getByText("Picture plane").waitFor();
    await page.getByRole("button", { name: "Play" }).click();
    await expect.poll(() => frame(page)).toBeGreaterThan(10);
    await page.getByRole("button", { name: "Pause" }).click();
    await shot(page, "no-video");
    await accessible(page);
  });

  test("a link to the video that has expired is replaced, and the video goes on at its frame", async () => {
    const page = await visit(walk(), OVERLAY);
    await ready(page);
    await page.getByLabel("Frame", { exact: true }).fill("45");
    await expect.poll(() => videoTime(page)).toBeCloseTo(45.5 / 30, 2);
    gateway.expireLinks();
    // A browser keeps a short video whole: only another address makes it ask again.
    await page.locator("video").evaluate((video) => ((video as HTMLVideoElement).src += "?again"));
    await expect.poll(() => page.locator("video").evaluate((video) => (video as HTMLVideoElement).src)).toContain("link2-");
    await expect.poll(() => videoTime(page)).toBeCloseTo(45.5 / 30, 2);
    expect(await page.locator("video").isVisible()).toBe(true);
  });

  test("a video that the browser cannot play is no reason to show nothing", async () => {
    const page = await visit(walk(), Buffer.from("this is no video"));
    await page.locator(".space canvas").waitFor();
    await expect.poll(() => page.locator("video").isVisible()).toBe(false);
    await page.getByRole("button", { name: "Play" }).click();
    await expect.poll(() => frame(page)).toBeGreaterThan(5);
    expect(await page.getByLabel("Draw keypoints").isChecked()).toBe(true);
  });
});

describe("people and joints", () => {
  test("one is chosen, followed through the video, and joints have names", async () => {
    const page = await visit(walk(), OVERLAY);
    await ready(page);
    const all = await picture(page, ".space");
    await page.getByRole("button", { name: "Person 4" }).click();
    await page.getByText("Seen here").waitFor();
    await expect.poll(() => picture(page, ".space")).not.toBe(all);
    await page.getByLabel("Frame", { exact: true }).fill("40");
    await page.getByText("Estimated here").waitFor();
    await page.getByText("Joints", { exact: true }).click();
    await page.getByRole("button", { name: "left wrist" }).focus();
    await expect.poll(() => page.locator("tr.on").innerText()).toMatch(/left wrist\s+-?\d\.\d\d\s+-?\d\.\d\d\s+-?\d\.\d\d\s+0%/);
    await shot(page, "person");
    await accessible(page);
  });

  test("the joint under the pointer says its name, over the video and in 3D", async () => {
    const page = await visit(walk(), OVERLAY);
    await ready(page);
    const top = pose({ people: 2, frames: 90 }) as { frames: { people: { joints2d: number[][] }[] }[] };
    const [x, y] = top.frames[0]!.people[0]!.joints2d[0]! as [number, number];
    const box = (await page.locator(".flat").boundingBox())!;
    await page.mouse.move(box.x + (x / 640) * box.width, box.y + (y / 360) * box.height);
    await page.getByText("nose · person 1").waitFor();
    await page.mouse.click(box.x + (x / 640) * box.width, box.y + (y / 360) * box.height);
    expect(await page.getByRole("button", { name: "Person 1", exact: true }).getAttribute("aria-pressed")).toBe("true");
    // In 3D: seen from the video's own camera, a joint is where the video has it.
    await page.getByRole("button", { name: "Camera" }).click();
    const space = (await page.locator(".space").boundingBox())!;
    const names: string[] = [];
    for (const [dx, dy] of [[0, 0], [3, 0], [-3, 0], [0, 3], [0, -3]] as const) {
      await page.mouse.move(space.x + (x / 640) * space.width + dx, space.y + (y / 360) * space.height + dy);
      if (await page.locator(".tip").isVisible()) names.push(await page.locator(".tip").innerText());
    }
    expect(names).toContain("nose · person 1");
    await shot(page, "camera");
  });

  test("the 3D view turns, zooms and takes presets by keys; play and step have keys", async () => {
    const page = await visit(walk(), OVERLAY);
    await ready(page);
    await page.locator(".space").focus();
    let before = await picture(page, ".space canvas");
    for (const key of ["ArrowLeft", "ArrowUp", "+", "f", "s", "t", "c"]) {
      await page.keyboard.press(key);
      await expect.poll(() => picture(page, ".space canvas"), { message: key }).not.toBe(before);
      before = await picture(page, ".space canvas");
    }
    await page.keyboard.press(".");
    await page.keyboard.press(".");
    await page.keyboard.press(",");
    expect(await frame(page)).toBe(1);
    await page.keyboard.press(" ");
    await page.getByRole("button", { name: "Pause" }).waitFor();
    await page.keyboard.press("k");
    await page.getByRole("button", { name: "Play" }).waitFor();
  });

  test("side by side and in the room", async () => {
    const page = await visit(walk(), OVERLAY);
    await ready(page);
    const before = await picture(page, ".space");
    await page.getByLabel("Where people stand").selectOption("SideBySide");
    await expect.poll(() => picture(page, ".space")).not.toBe(before);
    await shot(page, "side-by-side");
  });

  test("dark and light change under the 3D view, too", async () => {
    const page = await visit(walk(), OVERLAY);
    await ready(page);
    const before = await picture(page, ".space");
    await page.emulateMedia({ colorScheme: "dark" });
    await expect.poll(() => picture(page, ".space")).not.toBe(before);
  });
});

describe("results of another kind", () => {
  test("without 3D, keypoints are drawn over the video, and no three dimensions are promised", async () => {
    const page = await visit(walk({ with3D: false }), OVERLAY, { width: 360, height: 740 });
    await page.locator(".flat").waitFor();
    expect(await page.locator(".space").count()).toBe(0);
    expect(await page.getByLabel("Draw keypoints").isChecked()).toBe(true);
    const before = await picture(page, ".picture");
    await page.getByLabel("Frame", { exact: true }).fill("45");
    await expect.poll(() => picture(page, ".picture")).not.toBe(before);
    await shot(page, "flat-phone");
    await fits(page);
    await accessible(page);
  });

  test("nobody in the video", async () => {
    const top = pose({ people: 0, frames: 90 });
    const page = await visit(JSON.stringify(top), OVERLAY);
    await page.getByText("Nobody was seen in this video.").waitFor();
    await ready(page);
    await accessible(page);
  });

  test("without WebGL the skeletons are drawn over the video", async () => {
    const page = await visit(walk(), OVERLAY, {}, async (page) => {
      await page.addInitScript(() => {
        const get = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (this: HTMLCanvasElement, kind: string, ...rest: unknown[]) {
          return kind.startsWith("webgl") ? null : (get as (...all: unknown[]) => unknown).call(this, kind, ...rest);
        } as typeof HTMLCanvasElement.prototype.getContext;
      });
    });
    await page.getByText("The browser offers no WebGL").waitFor();
    expect(await page.getByLabel("Draw keypoints").isChecked()).toBe(true);
    await shot(page, "no-webgl");
    // three.js itself reports the failure
    opened[0]!.faults.splice(0);
  });

  test("names of joints are text, whatever they say", async () => {
    const top = pose({ people: 1, frames: 90 }) as { skeleton: { joints: string[] } };
    top.skeleton.joints[0] = '<img src="/x" onerror="document.title=\'owned\'">';
    const page = await visit(JSON.stringify(top), OVERLAY);
    await ready(page);
    await page.getByText("Joints", { exact: true }).click();
    await page.getByRole("button", { name: "<img" }).waitFor();
    expect(await page.title()).toBe("evening-run.mp4 · Pose");
    expect(await page.locator("main img").count()).toBe(0);
  });

  test.each([
    ["cut off", walk().slice(0, 50_000), "ends early"],
    ["something else", '{"kind":"List"}', "no list of frames"],
    ["no text", Buffer.from([0xff, 0xfe, 0x00, 0x80]), "no UTF-8 text"],
  ])("a pose.json that is %s says what is wrong and can still be downloaded", async (_, body, words) => {
    const page = await visit(body, OVERLAY);
    await page.getByText(words).waitFor();
    await page.getByRole("link", { name: "pose.json" }).waitFor();
    await accessible(page);
  });

  test("a long result is read in its own thread, with its progress, while the page answers", async () => {
    const text = walk({ people: 6, frames: 6000 });
    const page = await visit(text, undefined);
    await page.locator(".space canvas").waitFor({ timeout: 60_000 });
    await page.getByLabel("Frame", { exact: true }).fill("5999");
    await page.getByText("6000/6000").waitFor();
    expect(text.length).toBeGreaterThan(20_000_000);
  }, 120_000);
});

test("files are downloaded under their names", async () => {
  const page = await visit(walk(), OVERLAY);
  await ready(page);
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "overlay.mp4" }).click()]);
  expect(download.suggestedFilename()).toBe("overlay.mp4");
  expect(readFileSync(await download.path()).equals(OVERLAY)).toBe(true);
});

describe("for other programs", () => {
  const group = (page: Page) => page.getByRole("region", { name: "For other programs" });

  test("each format is one button that says what it is for, and gives a zip under its name", async () => {
    const page = await visit(walk(), OVERLAY);
    await ready(page);
    const buttons = group(page).getByRole("link");
    expect(await buttons.allInnerTexts()).toEqual(["COCO keypoints", "OpenPose", "BVH", "TRC", "C3D", "Joint angles (CSV)"]);
    await group(page).getByText("For animation: Blender, MotionBuilder, Maya, Unity").waitFor();
    expect(await group(page).getByRole("button").count()).toBe(0);
    // By keys alone.
    await group(page).getByRole("link", { name: "TRC" }).focus();
    await page.keyboard.press("Tab");
    expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("C3D");
    const [download] = await Promise.all([page.waitForEvent("download"), page.keyboard.press("Enter")]);
    expect(download.suggestedFilename()).toBe("a-c3d.zip");
    expect(readFileSync(await download.path(), "utf8")).toBe("zip of a-c3d.zip");
    await accessible(page);
  });

  test("what needs 3D is there without it, can be reached, does nothing, and says why", async () => {
    const page = await visit(walk({ with3D: false }), OVERLAY, { width: 360, height: 740 });
    await page.locator(".flat").waitFor();
    expect(await group(page).getByRole("link").allInnerTexts()).toEqual(["COCO keypoints", "OpenPose"]);
    const bvh = group(page).getByRole("button", { name: "BVH" });
    expect(await bvh.getAttribute("aria-disabled")).toBe("true");
    await group(page).getByRole("link", { name: "OpenPose" }).focus();
    await page.keyboard.press("Tab");
    expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("BVH");
    const described = await bvh.evaluate((e) => (e.getAttribute("aria-describedby") ?? "").split(" ").map((id) => document.getElementById(id)?.textContent).join(" "));
    expect(described).toMatch(/For animation.*needs joints in 3D/);
    expect(await group(page).getByText("needs joints in 3D").count()).toBe(4);
    gateway.requests.splice(0);
    await bvh.click({ force: true });
    expect(gateway.requests).toEqual([]);
    await shot(page, "exports-flat-phone");
    await fits(page);
    await accessible(page);
  });

  test("new links take the place of those that end, and the focus stays", async () => {
    gateway.linksFor = 1000;
    const page = await visit(walk(), OVERLAY);
    await ready(page);
    const bvh = group(page).getByRole("link", { name: "BVH" });
    await bvh.focus();
    const old = await bvh.getAttribute("href");
    gateway.expireLinks();
    await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await expect.poll(() => bvh.getAttribute("href")).not.toBe(old);
    expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("BVH");
    const [download] = await Promise.all([page.waitForEvent("download"), page.keyboard.press("Enter")]);
    expect(download.suggestedFilename()).toBe("a-bvh.zip");
  });

  test("a gateway that knows no exports shows none", async () => {
    const page = await visit(walk(), OVERLAY, {}, async (page) => {
      await page.route("**/results", async (route) => {
        const response = await route.fetch();
        const { exports: _, exportsMissing: __, ...rest } = (await response.json()) as Record<string, unknown>;
        await route.fulfill({ response, json: rest });
      });
    });
    await ready(page);
    expect(await page.getByText("For other programs").count()).toBe(0);
  });
});

test("three.js is loaded with a result, and not before", async () => {
  const page = await visit(walk(), OVERLAY);
  await ready(page);
  expect(gateway.requests.some((request) => request.includes("/assets/result-"))).toBe(true);
  gateway.requests.splice(0);
  const watched = await open(browser, gateway.url);
  opened.push(watched);
  await watched.page.goto("/");
  await watched.page.getByText("evening-run.mp4").waitFor();
  expect(gateway.requests.some((request) => request.includes("/assets/result-"))).toBe(false);
});
