import { readFileSync } from "node:fs";
import type { Browser, Locator, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { pose } from "../fixtures/walk";
import { accessible, close, launch, open, shot, type Look, type Watched } from "./browser";
import { FakeGateway, job, links } from "./server";
import { failed, running, succeeded } from "./states";

/* What people do with the page, from the upload to the result. */

let browser: Browser, gateway: FakeGateway;
const opened: Watched[] = [];

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

async function visit(path: string, look: Look = {}): Promise<Page> {
  const watched = await open(browser, gateway.url, look);
  opened.push(watched);
  await watched.page.goto(path);
  return watched.page;
}

const video = (name: string, size: number): { name: string; mimeType: string; buffer: Buffer } => ({ name, mimeType: "video/mp4", buffer: Buffer.alloc(size, 7) });

const sent = (page: Page): Locator => page.locator(".uploads").getByText("Sent. The job has been made.");

function addResult(id: string, options: Parameters<typeof pose>[0], overlay = true): void {
  gateway.files.set(id, {
    pose: { body: Buffer.from(JSON.stringify(pose(options))), path: "pose.json", mediaType: "application/json" },
    ...(overlay ? { overlay: { body: readFileSync(new URL("../fixtures/walk.mp4", import.meta.url)), path: "overlay.mp4", mediaType: "video/mp4" } } : {}),
  });
}

describe("uploads", () => {
  test("a video is sent with its options, becomes a job, and the job is followed to its result", async () => {
    const page = await visit("/");
    await page.getByText("No jobs yet").waitFor();
    await page.getByLabel("Engine").selectOption("phalp");
    await page.getByLabel("Run on").selectOption("GPU");
    await page.getByLabel("Overlay video").selectOption("Full");
    await page.setInputFiles("#files", video("evening run.mp4", 200_000));
    await sent(page).waitFor();
    const upload = [...gateway.uploads.values()][0]!;
    expect(upload.metadata).toMatchObject({ filename: "evening run.mp4", filetype: "video/mp4", engine: "phalp", device: "GPU", overlay: "Full" });
    expect(Buffer.concat(upload.data).equals(Buffer.alloc(200_000, 7))).toBe(true);
    expect(gateway.requests.filter((request) => request.startsWith("PATCH")).length).toBe(4); // in the pieces that the server likes

    await page.getByRole("link", { name: "Open job" }).click();
    await page.getByRole("heading", { name: "evening run.mp4" }).waitFor();
    gateway.put({ ...running("video-1", 42), name: "evening run.mp4" });
    await page.getByText("frame 42 of 120").waitFor();
    expect(await page.locator('[aria-current="step"]').innerText()).toContain("Tracking");
    gateway.put({ ...running("video-1", 84), name: "evening run.mp4" });
    await page.getByText("frame 84 of 120").waitFor();
    addResult("video-1", { people: 2, frames: 90 });
    gateway.put(succeeded("video-1"));
    await page.getByRole("heading", { name: "Result" }).waitFor();
    await page.locator(".space canvas").waitFor();
    await page.getByText("The job ran on the CPU instead of a GPU").waitFor();
  });

  test("what is wrong is said before a byte is sent", async () => {
    gateway.maxBytes = 100_000;
    const page = await visit("/");
    await page.getByText("up to 100 kB each").waitFor();
    await page.setInputFiles("#files", [video("large.mp4", 200_000), { name: "cat.png", mimeType: "image/png", buffer: Buffer.alloc(9) }, video("empty.mp4", 0), video("fine.mp4", 5)]);
    await page.locator(".uploads").getByText("It has 200 kB, and this server takes 100 kB").waitFor();
    await page.locator(".uploads").getByText("It is a .png file").waitFor();
    await page.locator(".uploads").getByText("The file is empty").waitFor();
    await sent(page).waitFor();
    await shot(page, "upload-refused");
    await accessible(page);
    expect(gateway.uploads.size).toBe(1);
    await page.getByRole("button", { name: "Dismiss: cat.png" }).click();
    await expect.poll(() => page.locator(".uploads").getByText("It is a .png file").count()).toBe(0);
  });

  test("one is paused, goes on where it was, and one waits for the other", async () => {
    gateway.patchDelay = 150;
    const page = await visit("/");
    await page.getByLabel("Engine").waitFor();
    await page.setInputFiles("#files", [video("first.mp4", 640_000), video("second.mp4", 64_000)]);
    await page.locator(".uploads").getByText("Waits for the upload before it").waitFor();
    await expect.poll(() => gateway.uploads.get("u1")?.offset ?? 0).toBeGreaterThan(64_000);
    await page.getByRole("button", { name: "Pause: first.mp4" }).click();
    await page.locator(".uploads").getByText(/Paused at \d+% of 640 kB/).waitFor();
    await shot(page, "upload-paused");
    await sent(page).waitFor(); // the second did not wait for a paused one
    const half = gateway.uploads.get("u1")!.offset;
    expect(half).toBeLessThan(640_000);
    await page.getByRole("button", { name: "Go on: first.mp4" }).click();
    await expect.poll(() => sent(page).count()).toBe(2);
    expect(gateway.uploads.get("u1")!.offset).toBe(640_000);
    expect(gateway.uploads.size).toBe(2);
  });

  test("one that a closed page left half done goes on in the next", async () => {
    gateway.patchDelay = 200;
    const page = await visit("/");
    await page.getByLabel("Engine").waitFor();
    await page.getByText("33 landmarks").waitFor();
    const file = new URL("../fixtures/walk.mp4", import.meta.url).pathname; // a file on the disk, with a date that stays
    gateway.chunkBytes = 10_000;
    await page.reload();
    await page.getByText("33 landmarks").waitFor();
    await page.setInputFiles("#files", file);
    await expect.poll(() => gateway.uploads.get("u1")?.offset ?? 0).toBeGreaterThan(10_000);
    page.once("dialog", (dialog) => void dialog.accept());
    await page.reload();
    await page.getByText("33 landmarks").waitFor();
    await page.setInputFiles("#files", file);
    await sent(page).waitFor();
    expect(gateway.uploads.size).toBe(1);
    expect(gateway.requests.filter((request) => request.startsWith("HEAD")).length).toBeGreaterThan(0);
    expect(Buffer.concat(gateway.uploads.get("u1")!.data).equals(readFileSync(file))).toBe(true);
  });

  test("a server that fails for a moment costs nothing; one that is cancelled is removed there", async () => {
    gateway.failPatches = 1;
    const page = await visit("/");
    await page.getByText("33 landmarks").waitFor();
    await page.setInputFiles("#files", video("a.mp4", 1000));
    await sent(page).waitFor();
    gateway.patchDelay = 500;
    await page.setInputFiles("#files", video("b.mp4", 640_000));
    await expect.poll(() => gateway.uploads.size).toBe(2);
    await page.getByRole("button", { name: "Cancel: b.mp4" }).click();
    await expect.poll(() => gateway.uploads.size).toBe(1);
    expect(await page.locator(".uploads").getByText("b.mp4").count()).toBe(0);
  });

  test("uploads go on while one looks at a job, and the header tells how far", async () => {
    gateway.put(failed("b"));
    gateway.patchDelay = 150;
    const page = await visit("/");
    await page.getByText("33 landmarks").waitFor();
    await page.setInputFiles("#files", video("first.mp4", 640_000));
    await expect.poll(() => gateway.uploads.get("u1")?.offset ?? 0).toBeGreaterThan(0);
    await page.locator(".jobs a").click();
    await page.getByText(/^Uploading \d+%$/).click();
    await page.locator(".uploads").getByText("first.mp4").waitFor();
    await sent(page).waitFor();
    expect(gateway.uploads.size).toBe(1);
  });

  test("a file that the server refuses is not offered to be sent again", async () => {
    const page = await visit("/");
    await page.getByText("33 landmarks").waitFor();
    await page.route("**/api/pose/uploads/*", (route) => route.fulfill({ status: 415, contentType: "application/problem+json", body: '{"title":"No video","detail":"the file does not begin as a video does","status":415}' }));
    await page.setInputFiles("#files", video("fake.mp4", 1000));
    await page.locator(".uploads").getByText("Not sent. The file does not begin as a video does").waitFor();
    expect(await page.getByRole("button", { name: "Try again" }).count()).toBe(0);
  });

  test("dropping works as choosing does", async () => {
    const page = await visit("/");
    await page.getByText("33 landmarks").waitFor();
    const data = await page.evaluateHandle(() => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(5000)], "dropped.mp4", { type: "video/mp4" }));
      return transfer;
    });
    await page.dispatchEvent(".drop", "dragenter", { dataTransfer: data });
    expect(await page.locator(".drop.over").count()).toBe(1);
    await page.dispatchEvent(".drop", "drop", { dataTransfer: data });
    await sent(page).waitFor();
    expect(await page.locator(".drop.over").count()).toBe(0);
  });
});

