import { describe, expect, test } from "vitest";
import { begin, EventParser, next, type Happening, type Subscription } from "../../src/sse";

describe("the parser", () => {
  const text = 'id: 7\nevent: job\ndata: {"a":\ndata: 1}\n\n: heartbeat\n\nretry: 300\ndata:x\r\n\r\nevent: only\n\ndata\n\n';
  const events = [{ type: "job", data: '{"a":\n1}', id: "7" }, { type: "message", data: "x", id: "7" }, { type: "message", data: "", id: "7" }];

  test("gives the same events however the text is cut", () => {
    for (let cut = 0; cut <= text.length; cut++) {
      const parser = new EventParser();
      expect([...parser.push(text.slice(0, cut)), ...parser.push(text.slice(cut))]).toEqual(events);
      expect([parser.lastID, parser.retry]).toEqual(["7", 300]);
    }
    const parser = new EventParser();
    expect([...text].flatMap((c) => parser.push(c))).toEqual(events);
  });

  test("takes a byte order mark and lone carriage returns, and no id with a null in it", () => {
    const parser = new EventParser();
    expect(parser.push("\ufeffdata: a\r\rid: x\0y\ndata: b\n\n")).toEqual([{ type: "message", data: "a", id: "" }, { type: "message", data: "b", id: "" }]);
  });

  test("an event that is not complete is none", () => expect(new EventParser().push("data: a\n")).toEqual([]));

  test("refuses an event of more than 4 MiB, in one line or in many", () => {
    expect(() => new EventParser().push("data: " + "x".repeat(5 << 20))).toThrow(/4 MiB/);
    const parser = new EventParser();
    expect(() => {
      for (let k = 0; k < 5000; k++) parser.push(`data: ${"x".repeat(1024)}\n`);
    }).toThrow(/4 MiB/);
  });
});

describe("the state machine", () => {
  const play = (happenings: Happening[], retry?: number): Subscription => happenings.reduce((state, happening) => next(state, happening, retry, 0.5), begin());

  test("opens, and comes back after the end", () => {
    expect(play([{ kind: "opened" }]).phase).toBe("Open");
    expect(play([{ kind: "opened" }, { kind: "ended" }])).toEqual({ phase: "Waiting", failures: 1, delay: 1000, status: 0 });
    expect(play([{ kind: "opened" }, { kind: "silent" }, { kind: "due" }]).phase).toBe("Connecting");
  });

  test("waits longer and longer, at most half a minute, and begins anew once it was open", () => {
    const delays: number[] = [];
    let state = begin();
    for (let k = 0; k < 8; k++) {
      state = next(state, { kind: "failed", status: 503 }, undefined, 0.5);
      delays.push(state.delay);
      state = next(state, { kind: "due" }, undefined, 0.5);
    }
    expect(delays).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
    expect(next(next(state, { kind: "opened" }, undefined, 0.5), { kind: "ended" }, undefined, 0.5).delay).toBe(1000);
  });

  test("does as the server asks: retry, Retry-After; and spreads", () => {
    expect(play([{ kind: "ended" }], 300).delay).toBe(300);
    expect(play([{ kind: "failed", status: 429, retryAfter: 12 }]).delay).toBe(12_000);
    expect(play([{ kind: "ended" }], 0).delay).toBe(250);
    expect([next(begin(), { kind: "ended" }, 1000, 0).delay, next(begin(), { kind: "ended" }, 1000, 1).delay]).toEqual([750, 1250]);
  });

  test.each([204, 401, 403, 404, 410])("ends for good at %i", (status) => expect(play([{ kind: "failed", status }, { kind: "due" }, { kind: "opened" }])).toMatchObject({ phase: "Closed", status }));

  test("tries again where nothing answered, and stops when told", () => {
    expect(play([{ kind: "failed", status: 0 }]).phase).toBe("Waiting");
    expect(play([{ kind: "opened" }, { kind: "stop" }, { kind: "opened" }]).phase).toBe("Closed");
  });

  test("due means nothing while it is open", () => expect(play([{ kind: "opened" }, { kind: "due" }]).phase).toBe("Open"));
});
