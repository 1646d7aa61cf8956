import { expect, test } from "vitest";
import { age, between, bytes, duration, moment, pace, percent, rate, relative, timecode, UNKNOWN } from "../../src/format";
import { clean, jointName, plural, words } from "../../src/text";

test.each([
  [0, "0 B"], [999, "999 B"], [1000, "1.0 kB"], [1500, "1.5 kB"], [99_949, "99.9 kB"], [99_950, "100 kB"], [999_949, "1000 kB"], [999_950, "1.0 MB"], [5e9, "5.0 GB"],
  [NaN, UNKNOWN], [-1, UNKNOWN], [Infinity, UNKNOWN], [undefined, UNKNOWN],
])("bytes %s are %s", (value, text) => expect(bytes(value)).toBe(text));

test.each([
  [0, "0 s"], [0.42, "0.4 s"], [9.96, "10 s"], [59.6, "1 min 00 s"], [59, "59 s"], [65, "1 min 05 s"], [3599, "59 min 59 s"], [3600, "1 h 00 min"], [3 * 86400 + 4 * 3600, "3 d 4 h"],
  [undefined, UNKNOWN], [NaN, UNKNOWN], [-3, UNKNOWN],
])("duration of %s is %s", (value, text) => expect(duration(value)).toBe(text));

test.each([[0, "0:00.00"], [3.254, "0:03.25"], [59.999, "1:00.00"], [3723.25, "1:02:03.25"], [NaN, UNKNOWN]])("timecode of %s is %s", (value, text) => expect(timecode(value)).toBe(text));

// A stage that has not ended must never read as whole, nor one that has begun as nothing.
test.each([[0, "0%"], [0.0001, "1%"], [0.35, "35%"], [0.9999, "99%"], [1, "100%"], [1.7, "100%"], [NaN, UNKNOWN]])("percent of %s is %s", (value, text) => expect(percent(value)).toBe(text));

test("paces and rates", () => {
  expect([pace(2600), pace(12_345), pace(240_000), pace(0), pace(undefined)]).toEqual(["2.60 fps", "12.3 fps", "240 fps", UNKNOWN, UNKNOWN]);
  expect([rate(29.97003), rate(30), rate(NaN)]).toEqual(["29.97", "30", UNKNOWN]);
});

test("times relative to now", () => {
  const now = Date.parse("2026-01-01T12:00:00Z");
  expect(relative("2026-01-01T12:01:05Z", now)).toBe("in 1 min 05 s");
  expect(relative("2026-01-01T11:00:00Z", now)).toBe("1 h 00 min ago");
  expect(relative("2026-01-01T12:00:01Z", now)).toBe("now");
  expect(relative("soon", now)).toBe(UNKNOWN);
  expect([age("2026-01-01T11:59:30Z", now), age("2026-01-01T11:51:00Z", now), age("2025-12-30T11:51:00Z", now), age("2026-01-01T12:09:00Z", now), age(undefined, now)]).toEqual(["just now", "9 min ago", "2 d ago", "just now", UNKNOWN]);
  expect(between("2026-01-01T11:00:00Z", undefined, now)).toBe(3600);
  expect(between("2026-01-01T11:00:00Z", "2026-01-01T10:00:00Z", now)).toBe(0);
  expect(between("never", undefined, now)).toBeUndefined();
  expect(moment("x")).toBe(UNKNOWN);
});

test("text from outside loses what deceives", () => {
  expect(clean("a\u0000b\u001b[31mc\u202ed\u200be\ufefff\r\n\tg")).toBe("a b [31mc d e f g");
  expect(clean("video\u{e0041}.mp4")).toBe("video .mp4");
  expect(clean("<b>bold</b>")).toBe("<b>bold</b>"); // harmless as text
  expect(clean("𝕏".repeat(300), 10)).toBe("𝕏".repeat(9) + "…");
  expect(clean("x".repeat(10_000_000), 5)).toBe("xxxx…");
  expect([clean(undefined), clean(7), clean({}), clean(null)]).toEqual(["", "", "", ""]);
});

test("names as words", () => {
  expect(["DetectorLoadCrash", "GPUHardwareFault", "CUDAOutOfMemory", "NoPeople", "Tracking", "IDSwitch", "", "EngineMisconfigured"].map(words)).toEqual(["Detector load crash", "GPU hardware fault", "CUDA out of memory", "No people", "Tracking", "ID switch", "", "Engine misconfigured"]);
  expect(jointName("left_foot_index")).toBe("left foot index");
  expect([plural(1, "person", "people"), plural(0, "person", "people"), plural(1234, "person", "people")]).toEqual(["1 person", "0 people", "1,234 people"]);
});
