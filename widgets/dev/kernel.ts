import {
  type Counts,
  type Model,
  noFilter,
  STATUSES,
  type Status,
  type TaskEvent,
  type TaskFilter,
  type TaskRow,
  zeroCounts,
} from "../src/model";
import type { Command } from "../src/protocol";
import { FakeModel } from "./model";

const FUNCS = ["fetch_page", "resize_image", "train_fold", "etl.daily_report", "embed_chunk"];
const QUEUES = ["high", "default", "io"];
const STEPS = 60;
const PAGE = 50;
const TRACEBACK = `Traceback (most recent call last):
  File "/tmp/ipykernel_4711/2318411.py", line 7, in fetch_page
    response = await client.get(url, timeout=5)
  File "/usr/lib/python3.11/site-packages/httpx/_client.py", line 1768, in get
    return await self.request("GET", url)
  File "/usr/lib/python3.11/site-packages/httpx/_transports/default.py", line 118, in map_httpcore_exceptions
    raise mapped_exc(message) from exc
httpx.ConnectTimeout: timed out after 5.0 s: https://example.org/feeds/2024/05/very/long/path/page-118.html
`;

export interface Scene {
  /** Tasks that settle in one second. */
  rate: number;
  waiting: number;
  failing: number;
  paused: string[];
  workers: number;
  error: string | null;
  reply: "ok" | "error" | "none";
  closed: boolean;
}

const CALM: Scene = {
  rate: 40,
  waiting: 900,
  failing: 0.04,
  paused: [],
  workers: 3,
  error: null,
  reply: "ok",
  closed: false,
};

export const SCENES: Record<string, Scene> = {
  busy: CALM,
  flood: { ...CALM, rate: 1_000, waiting: 60_000, workers: 8 },
  empty: { ...CALM, rate: 0, waiting: 0, workers: 0 },
  failing: { ...CALM, failing: 0.6 },
  paused: { ...CALM, paused: ["io"] },
  refusing: { ...CALM, reply: "error" },
  silent: { ...CALM, reply: "none", rate: 0 },
  broken: { ...CALM, error: "ConnectionError: redis://:***@queue.internal:6379/0 refused the connection", rate: 0 },
  closed: { ...CALM, rate: 0, closed: true },
  done: { ...CALM, rate: 400, waiting: 0, failing: 0 },
};

