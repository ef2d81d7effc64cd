import { describe, expect, it } from "vitest";
import { reuse, type Slots } from "../src/slots";

const none: Slots = new Map();
const listed = (slots: Slots) => [...slots];

describe("slots", () => {
  it("gives each row one of its own", () => {
    expect(listed(reuse(none, ["a", "b"]))).toEqual([
      ["a", 0],
      ["b", 1],
    ]);
  });

  it("leaves a row where it is, wherever it moves", () => {
    const before = reuse(none, ["a", "b", "c"]);
    expect(reuse(before, ["c", "a", "b"]).get("a")).toBe(0);
  });

  it("hands on what went, in order", () => {
    const before = reuse(none, ["a", "b", "c"]);
    expect(listed(reuse(before, ["x", "b", "y"]))).toEqual([
      ["x", 0],
      ["b", 1],
      ["y", 2],
    ]);
  });

  it("never gives one to two rows, however the list grows and shrinks", () => {
    let slots = none;
    for (const ids of ["abcde", "c", "xcyz", "", "pqrstu", "upq", "nmupqlk"]) {
      slots = reuse(slots, [...ids]);
      expect([...slots.keys()].join("")).toBe(ids);
      expect(new Set(slots.values()).size).toBe(ids.length);
    }
  });
});
