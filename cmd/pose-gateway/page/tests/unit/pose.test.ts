import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { buffers, entriesOf, entryOf, slots } from "../../src/pose/model";
import { PoseReader } from "../../src/pose/reader";
import { clampFrame, frameAt, seekTo, seconds, timeline } from "../../src/pose/time";
import { defaultLayout, place, stage } from "../../src/result/place";
import { pose as walk } from "../fixtures/walk";

function read(text: string, piece = text.length, limits?: ConstructorParameters<typeof PoseReader>[0]) {
  const reader = new PoseReader(limits);
  for (let k = 0; k < text.length; k += Math.max(1, piece)) reader.push(text.slice(k, k + Math.max(1, piece)));
  return reader.end();
}

const small = (): string => JSON.stringify(walk({ people: 2, frames: 4 }));

/** The small result with one thing changed. */
function changed(change: (top: any) => void): string {
  const top = JSON.parse(small()) as unknown;
  change(top);
  return JSON.stringify(top);
}

describe("the reader", () => {
  test("reads what the project's own writer wrote", () => {
    const text = readFileSync(new URL("../../../../../internal/result/testdata/phalp/pose.json", import.meta.url), "utf8");
    const pose = read(text, 1000);
    const json = JSON.parse(text) as any;
    expect(pose.video).toMatchObject({ width: 768, height: 576, fps: 30, frames: 12, startFrame: 7, captureFPS: 120 });
    expect([...pose.people.id]).toEqual([1, 4]);
    for (const frame of json.frames) {
      expect(pose.time![frame.index]).toBe(frame.time);
      for (const person of frame.people) {
        const n = entryOf(pose, frame.index, [1, 4].indexOf(person.id));
        expect([...pose.joints3d!.slice(n * 135, n * 135 + 135)]).toEqual(person.joints3d.flat().map(Math.fround));
        expect([...pose.joints2d.slice(n * 135, n * 135 + 135)]).toEqual(person.joints2d.flat().map(Math.fround));
        expect([...pose.translation!.slice(n * 3, n * 3 + 3)]).toEqual(person.translation.map(Math.fround));
        expect(pose.observed[n]).toBe(person.observed === false ? 0 : 1);
      }
    }
  });

  test("reads the schema's example", () => {
    const pose = read(readFileSync(new URL("../../../../../docs/schema/pose-v1alpha1.example.json", import.meta.url), "utf8"));
    expect(pose.video.frames).toBe(3);
    expect(pose.people.id.length).toBe(1);
  });

  test("gives the same however the text is cut, white space or not", () => {
    const whole = read(small());
    for (const text of [small(), JSON.stringify(JSON.parse(small()), null, 2)]) for (const piece of [1, 7, 64, 1000]) expect(read(text, piece)).toEqual(whole);
  });

  test("is not misled by braces, quotes and a key in strings", () => {
    const text = changed((top) => {
      top.engine.name = 'a"}],"frames":[{\\'; // an odd number of quotes, so that one missed is not made good by the next
      top.skeleton.joints[0] = '"frames":[';
    });
    const pose = read(text, 3);
    expect(pose.engine.name).toBe('a"}],"frames":[{\\');
    expect(pose.video.frames).toBe(4);
  });

  test("takes frames without people, missing joints, null and other nonsense for a number", () => {
    const pose = read(
      changed((top) => {
        top.frames[1].people = [];
        top.frames[2].people[0].joints3d = [[1, null, "x"], undefined];
        delete top.frames[2].people[0].joints2d;
        top.frames[2].people[0].translation = "far";
      }),
    );
    expect(entriesOf(pose, 1)).toEqual([2, 2]);
    const n = entryOf(pose, 2, 0);
    expect([...pose.joints3d!.slice(n * 45, n * 45 + 4)]).toEqual([1, NaN, NaN, NaN]);
    expect(pose.joints2d[n * 45]).toBeNaN();
    expect(pose.translation![n * 3]).toBeNaN();
    expect([entryOf(pose, 1, 0), entryOf(pose, 99, 0), entryOf(pose, -1, 0), entryOf(pose, 0, 5)]).toEqual([-1, -1, -1, -1]);
    // and the view lives with that
    expect(Number.isFinite(stage(pose, "Room").floor)).toBe(true);
  });

  test("a result without people, 3D, times or quality is one", () => {
    const pose = read(
      changed((top) => {
        top.people = [];
        top.units = { bbox: "pixels", joints2d: "pixels" };
        delete top.quality;
        delete top.camera;
        for (const frame of top.frames) {
          frame.people = [];
          delete frame.time;
        }
      }),
    );
    expect([pose.joints3d, pose.translation, pose.time, pose.quality, pose.camera]).toEqual([undefined, undefined, undefined, undefined, undefined]);
    expect(buffers(pose).length).toBe(10);
  });

  test.each([
    ["is cut off in a frame", small().slice(0, -400), /ends early: [123] of 4/],
    ["is cut off after a frame", small().slice(0, small().lastIndexOf(',{"index"')), /ends early: 3 of 4/],
    ["is cut off in the head", small().slice(0, 200), /no list of frames/],
    ["is empty", "", /no list of frames/],
    ["is a web page", "<!doctype html><p>Sign in</p>", /no list of frames/],
    ["has NaN", small().replace(/"score":0.93/, '"score":NaN'), /no valid JSON in frame 0/],
    ["has another kind", changed((top) => (top.kind = "<b>")), /its kind is "<b>"/],
    ["has a member after frames", small().replace(/\]\}$/, '],"more":1}'), /not the last member/],
    ["has fewer frames than it says", changed((top) => (top.video.frames = 5)), /ends early: 4 of 5/],
    ["has more frames than it says", changed((top) => (top.video.frames = 3)), /more frames than the 3/],
    ["has a frame out of order", changed((top) => (top.frames[2].index = 7)), /Frame 2 of the pose.json has the index 7/],
    ["has a stranger in a frame", changed((top) => (top.frames[1].people[0].id = 99)), /person 99, whom the list of people lacks/],
    ["has somebody twice in a frame", changed((top) => (top.frames[1].people[1] = top.frames[1].people[0])), /ids must ascend/],
    ["has an edge to nowhere", changed((top) => (top.skeleton.edges[0] = [0, 99])), /skeleton.edges\[0\]\[1\] of the pose.json is 99/],
    ["has no width", changed((top) => delete top.video.width), /video.width of the pose.json is missing/],
    ["has a rate of nought", changed((top) => (top.video.fps = 0)), /video.fps/],
    ["has ten billion frames", changed((top) => (top.video.frames = 1e10)), /video.frames/],
    ["has frames of numbers", small().replace(/"frames":\[\{.*$/, '"frames":[1,2,3,4]}'), /ends early: 0 of 4/],
  ])("refuses a file that %s", (_, text, words) => {
    expect(() => read(text)).toThrow(words);
    expect(() => read(text, 5)).toThrow(words);
  });

  test("is bounded: in what one frame holds, and in all", () => {
    expect(() => read(small(), 50, { arrayBytes: 1 << 20, text: 1000 })).toThrow(/a head of more than/);
    expect(() => read(small(), 50, { arrayBytes: 1000, text: 1 << 20 })).toThrow(/larger than a page can show: more than/);
    expect(() => read(small(), 50, { arrayBytes: 10, text: 1 << 20 })).toThrow(/more than a page can show/);
    expect(() => read(changed((top) => (top.frames[0].people = Array(2000).fill({ id: 1 }))))).toThrow(/at most 1000/);
  });

  test("grows over many frames", () => {
    const pose = read(JSON.stringify(walk({ people: 3, frames: 1500 })), 1 << 16);
    expect(pose.person.length).toBe(4500);
    expect(pose.joints3d!.length).toBe(4500 * 45);
    expect([...pose.person.slice(-3)]).toEqual([0, 1, 2]);
  });
});

