import { describe, expect, it, vi } from "vitest";
import { Clock } from "../src/clock";
import { Commands, commandKey, NO_ANSWER, REPLY_TIMEOUT } from "../src/commands";
import { Connection, PROBE_AFTER, RESYNC_EVERY, SILENT_AFTER } from "../src/connection";
import type { Command } from "../src/protocol";
import { fakeTime, NOW } from "./support";

fakeTime();

function setUp() {
  const sent: Command[] = [];
  const commands = new Commands((command) => sent.push(command));
  const last = () => sent.at(-1)?.id ?? "";
  return { commands, sent, last };
}

describe("Commands", () => {
  it("gives each command an id of its own, also across views", () => {
    const [one, other] = [setUp(), setUp()];
    for (const { commands } of [one, other]) {
      commands.act("cancel", { task_id: "a" });
      commands.act("cancel", { task_id: "b" });
    }
    expect(new Set([...one.sent, ...other.sent].map((command) => command.id)).size).toBe(4);
    expect(one.sent[0]).toMatchObject({ type: "command", op: "cancel", args: { task_id: "a" } });
  });

  it("resolves with the result and rejects with the kernel's words", async () => {
    const { commands, last } = setUp();
    const good = commands.request("detail", { task_id: "a" });
    commands.receive({ type: "reply", id: last(), ok: true, result: 5 });
    await expect(good).resolves.toBe(5);
    const bad = commands.request("detail", { task_id: "a" });
    commands.receive({ type: "reply", id: last(), ok: false, error: "TaskNotFound: a" });
    await expect(bad).rejects.toThrow("TaskNotFound: a");
  });

  it("is pending, then clear", () => {
    const { commands, last } = setUp();
    const key = commandKey("pause", { queue: "io" });
    commands.act("pause", { queue: "io" });
    expect(commands.states.value.get(key)).toEqual({ phase: "pending" });
    commands.receive({ type: "reply", id: last(), ok: true, result: null });
    expect(commands.states.value.has(key)).toBe(false);
    vi.advanceTimersByTime(REPLY_TIMEOUT);
    expect(commands.states.value.has(key)).toBe(false);
  });

  it("sends once while it is pending", () => {
    const { commands, sent } = setUp();
    commands.act("cancel", { task_id: "a" });
    commands.act("cancel", { task_id: "a" });
    commands.act("cancel", { task_id: "b" });
    expect(sent).toHaveLength(2);
  });

  it("says after ten seconds that nobody answered; a late answer still counts", () => {
    const { commands, last } = setUp();
    const key = commandKey("cancel", { task_id: "a" });
    commands.act("cancel", { task_id: "a" });
    vi.advanceTimersByTime(REPLY_TIMEOUT - 1);
    expect(commands.states.value.get(key)?.phase).toBe("pending");
    vi.advanceTimersByTime(1);
    expect(commands.states.value.get(key)).toEqual({ phase: "error", message: NO_ANSWER });
    commands.receive({ type: "reply", id: last(), ok: true, result: null });
    expect(commands.states.value.has(key)).toBe(false);
  });

  it("ignores replies to other views", () => {
    const { commands } = setUp();
    commands.act("cancel", { task_id: "a" });
    commands.receive({ type: "reply", id: "someone-else-1", ok: true, result: null });
    expect(commands.states.value.size).toBe(1);
  });

  it("reports a page without a connection at once", () => {
    const commands = new Commands(() => {
      throw new Error("no comm");
    });
    commands.act("cancel_all", {});
    expect(commands.states.value.get("cancel_all")).toMatchObject({ phase: "error" });
  });

  it("leaves no timer behind", () => {
    const { commands } = setUp();
    commands.act("cancel", { task_id: "a" });
    commands.dispose();
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("Connection", () => {
  it("greets, is live once it hears something, and notices silence", () => {
    const hello = vi.fn();
    const connection = new Connection(hello);
    connection.open();
    expect(hello).toHaveBeenCalledTimes(1);
    expect(connection.state.value).toBe("connecting");
    connection.heard();
    expect(connection.state.value).toBe("live");
    vi.advanceTimersByTime(SILENT_AFTER);
    connection.tick();
    expect(connection.state.value).toBe("silent");
    connection.heard();
    expect(connection.state.value).toBe("live");
  });

  it("asks before it complains", () => {
    const hello = vi.fn();
    const connection = new Connection(hello);
    connection.open();
    vi.advanceTimersByTime(PROBE_AFTER);
    connection.tick();
    connection.tick();
    expect(hello).toHaveBeenCalledTimes(2);
    expect(connection.state.value).toBe("connecting");
  });

  it("asks for a full copy when a number is missing, but not in a row", () => {
    const hello = vi.fn();
    const connection = new Connection(hello);
    for (const seq of [1, 2, 3]) connection.numbered(seq);
    expect(hello).not.toHaveBeenCalled();
    connection.numbered(5);
    connection.numbered(8);
    expect(hello).toHaveBeenCalledTimes(1);
    vi.advanceTimersByTime(RESYNC_EVERY);
    connection.numbered(20);
    expect(hello).toHaveBeenCalledTimes(2);
  });

  it("accepts that a kernel counts anew", () => {
    const hello = vi.fn();
    const connection = new Connection(hello);
    for (const seq of [40, 1, 2]) connection.numbered(seq);
    expect(hello).not.toHaveBeenCalled();
  });
});

describe("Clock", () => {
  it("follows the kernel's clock, not its messages' travel time", () => {
    const clock = new Clock();
    clock.sync(NOW + 500);
    expect(clock.now.value).toBe(NOW);
    clock.sync(NOW - 60_000);
    expect(clock.now.value).toBe(NOW - 60_000);
    vi.advanceTimersByTime(3_000);
    expect(clock.now.value).toBe(NOW - 57_000);
    clock.dispose();
    expect(vi.getTimerCount()).toBe(0);
  });
});
