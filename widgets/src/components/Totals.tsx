import { recentRate } from "../chart";
import { formatCompact, formatCount, formatRate, plural } from "../format";
import type { Status } from "../model";
import { usePage } from "../page";
import { StatusIcon } from "./icons";

export function Totals() {
  const { store } = usePage();
  const counts = store.slices.totals.value;
  const slots = store.slices.workers.value.reduce((total, worker) => total + worker.concurrency, 0);
  return (
    <ul class="oq-totals">
      <Total
        status="pending"
        label="Waiting"
        count={counts.pending + counts.blocked}
        note={counts.blocked > 0 ? `${formatCompact(counts.blocked)} blocked` : "ready or due later"}
      />
      <Total
        status="running"
        label="Running"
        count={counts.running}
        note={slots > 0 ? `of ${plural(slots, "slot")}` : "no workers"}
      />
      <Total
        status="succeeded"
        label="Succeeded"
        count={counts.succeeded}
        note={`${formatRate(recentRate(store.slices.throughput.value))} now`}
      />
      <Total
        status="failed"
        label="Failed"
        count={counts.failed}
        note={counts.failed > 0 ? "in the dead letters" : "none"}
      />
    </ul>
  );
}

function Total({ status, label, count, note }: { status: Status; label: string; count: number; note: string }) {
  return (
    <li class="oq-total" data-zero={count === 0} data-status={status}>
      <span class="oq-total-label">
        <StatusIcon status={status} /> {label}
      </span>
      <b class="oq-total-count" title={formatCount(count)}>
        {formatCompact(count)}
      </b>
      <span class="oq-total-note">{note}</span>
    </li>
  );
}
