/* Headless Chromium, and what all browser tests check of a page. */

import { existsSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium, type Browser, type BrowserContext, type Page } from "playwright-core";
import { expect } from "vitest";

const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/usr/bin/google-chrome-stable"];

/** Pictures of the views are left here where SCREENSHOTS names a folder. */
const SCREENSHOTS = process.env.SCREENSHOTS;

export async function launch(): Promise<Browser> {
  const path = process.env.CHROMIUM || PLACES.find((place) => existsSync(place));
  if (path === undefined) throw new Error("No Chromium found: install it (Debian: apt-get install chromium), or name its path in CHROMIUM=...");
  // WebGL by software, as a machine that runs tests has no GPU.
  return chromium.launch({ executablePath: path, args: ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage"] });
}

export interface Watched {
  context: BrowserContext;
  page: Page;
  /** What went wrong that no page should do: errors, breaches of the policy, requests to other hosts. */
  faults: string[];
}

export interface Look {
  width?: number;
  height?: number;
  dark?: boolean;
  calm?: boolean;
}

export async function open(browser: Browser, base: string, look: Look = {}): Promise<Watched> {
  const context = await browser.newContext({
    viewport: { width: look.width ?? 1180, height: look.height ?? 900 },
    colorScheme: look.dark === true ? "dark" : "light",
    reducedMotion: look.calm === true ? "reduce" : "no-preference",
    baseURL: base,
    acceptDownloads: true,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const faults: string[] = [];
  page.on("pageerror", (error) => faults.push(`error: ${error.message}`));
  page.on("console", (message) => {
    // Answers like 401 are logged by the browser itself, and are part of some tests.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) faults.push(`console: ${message.text()}`);
    if (/Content Security Policy/.test(message.text())) faults.push(`policy: ${message.text()}`);
  });
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(base) && !url.startsWith("blob:") && !url.startsWith("data:")) faults.push(`foreign request: ${url}`);
  });
  return { context, page, faults };
}

/** Closes what was opened. None of it may have done what no page should do. */
export async function close(opened: Watched[]): Promise<void> {
  for (const { context, faults } of opened.splice(0)) {
    await context.close();
    expect(faults).toEqual([]);
  }
}

export async function shot(page: Page, name: string, fullPage = true): Promise<void> {
  if (SCREENSHOTS === undefined) return;
  mkdirSync(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`), fullPage });
}

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

/** No violation of WCAG 2.2 A and AA or of best practice that axe finds. */
export async function accessible(page: Page): Promise<void> {
  // By evaluate: a script element would be refused by the page's policy.
  await page.evaluate(await (await import("node:fs/promises")).readFile(AXE, "utf8"));
  const found = await page.evaluate(async () => {
    const axe = (window as unknown as { axe: { run(options: unknown): Promise<{ violations: { id: string; help: string; nodes: { html: string; failureSummary?: string }[] }[] }> } }).axe;
    const result = await axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] });
    return result.violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((node) => `${node.html.slice(0, 160)} (${(node.failureSummary ?? "").slice(0, 300)})`).join(" | ")}`);
  });
  expect(found).toEqual([]);
}

/** Nothing is wider than the window. */
export async function fits(page: Page): Promise<void> {
  const wide = await page.evaluate(() => {
    const limit = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= limit) return [];
    return [...document.querySelectorAll("main *, header *")].filter((e) => e.getBoundingClientRect().right > limit + 1).map((e) => `${e.tagName}.${e.className}`).slice(0, 5);
  });
  expect(wide).toEqual([]);
}
