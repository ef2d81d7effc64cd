/**
 * The boundary: everything that arrives from the kernel passes through here once and is a complete, well-typed value
 * afterwards. Unknown keys are dropped, missing fields get their neutral value, rows without an identity are left out;
 * nothing here throws, because a view that shows most of the truth is better than an empty cell.
 */
import {
  type AppInfo,
  type Counts,
  type Model,
  noFilter,
  type Progress,
  type Queue,
  type Schedule,
  STATUSES,
  type Status,
  type TaskDetail,
  type TaskEvent,
  type TaskFilter,
  type TaskPage,
  type TaskRow,
  type Throughput,
  VIEWS,
  type ViewName,
  type Worker,
} from "./model";

type Raw = Record<string, unknown>;

export type KernelMessage =
  | { type: "update"; seq: number | null; patch: Partial<Model> }
  | { type: "reply"; id: string; ok: true; result: unknown }
  | { type: "reply"; id: string; ok: false; error: string };

export interface Command {
  type: "command";
  id: string;
  op: Op;
  args: Raw;
}

export type Op =
  | "cancel"
  | "retry"
  | "detail"
  | "pause"
  | "resume"
  | "page"
  | "cancel_all"
  | "retry_failed"
  | "pause_schedule"
  | "resume_schedule"
  | "hello";

