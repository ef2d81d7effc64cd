import { describe, expect, it } from "vitest";
import type { Progress } from "../../src/model";
import { counts, fakeTime, NOW, row, settle, show } from "../support";

fakeTime();

function progress(some: Partial<Progress> = {}): { progress: Progress } {
  return {
    progress: {
      id: "g-1",
      title: "fetch × 100",
      total: 100,
      counts: counts({ succeeded: 40, running: 10, pending: 50 }),
      started_at: NOW - 20_000,
      finished_at: null,
      error: null,
      traceback: null,
      failed: [],
      ...some,
    },
  };
}

describe("a group", () => {
  it("shows how far it is, how fast, and how long it takes", async () => {
    const page = await show("progress", progress());
    const bar = page.find("[role=progressbar]");
    expect([bar.ariaValueNow ?? bar.getAttribute("aria-valuenow"), bar.getAttribute("aria-valuetext")]).toEqual([
      "40",
      "40 of 100 done",
    ]);
    expect(page.find(".oq-pace").textContent).toBe("40 of 100 · 40%for 20 s2.0/sabout 30 s left");
    expect(page.texts(".oq-legend li")).toEqual(["Pending50", "Running10", "Succeeded40"]);
    expect(page.find(".oq-bar-part.oq-is-succeeded").style.width).toBe("40%");
  });

  it("follows the pace of the last half minute", async () => {
    const page = await show("progress", progress());
    for (let step = 1; step <= 4; step += 1) {
      await settle(950);
      await page.update(progress({ counts: counts({ succeeded: 40 + step * 10, pending: 60 - step * 10 }) }));
    }
    expect(page.find(".oq-pace").textContent).toContain("10/s");
  });

  it("cancels everything while something is left", async () => {
    const page = await show("progress", progress());
    await page.click("Cancel fetch × 100");
    expect(page.commands("cancel_all")).toMatchObject([{ args: {} }]);
    await page.update(progress({ counts: counts({ succeeded: 40, cancelled: 60 }), finished_at: NOW }));
    expect(page.buttons("Cancel fetch × 100")).toHaveLength(0);
    expect(page.find(".oq-progress-state").textContent).toBe("Cancelled");
  });

  it("retries what failed, all or one", async () => {
    const failed = [row({ id: "f1", status: "failed", error: "ValueError: 1" })];
    const page = await show(
      "progress",
      progress({ counts: counts({ succeeded: 95, failed: 5 }), failed, finished_at: NOW }),
    );
    expect(page.find(".oq-progress-state").textContent).toBe("Failed");
    expect(page.button("Retry 5 failed of fetch × 100").textContent).toBe("Retry 5 failed");
    await page.click("Retry 5 failed of fetch × 100");
    expect(page.commands("retry_failed")).toHaveLength(1);
    expect(page.text).toContain("Failed tasks 1 of 5");
    await page.click("Retry fetch f1");
    expect(page.commands("retry")[0]?.args).toEqual({ task_id: "f1" });
  });

  it("stops its clock, and asks no more, when it is done", async () => {
    const page = await show("progress", progress({ counts: counts({ succeeded: 100 }), finished_at: NOW - 8_000 }));
    await settle(60_000);
    expect(page.find(".oq-pace").textContent).toBe("100 of 100 · 100%took 12 s");
    expect(page.commands("hello")).toHaveLength(1);
    expect(page.all(".oq-connection")).toHaveLength(0);
  });

  it("says so when the kernel is gone before the end", async () => {
    const page = await show("progress", progress());
    await settle(20_000);
    expect(page.find(".oq-connection").textContent).toContain("No contact");
    expect(page.find(".oq-pace").textContent).toContain("20 s");
  });

  it("has not started when nothing has", async () => {
    const page = await show("progress", progress({ counts: counts({ pending: 100 }), started_at: null }));
    expect(page.find(".oq-pace").textContent).toBe("0 of 100 · 0%not started");
    expect(page.find(".oq-progress-state").textContent).toBe("Pending");
  });
});

describe("one task", () => {
  it("shows its failure with the traceback folded away", async () => {
    const page = await show(
      "progress",
      progress({
        title: "train",
        total: 1,
        counts: counts({ failed: 1 }),
        finished_at: NOW,
        error: "ValueError: fold 3",
        traceback: "Traceback …\n<script>x</script>",
      }),
    );
    expect(page.find(".oq-error-line").textContent).toBe("ValueError: fold 3");
    expect(page.find<HTMLDetailsElement>("details").open).toBe(false);
    expect(page.find("pre").textContent).toContain("<script>x</script>");
    expect(page.all("script")).toHaveLength(0);
    expect(page.button("Retry train").textContent).toBe("Retry");
    expect(page.all(".oq-legend")).toHaveLength(0);
    expect(page.find(".oq-pace").textContent).toBe("took 20 s");
  });

  it.each([
    ["running", "Running"],
    ["blocked", "Blocked"],
    ["succeeded", "Succeeded"],
    ["expired", "Expired"],
    ["skipped", "Skipped"],
  ] as const)("names its state: %s", async (status, label) => {
    const page = await show("progress", progress({ total: 1, counts: counts({ [status]: 1 }) }));
    expect(page.find(".oq-progress-state").textContent).toBe(label);
  });
});
