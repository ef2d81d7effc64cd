import { describe, expect, it } from "vitest";
import {
  formatAbsolute,
  formatCompact,
  formatCount,
  formatDuration,
  formatRate,
  formatRelative,
  formatTimeLeft,
  percent,
  plural,
  shortId,
} from "../src/format";

const table = <A>(format: (value: A) => string, cases: [A, string][]) =>
  it.each(cases)("%s is %s", (value, expected) => expect(format(value)).toBe(expected));

describe("durations", () => {
  table(formatDuration, [
    [null, "–"],
    [Number.NaN, "–"],
    [-1, "–"],
    [0, "0 ms"],
    [85.4, "85 ms"],
    [999, "999 ms"],
    [1_000, "1.0 s"],
    [9_940, "9.9 s"],
    [9_960, "10 s"],
    [59_400, "59 s"],
    [59_600, "1 min 00 s"],
    [245_000, "4 min 05 s"],
    [3_599_600, "1 h 00 min"],
    [7_800_000, "2 h 10 min"],
    [86_400_000, "1 d 0 h"],
    [273_600_000, "3 d 4 h"],
  ]);
});

describe("time left", () => {
  table(formatTimeLeft, [
    [703, "less than 1 s"],
    [9_900, "about 9 s"],
    [125_000, "about 2 min"],
  ]);
});

describe("relative times", () => {
  const now = 1_000_000_000_000;
  table(
    (ago: number) => formatRelative(now - ago, now),
    [
      [0, "now"],
      [-999, "now"],
      [3_000, "3 s ago"],
      [59_999, "59 s ago"],
      [60_000, "1 min ago"],
      [7_200_000, "2 h ago"],
      [90_000_000, "25 h ago"],
      [4 * 86_400_000, "4 d ago"],
      [-17_000, "in 17 s"],
      [-11 * 3_600_000, "in 11 h"],
    ],
  );

  it("says nothing about a time that is not there", () => {
    expect(formatRelative(null, now)).toBe("–");
    expect(formatRelative(0, now)).toBe("–");
  });
});

describe("rates", () => {
  table(formatRate, [
    [0, "0/s"],
    [-2, "0/s"],
    [1_234.4, "1,234/s"],
    [42.4, "42/s"],
    [3.14, "3.1/s"],
    [0.05, "3.0/min"],
    [0.001, "3.6/h"],
  ]);
});

describe("counts", () => {
  table(formatCount, [
    [0, "0"],
    [1_234_567, "1,234,567"],
  ]);
  table(formatCompact, [
    [9_999, "9,999"],
    [12_345, "12.3K"],
    [4_200_000, "4.2M"],
  ]);
  it("speaks of one thing and of many", () => {
    expect(plural(1, "task")).toBe("1 task");
    expect(plural(1_200, "task")).toBe("1,200 tasks");
    expect(plural(0, "query", "queries")).toBe("0 queries");
  });
});

it("writes the zone into an absolute time", () => {
  expect(formatAbsolute(Date.UTC(2025, 1, 3, 12, 0, 5))).toMatch(/^2025-02-0\d \d\d:\d\d:05 [+-]\d\d:\d\d$/);
});

it("shortens only long ids, to their distinct end", () => {
  expect(shortId("task-1")).toBe("task-1");
  expect(shortId("0199c1f2-77a0-7c3e-9b1d-00000000abcd")).toBe("…0000abcd");
});

it("keeps percentages between 0 and 100", () => {
  expect([percent(1, 4), percent(5, 4), percent(-1, 4), percent(3, 0)]).toEqual([25, 100, 0, 0]);
});
