import { formatCompact, formatCount, plural } from "../format";
import { memo } from "../memo";
import type { Queue, Status } from "../model";
import { usePage } from "../page";
import { LABELS, sum } from "../status";
import { CommandButton } from "./CommandButton";
import { Glyph, StatusIcon } from "./icons";
import { Section } from "./Section";
import { StateBar } from "./StateBar";

const COLUMNS: readonly Status[] = ["pending", "running", "succeeded", "failed"];

export function QueueTable() {
  const { store } = usePage();
  const queues = store.slices.queues.value;
  return (
    <Section title="Queues" class="oq-queues" aside={plural(queues.length, "queue")}>
      {queues.length === 0 ? (
        <p class="oq-empty">No queue holds a task yet.</p>
      ) : (
        <div class="oq-scroll">
          <table class="oq-table">
            <thead>
              <tr>
                <th scope="col">Queue</th>
                <th scope="col" class="oq-col-bar">
                  <span class="oq-hidden">All states</span>
                </th>
                {COLUMNS.map((status) => (
                  <th key={status} scope="col" class="oq-col-count">
                    <StatusIcon status={status} />
                    <span class="oq-col-label">{LABELS[status]}</span>
                  </th>
                ))}
                <th scope="col" class="oq-col-action">
                  <span class="oq-hidden">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {queues.map((queue) => (
                <QueueRow key={queue.name} queue={queue} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Section>
  );
}

const QueueRow = memo(({ queue }: { queue: Queue }) => {
  const { name, paused, counts } = queue;
  const total = sum(counts);
  return (
    <tr data-paused={paused}>
      <th scope="row" class="oq-clip" title={name}>
        <span class="oq-code">{name}</span>
        {paused && (
          <span class="oq-tag">
            <Glyph name="pause" />
            paused
          </span>
        )}
      </th>
      <td class="oq-col-bar" title={`${plural(total, "task")} in all`}>
        <StateBar counts={counts} total={total} />
      </td>
      {COLUMNS.map((status) => (
        <td key={status} class="oq-col-count" data-zero={counts[status] === 0} title={formatCount(counts[status])}>
          {formatCompact(counts[status])}
        </td>
      ))}
      <td class="oq-col-action">
        {paused ? (
          <CommandButton op="resume" args={{ queue: name }} label="Resume" name={`Resume queue ${name}`} />
        ) : (
          <CommandButton op="pause" args={{ queue: name }} label="Pause" name={`Pause queue ${name}`} />
        )}
      </td>
    </tr>
  );
});
