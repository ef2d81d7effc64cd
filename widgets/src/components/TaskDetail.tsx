import { useComputed, useSignal, useSignalEffect } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { formatAbsolute, formatDuration } from "../format";
import type { TaskDetail as Detail, TaskEvent } from "../model";
import { usePage } from "../page";
import { parseDetail } from "../protocol";
import type { TaskQuery } from "../query";
import { isSettled, LABELS } from "../status";
import { Ago, Elapsed } from "./Ago";
import { EventMark } from "./EventMark";
import { Glyph, StatusIcon } from "./icons";
import { TaskAction } from "./TaskAction";
import { Traceback } from "./Traceback";

const REFRESH_EVERY = 3_000;

interface Props {
  id: string;
  query: TaskQuery;
  onClose: () => void;
}

export function TaskDetail({ id, query, onClose }: Props) {
  const heading = useRef<HTMLHeadingElement>(null);
  const { detail, error, load } = useDetail(id);
  useEffect(() => heading.current?.focus({ preventScroll: true }), []);
  return (
    <aside
      class="oq-detail"
      aria-label="Task details"
      onKeyDown={(event) => {
        if (event.key === "Escape") onClose();
      }}
    >
      <div class="oq-detail-head">
        <h4 class="oq-code" tabIndex={-1} ref={heading}>
          {detail?.row.func ?? "Task"}
        </h4>
        <span class="oq-spacer" />
        {detail && <TaskAction row={detail.row} />}
        <button type="button" class="oq-icon-button" aria-label="Close the details" onClick={onClose}>
          <Glyph name="close" />
        </button>
      </div>
      {error !== null && (
        <p class="oq-error-line" role="alert">
          {error}{" "}
          <button type="button" class="oq-button" onClick={load}>
            Try again
          </button>
        </p>
      )}
      {detail === null && error === null && <p class="oq-empty">Loading…</p>}
      {detail && <Body detail={detail} query={query} />}
    </aside>
  );
}

/** The task's details, asked for again when its row changes, and now and then while it is not settled. */
function useDetail(id: string) {
  const { store, commands, connection } = usePage();
  const detail = useSignal<Detail | null>(null);
  const error = useSignal<string | null>(null);
  const alive = useRef(true);

  const load = () => {
    error.value = null;
    commands.request("detail", { task_id: id }).then(
      (result) => {
        if (!alive.current) return;
        detail.value = parseDetail(result);
        if (detail.value === null) error.value = "the kernel sent no details";
      },
      (failure: Error) => {
        if (alive.current) error.value = failure.message;
      },
    );
  };

  const stamp = useComputed(() => {
    const row = store.slices.tasks.value.rows.find((candidate) => candidate.id === id);
    return row === undefined ? "" : `${row.status} ${row.attempt}`;
  });
  useSignalEffect(() => {
    void stamp.value;
    load();
  });
  useEffect(() => {
    const timer = setInterval(() => {
      const known = detail.peek();
      if (known && !isSettled(known.row.status) && connection.state.peek() === "live") load();
    }, REFRESH_EVERY);
    return () => {
      alive.current = false;
      clearInterval(timer);
    };
  }, []);
  return { detail: detail.value, error: error.value, load };
}

function Body({ detail, query }: { detail: Detail; query: TaskQuery }) {
  const { row, args, result, error, traceback, events, metadata } = detail;
  const extra = Object.keys(metadata).length > 0;
  return (
    <div class="oq-detail-body">
      <ul class="oq-facts">
        <Fact label="Status">
          <span class="oq-status">
            <StatusIcon status={row.status} />
            {LABELS[row.status]}
          </span>
        </Fact>
        <Fact label="Id">
          <span class="oq-code oq-whole">{row.id}</span>
        </Fact>
        <Fact label="Queue">{row.queue}</Fact>
        <Fact label="Priority">{row.priority}</Fact>
        <Fact label="Attempt">
          {row.attempt} of {row.max_retries + 1}
        </Fact>
        <Fact label="Created">
          <Ago at={row.created_at} />
        </Fact>
        {row.status === "pending" && (
          <Fact label="Due">
            <Ago at={row.run_at} />
          </Fact>
        )}
        {row.started_at !== null && (
          <Fact label="Started">
            <Ago at={row.started_at} />
          </Fact>
        )}
        {row.finished_at !== null && (
          <Fact label="Finished">
            <Ago at={row.finished_at} />
          </Fact>
        )}
        {row.started_at !== null && (
          <Fact label="Took">
            <Elapsed from={row.started_at} to={row.status === "running" ? null : row.finished_at} />
          </Fact>
        )}
      </ul>
      {query.current.filter.func !== row.func && (
        <button type="button" class="oq-link" onClick={() => query.narrow({ func: row.func })}>
          Show only {row.func}
        </button>
      )}
      {error !== null && <p class="oq-error-line">{error}</p>}
      {traceback !== null && <Traceback text={traceback} summary="Traceback" open />}
      {args !== "" && <Block title="Arguments" text={args} />}
      {result !== null && <Block title="Result" text={result} />}
      {extra && <Block title="Metadata" text={JSON.stringify(metadata, null, 2)} />}
      {events.length > 0 && <History events={events} />}
    </div>
  );
}

function Fact({ label, children }: { label: string; children: ComponentChildren }) {
  return (
    <li>
      <span class="oq-fact-label">{label}</span>
      {children}
    </li>
  );
}

function Block({ title, text }: { title: string; text: string }) {
  return (
    <div class="oq-block">
      <h5>{title}</h5>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrollable region must be reachable to be scrolled by keys */}
      <pre class="oq-pre" tabIndex={0}>
        {text}
      </pre>
    </div>
  );
}

function History({ events }: { events: TaskEvent[] }) {
  return (
    <div class="oq-block">
      <h5>Events</h5>
      <ol class="oq-history">
        {events.map((event) => (
          <li key={`${event.ts} ${event.event_type}`}>
            <EventMark type={event.event_type} />
            <span>{event.event_type.replace(/^task\./, "")}</span>
            <span class="oq-muted oq-clip">{event.worker}</span>
            <span class="oq-num oq-muted">{event.duration === null ? "" : formatDuration(event.duration * 1_000)}</span>
            <span class="oq-num oq-muted" title={formatAbsolute(event.ts)}>
              <Ago at={event.ts} />
            </span>
          </li>
        ))}
      </ol>
    </div>
  );
}
