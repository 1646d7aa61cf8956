import { defineConfig } from "vitest/config";

/** Browser tests run one after the other, and software WebGL on a busy machine takes its time. */
const browser = {
  environment: "node" as const,
  fileParallelism: false,
  testTimeout: 90_000,
  hookTimeout: 120_000,
  expect: { poll: { timeout: 15_000 } },
};

export default defineConfig({
  // Everything is served from the root of the gateway, and nothing is inlined: the
  // content security policy allows no inline script, style or data: script.
  base: "/",
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 700, // three.js
    reportCompressedSize: true,
    license: { fileName: "LICENSES.md" },
  },
  worker: { format: "es" },
  test: {
    projects: [
      { test: { name: "unit", include: ["tests/unit/**/*.test.ts"], environment: "node" } },
      { test: { ...browser, name: "e2e", include: ["tests/e2e/**/*.test.ts"] } },
      { test: { ...browser, name: "gateway", include: ["tests/gateway/**/*.test.ts"] } },
      { test: { ...browser, name: "cluster", include: ["tests/cluster/**/*.test.ts"] } },
    ],
  },
});