describe("jobs", () => {
  test("the list follows the cluster, over a broken connection and what happened meanwhile", async () => {
    gateway.put(running("a", 12));
    gateway.put(failed("b"));
    const page = await visit("/");
    await page.getByText("Tracking · 10%").waitFor();
    expect(await page.title()).toBe("Jobs · Pose"); // and not what a file's name says
    gateway.put(running("a", 60));
    await page.getByText("Tracking · 50%").waitFor();
    await expect.poll(() => gateway.listeners).toBe(1);
    gateway.breakStreams();
    gateway.jobs.delete("b"); // while nobody listens
    gateway.put(running("a", 90));
    await page.getByText("Tracking · 75%").waitFor();
    await expect.poll(() => page.locator(".jobs li").count()).toBe(1);
    gateway.remove("a");
    await page.getByText("No jobs yet").waitFor();
  });

  test("why it fell back: reason, message, device, and the log's last lines as text", async () => {
    gateway.put(running("a", 42));
    const page = await visit("/#/jobs/a");
    const attempts = page.locator(".attempts");
    await attempts.getByText("Detector load crash").waitFor();
    await attempts.getByText("The engine died by SIGSEGV").waitFor();
    await attempts.getByText("Then: went on with the next variant").waitFor();
    await attempts.getByText("Details of attempt 1").click();
    await attempts.getByText("<script>alert(1)</script>").waitFor();
    await attempts.getByText("NVIDIA A10", { exact: true }).waitFor();
    gateway.put(running("a", 43)); // what is open stays open
    await page.getByText("frame 43 of 120").waitFor();
    expect(await attempts.getByText("<script>alert(1)</script>").isVisible()).toBe(true);
    await shot(page, "attempts-open");
    await accessible(page);
  });

  test("cancel, retry and delete ask first where something is lost", async () => {
    gateway.put(running("a", 42));
    const page = await visit("/#/jobs/a");
    await page.getByRole("button", { name: "Cancel job" }).click();
    await page.getByRole("button", { name: "Keep" }).click();
    expect(gateway.requests.some((request) => request.endsWith("/cancel"))).toBe(false);
    await page.getByRole("button", { name: "Cancel job" }).click();
    await shot(page, "confirm", false);
    await page.getByRole("dialog").getByRole("button", { name: "Cancel job" }).click();
    await page.getByText("Being cancelled").waitFor();
    gateway.put(failed("b"));
    await page.goto("/#/jobs/b");
    await page.getByRole("button", { name: "Try again" }).click();
    await expect.poll(() => page.url()).toContain("#/jobs/b-again");
    await page.getByRole("button", { name: "Delete" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await expect.poll(() => page.url()).toMatch(/#\/$/);
    expect(gateway.jobs.has("b-again")).toBe(false);
  });

  test("a job that somebody else deletes says so", async () => {
    gateway.put(running("a", 42));
    const page = await visit("/#/jobs/a");
    await page.getByText("frame 42").waitFor();
    gateway.remove("a");
    await page.getByText("This job has been deleted").waitFor();
  });

  test("who may not, gets no buttons", async () => {
    gateway.put(job("a", { links: links("a", []) }));
    const page = await visit("/#/jobs/a");
    await page.getByRole("heading", { name: "a.mp4" }).waitFor();
    expect(await page.locator("main button").count()).toBe(0);
  });
});

describe("signing in", () => {
  test("a token typed here is sent with everything, and stored nowhere", async () => {
    gateway.mode = "Token";
    gateway.put(running("a", 42));
    const page = await visit("/#/jobs/a");
    await page.getByLabel("Access token").fill("wrong");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("Sign in first.").waitFor();
    await page.getByLabel("Access token").fill("good-token");
    await page.keyboard.press("Enter");
    await page.getByText("frame 42").waitFor(); // where one wanted to go
    gateway.put(running("a", 60));
    await page.getByText("frame 60").waitFor();
    expect(await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]))).not.toContain("good-token");
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByLabel("Access token").waitFor();
  });

  test("with a provider one is sent there, comes back to the same place, and can leave", async () => {
    gateway.mode = "OIDC";
    gateway.signedIn = false;
    gateway.put(running("a", 42));
    const page = await visit("/#/jobs/a");
    expect(await page.getByRole("link", { name: "Sign in with your organisation" }).getAttribute("href")).toBe("/api/pose/login?return=%2F%23%2Fjobs%2Fa");
    gateway.signedIn = true;
    await page.reload();
    await page.getByText("frame 42").waitFor();
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("link", { name: "Sign in with your organisation" }).waitFor();
    expect(gateway.signedIn).toBe(false);
  });

  test("another namespace is asked for and kept for the tab", async () => {
    gateway.namespaceChoice = true;
    const page = await visit("/");
    await page.getByRole("button", { name: "Namespace" }).click();
    await page.getByLabel("Name", { exact: true }).fill("sand");
    await accessible(page);
    await page.getByRole("button", { name: "Show" }).click();
    await page.getByText("in sand").waitFor();
    await page.reload();
    await page.getByText("in sand").waitFor();
  });

  test("a session that ends is noticed", async () => {
    gateway.mode = "OIDC";
    gateway.put(running("a", 42));
    const page = await visit("/#/jobs/a");
    await page.getByText("frame 42").waitFor();
    await expect.poll(() => gateway.listeners).toBe(1);
    gateway.signedIn = false;
    gateway.breakStreams();
    await page.getByRole("link", { name: "Sign in with your organisation" }).waitFor();
  });
});

