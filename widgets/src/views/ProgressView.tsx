import { useRef } from "preact/hooks";
import { CommandButton } from "../components/CommandButton";
import { ConnectionBadge } from "../components/ConnectionBadge";
import { FailedTasks } from "../components/FailedTasks";
import { StatusIcon } from "../components/icons";
import { StateBar } from "../components/StateBar";
import { Traceback } from "../components/Traceback";
import { formatCount, formatDuration, formatRate, formatTimeLeft, percent } from "../format";
import { type Progress, STATUSES, type Status } from "../model";
import { usePage } from "../page";
import { RateMeter, timeLeft } from "../rate";
import { LABELS, settled } from "../status";

const NOTHING = {};

/** The one state that describes the whole: trouble first, then activity. */
function overall({ counts, total }: Progress): Status {
  if (settled(counts) < total) return counts.running > 0 ? "running" : counts.pending > 0 ? "pending" : "blocked";
  const trouble = (["failed", "expired", "cancelled", "skipped"] as const).find((status) => counts[status] > 0);
  return trouble ?? "succeeded";
}

export function ProgressView() {
  const { store, connection } = usePage();
  const progress = store.slices.progress.value;
  const { counts, total } = progress;
  const done = settled(counts);
  const status = overall(progress);
  return (
    <div class="oq-progress">
      <div class="oq-progress-head">
        <StatusIcon status={status} />
        <h2 class="oq-title" title={progress.id}>
          {progress.title || progress.id}
        </h2>
        <span class="oq-progress-state" role="status">
          {LABELS[status]}
        </span>
        {total === 1 && <Pace progress={progress} done={done} />}
        {progress.finished_at === null && connection.state.value === "silent" && <ConnectionBadge />}
        <span class="oq-spacer" />
        {done < total && (
          <CommandButton op="cancel_all" args={NOTHING} label="Cancel" name={`Cancel ${progress.title}`} />
        )}
        {counts.failed > 0 && <RetryFailed progress={progress} />}
      </div>
      <div
        class="oq-progress-bar"
        role="progressbar"
        aria-label={progress.title}
        aria-valuemin={0}
        aria-valuemax={total}
        aria-valuenow={done}
        aria-valuetext={`${formatCount(done)} of ${formatCount(total)} done`}
      >
        <StateBar counts={counts} total={total} />
      </div>
      {total !== 1 && <Pace progress={progress} done={done} />}
      {total > 1 && <Legend progress={progress} />}
      {progress.error !== null && <p class="oq-error-line">{progress.error}</p>}
      {progress.traceback !== null && <Traceback text={progress.traceback} summary="Traceback" />}
      {total > 1 && progress.failed.length > 0 && <FailedTasks rows={progress.failed} total={counts.failed} />}
    </div>
  );
}

function RetryFailed({ progress }: { progress: Progress }) {
  const { title, total, counts } = progress;
  const label = total > 1 ? `Retry ${formatCount(counts.failed)} failed` : "Retry";
  // It begins with what is to be read on the button, for those who speak to it.
  const name = total > 1 ? `${label} of ${title}` : `${label} ${title}`;
  return <CommandButton op="retry_failed" args={NOTHING} label={label} name={name} />;
}

function Pace({ progress, done }: { progress: Progress; done: number }) {
  const { present } = usePage();
  const meter = useRef(new RateMeter()).current;
  const { total, started_at, finished_at } = progress;
  const now = finished_at ?? present.value;
  meter.sample(now, done);
  const rate = meter.perSecond(started_at);
  const left = finished_at === null ? timeLeft(total - done, rate) : null;
  const active = started_at !== null && finished_at === null;
  return (
    <p class="oq-pace">
      {total > 1 && (
        <span class="oq-pace-main">
          {formatCount(done)} of {formatCount(total)}
          <span class="oq-muted"> · {Math.floor(percent(done, total))}%</span>
        </span>
      )}
      <span>
        {started_at === null ? "not started" : `${active ? "for" : "took"} ${formatDuration(now - started_at)}`}
      </span>
      {total > 1 && active && <span>{formatRate(rate)}</span>}
      {total > 1 && left !== null && <span>{formatTimeLeft(left)} left</span>}
    </p>
  );
}

function Legend({ progress }: { progress: Progress }) {
  return (
    <ul class="oq-legend" aria-label="Tasks by state">
      {STATUSES.filter((status) => progress.counts[status] > 0).map((status) => (
        <li key={status}>
          <StatusIcon status={status} />
          <span>{LABELS[status]}</span>
          <b>{formatCount(progress.counts[status])}</b>
        </li>
      ))}
    </ul>
  );
}
