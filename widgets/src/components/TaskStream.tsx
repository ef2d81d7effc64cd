import { useComputed } from "@preact/signals";
import { formatClock, formatDuration } from "../format";
import { usePage } from "../page";
import { LABELS } from "../status";
import { layOut, type Run, type Stream } from "../stream";
import { Section } from "./Section";

const ROW = 9;
const WIDTH = 1_000;
const MIN_WIDTH = 2;

/** Which worker ran what, when: one bar for each attempt. The log below says the same in words. */
export function TaskStream() {
  const { store } = usePage();
  const stream = useComputed(() => layOut(store.slices.events.value)).value;
  if (stream.runs.length === 0) return null;
  return (
    <Section title="Task stream" class="oq-stream" aside={<Key span={stream.to - stream.from} />}>
      <div class="oq-stream-body">
        <ul class="oq-stream-workers">
          {stream.lanes.map(({ worker }, index) => (
            <li key={worker} title={worker} style={{ height: `${laneRows(stream, index) * ROW}px` }}>
              {worker}
            </li>
          ))}
        </ul>
        <svg
          class="oq-stream-plot"
          viewBox={`0 0 ${WIDTH} ${stream.rows * ROW}`}
          preserveAspectRatio="none"
          style={{ height: `${stream.rows * ROW}px` }}
          role="img"
          aria-label={`${stream.runs.length} attempts on ${stream.lanes.length} workers`}
        >
          {stream.lanes.map(({ worker, row }) => (
            <path key={worker} class="oq-grid" d={`M0 ${row * ROW}H${WIDTH}`} />
          ))}
          {stream.runs.map((run) => (
            <Bar key={run.key} run={run} stream={stream} />
          ))}
        </svg>
      </div>
      <div class="oq-times" aria-hidden="true">
        <span>{formatClock(stream.from)}</span>
        <span>{formatClock(stream.to)}</span>
      </div>
    </Section>
  );
}

function Key({ span }: { span: number }) {
  return (
    <>
      <span class="oq-key oq-is-succeeded">succeeded</span>
      <span class="oq-key oq-key-half oq-is-failed">failed</span>
      <span class="oq-key oq-key-half oq-is-cancelled">stopped</span>
      <span class="oq-num">{formatDuration(span)}</span>
    </>
  );
}

function laneRows({ lanes, rows }: Stream, index: number): number {
  return (lanes[index + 1]?.row ?? rows) - (lanes[index]?.row ?? 0);
}

function Bar({ run, stream }: { run: Run; stream: Stream }) {
  const scale = WIDTH / Math.max(1, stream.to - stream.from);
  const width = Math.max(MIN_WIDTH, (run.to - run.from) * scale);
  return (
    <rect
      class={`oq-run oq-is-${run.status}`}
      x={Math.min((run.from - stream.from) * scale, WIDTH - width)}
      y={run.lane * ROW + 1}
      width={width}
      height={run.status === "succeeded" ? ROW - 2 : ROW / 2}
    >
      <title>{`${run.event.func} · ${LABELS[run.status]} · ${formatDuration(run.to - run.from)} · ${run.event.task_id}`}</title>
    </rect>
  );
}