describe("by keyboard alone", () => {
  test("a job is found, cancelled and left", async () => {
    gateway.put(running("a", 42));
    const page = await visit("/");
    await page.getByText("33 landmarks").waitFor();
    await page.getByText("evening-run.mp4").waitFor();
    const focus = (): Promise<string> => page.evaluate(() => `${document.activeElement?.tagName} ${document.activeElement?.id || document.activeElement?.textContent?.slice(0, 20)}`);
    const seen: string[] = [];
    for (let k = 0; k < 7; k++) {
      await page.keyboard.press("Tab");
      seen.push(await focus());
    }
    expect(seen).toEqual(["A Skip to content", expect.stringContaining("A Pose"), "INPUT files", "SELECT engine", "SELECT device", "SELECT overlay", expect.stringContaining("A evening-run.mp4")]);
    await shot(page, "keyboard", false);
    await page.keyboard.press("Enter");
    await page.getByText("frame 42").waitFor();
    expect(await focus()).toContain("main"); // reading begins at the new view
    for (let k = 0; k < 2; k++) await page.keyboard.press("Tab");
    expect(await focus()).toBe("BUTTON Cancel job");
    await page.keyboard.press("Enter");
    expect(await focus()).toBe("BUTTON Keep");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.getByText("Being cancelled").waitFor();
  });
});