/** A scripted store: it plays tasks through their states and speaks the protocol to one model. */
export class FakeKernel {
  readonly model: FakeModel;
  #seq = 0;
  #serial = 0;
  #random = 42;
  readonly #started: number;
  readonly #rows: TaskRow[] = [];
  readonly #events: TaskEvent[] = [];
  readonly #finished = Array<number>(STEPS).fill(0);
  readonly #failed = Array<number>(STEPS).fill(0);
  readonly #counts = new Map<string, Counts>(QUEUES.map((queue) => [queue, zeroCounts()]));
  readonly #paused: Set<string>;
  readonly #pausedSchedules = new Set(["s3"]);
  #filter: TaskFilter = noFilter;
  #page = 0;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(
    view: string,
    private readonly scene: Scene,
    theme = "auto",
    private readonly single = false,
  ) {
    this.#paused = new Set(scene.paused);
    this.#started = Date.now() - 48_000;
    this.#prepare();
    this.model = new FakeModel({ view, theme, state: this.state() });
    this.model.answer = (command) => setTimeout(() => this.#answer(command), 150);
  }

  play(): void {
    let ticks = 0;
    this.#timer = setInterval(() => {
      ticks += 1;
      if (this.scene.rate === 0) return;
      this.#advance(this.scene.rate / 10, Date.now());
      this.#takeUp();
      if (ticks % 10 === 0) this.#shift();
      const { schedules: _, ...patch } = this.state();
      this.#update(patch);
    }, 100);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  state(): Model {
    const totals = zeroCounts();
    for (const counts of this.#counts.values()) for (const status of STATUSES) totals[status] += counts[status];
    const now = Date.now();
    const rows = this.#matching();
    return {
      now,
      app: {
        name: "crawler",
        store: "postgresql://app:***@db.internal:5432/omniq",
        version: "0.1.0",
        error: this.scene.error,
        closed_at: this.scene.closed ? now - 200_000 : null,
      },
      queues: [...this.#counts].map(([name, counts]) => ({
        name,
        paused: this.#paused.has(name),
        counts: { ...counts },
      })),
      totals,
      workers: this.#workers(now),
      throughput: { step: 1, end: now, finished: [...this.#finished], failed: [...this.#failed] },
      tasks: {
        rows: rows.slice(this.#page * PAGE, (this.#page + 1) * PAGE),
        filter: this.#filter,
        page: this.#page,
        has_next: rows.length > (this.#page + 1) * PAGE,
      },
      schedules: this.#schedules(now),
      events: this.#events.slice(-200).reverse(),
      progress: this.#progress(totals),
    };
  }

  #prepare(): void {
    const { rate, waiting } = this.scene;
    const now = Date.now();
    const per = waiting > 0 || rate > 0 ? Math.max(rate, 40) : 0;
    for (let step = 0; step < STEPS && per > 0; step += 1) {
      this.#advance(per * (0.6 + 0.4 * Math.sin(step / 6)), now - (STEPS - step) * 1_000);
      if (step < STEPS - 1) this.#shift();
    }
    if (waiting === 0) return;
    for (const [index, counts] of [...this.#counts.values()].entries()) {
      counts.pending = Math.round(waiting * ([0.1, 0.6, 0.3][index] ?? 0));
      counts.running = [2, 6, 4][index] ?? 0;
      counts.blocked = index === 1 ? 12 : 0;
      counts.cancelled = index === 2 ? 3 : 0;
    }
    for (let index = 0; index < 4; index += 1) this.#rows.push(this.#row("pending", now - index * 400));
    for (let index = 0; index < 6; index += 1) this.#rows.push(this.#row("running", now - index * 700));
    for (const status of ["blocked", "cancelled", "expired", "skipped"] as const) {
      this.#rows.push(this.#row(status, now - 5_000));
    }
  }

  #advance(amount: number, now: number): void {
    const whole = Math.floor(amount) + (this.#chance(amount % 1) ? 1 : 0);
    for (let index = 0; index < whole; index += 1) {
      const status: Status = this.#chance(this.scene.failing) ? "failed" : "succeeded";
      const row = this.#row(status, now - Math.floor(this.#next() * 100));
      const counts = this.#counts.get(row.queue);
      if (counts) {
        counts[status] += 1;
        counts.pending = Math.max(0, counts.pending - 1);
      }
      const series = status === "failed" ? this.#failed : this.#finished;
      series[STEPS - 1] = (series[STEPS - 1] ?? 0) + 1;
      this.#rows.push(row);
      this.#events.push(this.#event(row));
    }
    const spare = this.#rows.length - 400;
    if (spare > 0)
      this.#rows.splice(
        0,
        this.#rows.length,
        ...this.#rows.filter((row, index) => index >= spare || row.status === "running"),
      );
    if (this.#events.length > 300) this.#events.splice(0, this.#events.length - 300);
  }

  /** One of the running tasks ends and another begins, so that the top of the table moves too. */
  #takeUp(): void {
    const running = this.#rows.filter((row) => row.status === "running");
    const oldest = running[0];
    if (oldest === undefined || !this.#chance(0.3)) return;
    Object.assign(oldest, { status: "succeeded", finished_at: Date.now() });
    const next = this.#row("running", Date.now());
    next.started_at = Date.now();
    this.#rows.push(next);
  }

  #shift(): void {
    for (const series of [this.#finished, this.#failed]) {
      series.shift();
      series.push(0);
    }
  }

  #row(status: Status, at: number): TaskRow {
    this.#serial += 1;
    const took = 40 + Math.floor(this.#next() ** 3 * 1_800);
    const started = ["pending", "blocked", "skipped", "expired"].includes(status) ? null : at - took;
    return {
      id: `0199c1f2-77a0-7c3e-9b1d-${this.#serial.toString(16).padStart(12, "0")}`,
      func: this.#pick(FUNCS),
      queue: this.#pick(QUEUES),
      priority: this.#chance(0.2) ? 9 : 0,
      status,
      attempt: started === null ? 0 : status === "failed" ? 4 : 1,
      max_retries: 3,
      created_at: at - took - 2_000,
      run_at: status === "pending" ? at + 4_000 : null,
      started_at: started,
      finished_at: ["running", "pending", "blocked"].includes(status) ? null : at,
      error:
        status === "failed" ? "ConnectTimeout: timed out after 5.0 s: https://example.org/feeds/page-118.html" : null,
    };
  }

  #event(row: TaskRow): TaskEvent {
    return {
      ts: row.finished_at ?? row.created_at,
      event_type: `task.${row.status}`,
      task_id: row.id,
      func: row.func,
      queue: row.queue,
      worker: `worker-${1 + Math.floor(this.#next() * this.scene.workers)}`,
      duration: row.started_at === null || row.finished_at === null ? null : (row.finished_at - row.started_at) / 1_000,
    };
  }

  #workers(now: number): Model["workers"] {
    return Array.from({ length: this.scene.workers }, (_, index) => ({
      id: `worker-${index + 1}`,
      host: ["notebook", "gpu-box-2", "ip-10-0-14-203.eu-central-1"][index % 3] ?? "host",
      pid: 4_711 + index * 13,
      type: ["process_pool", "async", "thread_pool"][index % 3] ?? "async",
      concurrency: [4, 16, 8][index % 3] ?? 4,
      running: [4, 6, 2][index % 3] ?? 0,
      queues: index === 0 ? ["high", "default"] : ["default", "io"],
      seen_at: now - 900 - index * 2_300,
    }));
  }

  #schedules(now: number): Model["schedules"] {
    if (this.scene.waiting === 0) return [];
    const schedule = (id: string, func: string, when: string, next: number | null, runs: number) => ({
      id,
      func,
      when,
      status: next === null ? "completed" : this.#pausedSchedules.has(id) ? "paused" : "active",
      next_at: this.#pausedSchedules.has(id) ? null : next,
      runs,
    });
    return [
      schedule("s1", "etl.daily_report", "0 9 * * 1-5 (Europe/Berlin)", now + 11 * 3_600_000, 212),
      schedule("s2", "refresh_feeds", "every 30 s", now + 17_000, 18_441),
      schedule("s3", "vacuum_cache", "every 6 h", now + 3_600_000, 31),
      schedule("s4", "send_reminder", "once at 2025-03-01 12:00 UTC", null, 1),
    ];
  }

  #progress(totals: Counts): Model["progress"] {
    if (this.single) return this.#one();
    const counts = { ...totals };
    const total = STATUSES.reduce((sum, status) => sum + counts[status], 0);
    const over = counts.pending + counts.running + counts.blocked === 0;
    return {
      id: "group-0199c1f2",
      title: total === 0 ? "fetch_page × 0" : `fetch_page × ${total}`,
      total,
      counts,
      started_at: total === 0 ? null : this.#started,
      finished_at: over && total > 0 ? this.#started + 48_000 : null,
      error: counts.failed > 0 ? "ConnectTimeout: timed out after 5.0 s" : null,
      traceback: counts.failed > 0 ? TRACEBACK : null,
      failed: this.#rows.filter((row) => row.status === "failed").slice(-20),
    };
  }

  #one(): Model["progress"] {
    const failed = this.scene.failing > 0.5;
    const done = failed || this.scene.waiting === 0;
    const counts = { ...zeroCounts(), [failed ? "failed" : done ? "succeeded" : "running"]: 1 };
    return {
      id: "0199c1f2-77a0-7c3e-9b1d-00000000002a",
      title: "train_fold",
      total: 1,
      counts,
      started_at: this.#started,
      finished_at: done ? this.#started + 12_400 : null,
      error: failed ? "ValueError: fold 3 has no samples" : null,
      traceback: failed ? TRACEBACK : null,
      failed: [],
    };
  }

  /** What runs comes first, then the newest. */
  #matching(): TaskRow[] {
    const { status, queue, func } = this.#filter;
    const matches = (row: TaskRow) =>
      (status === null || row.status === status) &&
      (queue === null || row.queue === queue) &&
      (func === null || row.func === func);
    const rows = this.#rows.filter(matches).reverse();
    const running = rows.filter((row) => row.status === "running");
    return [...running, ...rows.filter((row) => row.status !== "running")];
  }

  #answer({ id, op, args }: Command): void {
    if (this.scene.reply === "none") return;
    if (op === "hello") {
      this.#update(this.state());
      return;
    }
    if (this.scene.reply === "error" && op !== "detail" && op !== "page") {
      this.model.deliver({ type: "reply", id, ok: false, error: "LeaseLost: the task was taken by another worker" });
      return;
    }
    const result = this.#act(op, args);
    this.#update(this.state());
    this.model.deliver({ type: "reply", id, ok: true, result });
  }

  #act(op: Command["op"], args: Command["args"]): unknown {
    const row = this.#rows.find((candidate) => candidate.id === args.task_id);
    switch (op) {
      case "cancel":
        if (row) Object.assign(row, { status: "cancelled", finished_at: Date.now() });
        return null;
      case "retry":
        if (row) Object.assign(row, { status: "pending", finished_at: null, error: null, run_at: Date.now() });
        return null;
      case "pause":
        this.#paused.add(String(args.queue));
        return null;
      case "resume":
        this.#paused.delete(String(args.queue));
        return null;
      case "pause_schedule":
        this.#pausedSchedules.add(String(args.schedule_id));
        return null;
      case "resume_schedule":
        this.#pausedSchedules.delete(String(args.schedule_id));
        return null;
      case "page":
        this.#page = Number(args.page);
        this.#filter = args.filter as TaskFilter;
        return null;
      case "detail":
        return row && this.#detail(row);
      default:
        return null;
    }
  }

  #detail(row: TaskRow) {
    const failed = row.status === "failed";
    const step = (event_type: string, ts: number, duration: number | null = null): TaskEvent => ({
      ...this.#event(row),
      event_type,
      ts,
      duration,
      worker: event_type === "task.enqueued" ? "" : "gpu-box-2/4724",
    });
    const events = [step("task.enqueued", row.created_at)];
    if (row.started_at !== null) events.push(step("task.started", row.started_at));
    if (failed) events.push(step("task.retried", row.started_at ?? 0, 5));
    if (row.finished_at !== null) events.push(step(`task.${row.status}`, row.finished_at, 1.31));
    return {
      row,
      args: `("https://example.org/feeds/page-118.html", retries=3, headers={"accept": "application/json"})`,
      result: row.status === "succeeded" ? "{'status': 200, 'bytes': 48213, 'links': ['/a', '/b', '/c']}" : null,
      error: row.error,
      traceback: failed ? TRACEBACK : null,
      events,
      metadata: { batch: "2025-02", owner: "crawl" },
    };
  }

  #update(patch: Partial<Model>): void {
    this.#seq += 1;
    this.model.deliver({ type: "update", seq: this.#seq, patch: structuredClone(patch) });
  }

  /** The same numbers on every run, so that two screenshots can be compared. */
  #next(): number {
    this.#random = (this.#random * 1_664_525 + 1_013_904_223) % 4_294_967_296;
    return this.#random / 4_294_967_296;
  }

  #chance(probability: number): boolean {
    return this.#next() < probability;
  }

  #pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.#next() * items.length)] as T;
  }
}