describe("frames and seconds", () => {
  const line = timeline(90, 29.97, undefined);

  test("each frame is found again where it is sought, at any rate", () => {
    for (const fps of [1, 10, 23.976, 29.97, 59.94, 240]) {
      const at = timeline(90, fps, undefined);
      for (let f = 0; f < 90; f++) {
        expect(frameAt(at, seekTo(at, f))).toBe(f);
        // The time that a browser gives for a frame is its start, rounded to microseconds.
        expect(frameAt(at, Math.floor((f / fps) * 1e6) / 1e6)).toBe(f);
      }
    }
  });

  test("nothing leads out of the video", () => {
    expect([frameAt(line, -1), frameAt(line, 1e9), frameAt(line, NaN), frameAt(line, Infinity), clampFrame(line, 1000), clampFrame(line, -5)]).toEqual([0, 89, 0, 0, 89, 0]);
  });

  test("a video of another length decides", () => {
    expect(timeline(90, 30, 3.0).fps).toBe(30);
    expect(timeline(90, 30, 3.03).fps).toBe(30); // a frame more or less
    expect(timeline(90, 30, 6).fps).toBe(15);
    expect([timeline(90, 30, NaN).fps, timeline(90, 30, 0).fps, timeline(90, 30, Infinity).fps]).toEqual([30, 30, 30]);
    expect(seconds(timeline(90, 30, 6))).toBe(6);
  });
});

describe("places in 3D", () => {
  test("the camera's axes are turned by half a turn about x", () => {
    const pose = read(small());
    const n = entryOf(pose, 0, 0), out = [0, 0, 0];
    place(pose, stage(pose, "Room"), n, 2, out, 0);
    const j = (n * 15 + 2) * 3;
    const expected = [pose.joints3d![j]! + pose.translation![n * 3]!, -(pose.joints3d![j + 1]! + pose.translation![n * 3 + 1]!), -(pose.joints3d![j + 2]! + pose.translation![n * 3 + 2]!)];
    out.forEach((value, a) => expect(value).toBeCloseTo(expected[a]!, 6));
    // heads are up
    const head = [0, 0, 0], foot = [0, 0, 0];
    place(pose, stage(pose, "Room"), n, 14, head, 0);
    place(pose, stage(pose, "Room"), n, 10, foot, 0);
    expect(head[1]!).toBeGreaterThan(foot[1]! + 1);
  });

  test("without translations people stand side by side, with them in the room unless that is too deep", () => {
    expect(defaultLayout(read(JSON.stringify(walk({ people: 2, frames: 4, withTranslation: false }))))).toBe("SideBySide");
    expect(defaultLayout(read(small()))).toBe("Room");
    expect(defaultLayout(read(changed((top) => (top.frames[0].people[0].translation = [0, 0, 90]))))).toBe("SideBySide");
  });

  test("two who are in view together never share a slot; one who comes later takes a free one", () => {
    expect([...slots([0, 0, 5, 11, 12], [10, 4, 20, 12, 13])]).toEqual([0, 1, 1, 0, 2]);
    expect([...slots([], [])]).toEqual([]);
    expect([...slots([3, 0], [4, 2])]).toEqual([0, 0]);
  });
});
