/** What the kernel tells a page, as PROTOCOL.md describes it. Times are epoch milliseconds of the kernel's clock. */

export const STATUSES = [
  "blocked",
  "pending",
  "running",
  "succeeded",
  "failed",
  "cancelled",
  "expired",
  "skipped",
] as const;
export type Status = (typeof STATUSES)[number];
export type Counts = Record<Status, number>;

export const VIEWS = ["dashboard", "queues", "schedules", "events", "progress"] as const;
export type ViewName = (typeof VIEWS)[number];

export interface AppInfo {
  name: string;
  store: string;
  version: string;
  error: string | null;
  closed_at: number | null;
}

export interface Queue {
  name: string;
  paused: boolean;
  counts: Counts;
}

export interface Worker {
  id: string;
  host: string;
  pid: number;
  type: string;
  concurrency: number;
  running: number;
  queues: string[];
  seen_at: number;
}

export interface Throughput {
  step: number;
  end: number;
  finished: number[];
  failed: number[];
}

export interface TaskRow {
  id: string;
  func: string;
  queue: string;
  priority: number;
  status: Status;
  attempt: number;
  max_retries: number;
  created_at: number;
  run_at: number | null;
  started_at: number | null;
  finished_at: number | null;
  error: string | null;
}

export interface TaskFilter {
  status: Status | null;
  queue: string | null;
  func: string | null;
}

export interface TaskPage {
  rows: TaskRow[];
  filter: TaskFilter;
  page: number;
  has_next: boolean;
}

export interface Schedule {
  id: string;
  func: string;
  when: string;
  status: string;
  next_at: number | null;
  runs: number;
}

export interface TaskEvent {
  ts: number;
  event_type: string;
  task_id: string;
  func: string;
  queue: string;
  worker: string;
  duration: number | null;
}

export interface Progress {
  id: string;
  title: string;
  total: number;
  counts: Counts;
  started_at: number | null;
  finished_at: number | null;
  error: string | null;
  traceback: string | null;
  failed: TaskRow[];
}

export interface Model {
  now: number;
  app: AppInfo;
  queues: Queue[];
  totals: Counts;
  workers: Worker[];
  throughput: Throughput;
  tasks: TaskPage;
  schedules: Schedule[];
  events: TaskEvent[];
  progress: Progress;
}

export interface TaskDetail {
  row: TaskRow;
  args: string;
  result: string | null;
  error: string | null;
  traceback: string | null;
  events: TaskEvent[];
  metadata: Record<string, unknown>;
}

export const noFilter: TaskFilter = { status: null, queue: null, func: null };

export function zeroCounts(): Counts {
  return Object.fromEntries(STATUSES.map((status) => [status, 0])) as Counts;
}

export function emptyModel(): Model {
  return {
    now: 0,
    app: { name: "", store: "", version: "", error: null, closed_at: null },
    queues: [],
    totals: zeroCounts(),
    workers: [],
    throughput: { step: 1, end: 0, finished: [], failed: [] },
    tasks: { rows: [], filter: noFilter, page: 0, has_next: false },
    schedules: [],
    events: [],
    progress: {
      id: "",
      title: "",
      total: 0,
      counts: zeroCounts(),
      started_at: null,
      finished_at: null,
      error: null,
      traceback: null,
      failed: [],
    },
  };
}