function isRaw(value: unknown): value is Raw {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function raw(value: unknown): Raw {
  return isRaw(value) ? value : {};
}

function text(value: unknown): string {
  if (typeof value === "string") return value;
  return typeof value === "number" || typeof value === "boolean" ? String(value) : "";
}

function textOrNull(value: unknown): string | null {
  const string = text(value);
  return string === "" ? null : string;
}

function count(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? Math.max(0, value) : 0;
}

function number(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

function numberOrNull(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

function list<T>(value: unknown, parse: (item: unknown) => T | null): T[] {
  if (!Array.isArray(value)) return [];
  return value.map(parse).filter((item): item is T => item !== null);
}

function strings(value: unknown): string[] {
  return list(value, textOrNull);
}

export function parseStatus(value: unknown): Status | null {
  return STATUSES.find((status) => status === value) ?? null;
}

export function parseView(value: unknown): ViewName {
  return VIEWS.find((view) => view === value) ?? "dashboard";
}

export function parseCounts(value: unknown): Counts {
  const source = raw(value);
  return Object.fromEntries(STATUSES.map((status) => [status, count(source[status])])) as Counts;
}

function parseApp(value: unknown): AppInfo {
  const app = raw(value);
  return {
    name: text(app.name),
    store: text(app.store),
    version: text(app.version),
    error: textOrNull(app.error),
    closed_at: numberOrNull(app.closed_at),
  };
}

function parseQueue(value: unknown): Queue | null {
  const queue = raw(value);
  const name = text(queue.name);
  return name === "" ? null : { name, paused: queue.paused === true, counts: parseCounts(queue.counts) };
}

function parseWorker(value: unknown): Worker | null {
  const worker = raw(value);
  const id = text(worker.id);
  if (id === "") return null;
  return {
    id,
    host: text(worker.host),
    pid: number(worker.pid),
    type: text(worker.type),
    concurrency: count(worker.concurrency),
    running: count(worker.running),
    queues: strings(worker.queues),
    seen_at: number(worker.seen_at),
  };
}

function parseThroughput(value: unknown): Throughput {
  const throughput = raw(value);
  const finished = list(throughput.finished, count);
  const failed = list(throughput.failed, count);
  const length = Math.max(finished.length, failed.length);
  // Both series end at `end`, so a shorter one lacks its oldest steps.
  const padded = (series: number[]) => [...Array<number>(length - series.length).fill(0), ...series];
  return {
    step: count(throughput.step) || 1,
    end: number(throughput.end),
    finished: padded(finished),
    failed: padded(failed),
  };
}

export function parseTaskRow(value: unknown): TaskRow | null {
  const row = raw(value);
  const id = text(row.id);
  const status = parseStatus(row.status);
  if (id === "" || status === null) return null;
  return {
    id,
    func: text(row.func),
    queue: text(row.queue),
    priority: number(row.priority),
    status,
    attempt: count(row.attempt),
    max_retries: count(row.max_retries),
    created_at: number(row.created_at),
    run_at: numberOrNull(row.run_at),
    started_at: numberOrNull(row.started_at),
    finished_at: numberOrNull(row.finished_at),
    error: textOrNull(row.error),
  };
}

function parseFilter(value: unknown): TaskFilter {
  if (!isRaw(value)) return noFilter;
  return { status: parseStatus(value.status), queue: textOrNull(value.queue), func: textOrNull(value.func) };
}

function parseTasks(value: unknown): TaskPage {
  const tasks = raw(value);
  return {
    rows: list(tasks.rows, parseTaskRow),
    filter: parseFilter(tasks.filter),
    page: Math.trunc(count(tasks.page)),
    has_next: tasks.has_next === true,
  };
}

function parseSchedule(value: unknown): Schedule | null {
  const schedule = raw(value);
  const id = text(schedule.id);
  if (id === "") return null;
  return {
    id,
    func: text(schedule.func),
    when: text(schedule.when),
    status: text(schedule.status),
    next_at: numberOrNull(schedule.next_at),
    runs: count(schedule.runs),
  };
}

export function parseEvent(value: unknown): TaskEvent | null {
  const event = raw(value);
  const type = text(event.event_type);
  const ts = numberOrNull(event.ts);
  if (type === "" || ts === null) return null;
  return {
    ts,
    event_type: type,
    task_id: text(event.task_id),
    func: text(event.func),
    queue: text(event.queue),
    worker: text(event.worker),
    duration: numberOrNull(event.duration),
  };
}

function parseProgress(value: unknown): Progress {
  const progress = raw(value);
  return {
    id: text(progress.id),
    title: text(progress.title),
    total: count(progress.total),
    counts: parseCounts(progress.counts),
    started_at: numberOrNull(progress.started_at),
    finished_at: numberOrNull(progress.finished_at),
    error: textOrNull(progress.error),
    traceback: textOrNull(progress.traceback),
    failed: list(progress.failed, parseTaskRow),
  };
}

const PARSERS: { [K in keyof Model]: (value: unknown) => Model[K] } = {
  now: number,
  app: parseApp,
  queues: (value) => list(value, parseQueue),
  totals: parseCounts,
  workers: (value) => list(value, parseWorker),
  throughput: parseThroughput,
  tasks: parseTasks,
  schedules: (value) => list(value, parseSchedule),
  events: (value) => list(value, parseEvent),
  progress: parseProgress,
};

/** Only the keys that are present (and not null): an update leaves the others as they are. */
export function parsePatch(value: unknown): Partial<Model> {
  const source = raw(value);
  const present = Object.entries(PARSERS).filter(([key]) => source[key] !== undefined && source[key] !== null);
  return Object.fromEntries(present.map(([key, parse]) => [key, parse(source[key])]));
}

export function parseMessage(value: unknown): KernelMessage | null {
  const message = raw(value);
  if (message.type === "update") {
    return { type: "update", seq: numberOrNull(message.seq), patch: parsePatch(message.patch) };
  }
  const id = text(message.id);
  if (message.type !== "reply" || id === "") return null;
  if (message.ok === true) return { type: "reply", id, ok: true, result: message.result };
  return { type: "reply", id, ok: false, error: text(message.error) || "the kernel reported an error" };
}

export function parseDetail(value: unknown): TaskDetail | null {
  const detail = raw(value);
  const row = parseTaskRow(detail.row);
  if (row === null) return null;
  return {
    row,
    args: text(detail.args),
    result: textOrNull(detail.result),
    error: textOrNull(detail.error),
    traceback: textOrNull(detail.traceback),
    events: list(detail.events, parseEvent),
    metadata: raw(detail.metadata),
  };
}
