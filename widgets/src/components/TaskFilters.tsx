import { formatCompact, formatCount } from "../format";
import { type Counts, STATUSES, type Status } from "../model";
import { usePage } from "../page";
import type { TaskQuery } from "../query";
import { LABELS, sum } from "../status";
import { Glyph, StatusIcon } from "./icons";

export function TaskFilters({ query }: { query: TaskQuery }) {
  const { store } = usePage();
  const { filter } = query.current;
  const queues = store.slices.queues.value;
  const counts = queues.find((queue) => queue.name === filter.queue)?.counts ?? store.slices.totals.value;
  const names = queues.map((queue) => queue.name);
  if (filter.queue !== null && !names.includes(filter.queue)) names.push(filter.queue);
  return (
    <div class="oq-filters">
      <StatusTabs counts={counts} chosen={filter.status} onChoose={(status) => query.narrow({ status })} />
      <select
        class="oq-select oq-status-select"
        aria-label="Status"
        value={filter.status ?? ""}
        onChange={(event) => query.narrow({ status: (event.currentTarget.value || null) as Status | null })}
      >
        <option value="">All states ({formatCompact(sum(counts))})</option>
        {STATUSES.map((status) => (
          <option key={status} value={status}>
            {LABELS[status]} ({formatCompact(counts[status])})
          </option>
        ))}
      </select>
      <select
        class="oq-select"
        aria-label="Queue"
        value={filter.queue ?? ""}
        onChange={(event) => query.narrow({ queue: event.currentTarget.value || null })}
      >
        <option value="">All queues</option>
        {names.map((name) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
      {filter.func !== null && (
        <button
          type="button"
          class="oq-chip"
          aria-label={`Show every function, not only ${filter.func}`}
          onClick={() => query.narrow({ func: null })}
        >
          <span class="oq-code">{filter.func}</span>
          <Glyph name="close" />
        </button>
      )}
    </div>
  );
}

interface TabsProps {
  counts: Counts;
  chosen: Status | null;
  onChoose: (status: Status | null) => void;
}

function StatusTabs({ counts, chosen, onChoose }: TabsProps) {
  return (
    <fieldset class="oq-tabs">
      <legend class="oq-hidden">Show tasks in state</legend>
      <Tab label="All" count={sum(counts)} pressed={chosen === null} onClick={() => onChoose(null)} />
      {STATUSES.map((status) => (
        <Tab
          key={status}
          status={status}
          label={LABELS[status]}
          count={counts[status]}
          pressed={chosen === status}
          onClick={() => onChoose(status)}
        />
      ))}
    </fieldset>
  );
}

interface TabProps {
  label: string;
  count: number;
  pressed: boolean;
  onClick: () => void;
  status?: Status;
}

function Tab({ label, count, pressed, onClick, status }: TabProps) {
  return (
    <button
      type="button"
      class="oq-tab"
      aria-pressed={pressed}
      aria-label={`${label}: ${formatCount(count)}`}
      title={label}
      data-zero={count === 0}
      onClick={onClick}
    >
      {status && <StatusIcon status={status} />}
      <span>{label}</span>
      <span class="oq-tab-count">{formatCompact(count)}</span>
    </button>
  );
}
