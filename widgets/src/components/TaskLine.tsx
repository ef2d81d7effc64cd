import { shortId } from "../format";
import { memo } from "../memo";
import type { Status, TaskRow } from "../model";
import { LABELS, momentOf } from "../status";
import { Ago, Elapsed } from "./Ago";
import { StatusIcon } from "./icons";
import { TaskAction } from "./TaskAction";

interface Props {
  row: TaskRow;
  open: boolean;
  onOpen: (id: string, from: HTMLElement) => void;
}

export const TaskLine = memo(({ row, open, onOpen }: Props) => {
  const { id, func, queue, priority, status, attempt, max_retries, started_at, finished_at, error } = row;
  return (
    <tr
      class="oq-task"
      data-open={open}
      onClick={(event) => {
        const button = event.currentTarget.querySelector<HTMLElement>(".oq-task-open");
        if (button !== null) onOpen(id, button);
      }}
    >
      <State status={status} />
      <th scope="row" class="oq-clip">
        <button type="button" class="oq-task-open oq-task-name" aria-expanded={open} title={`${func}\n${id}`}>
          <span class="oq-code">{func}</span>
          <span class="oq-id">{shortId(id)}</span>
        </button>
        {error !== null && (
          <span class="oq-task-error" title={error}>
            {error}
          </span>
        )}
      </th>
      <Facts queue={queue} priority={priority} attempt={attempt} attempts={max_retries + 1} />
      <td class="oq-col-when">
        <Ago at={momentOf(row)} />
      </td>
      <td class="oq-col-took">
        <Elapsed from={started_at} to={status === "running" ? null : (finished_at ?? started_at)} />
      </td>
      <td class="oq-col-action">
        <TaskAction row={row} />
      </td>
    </tr>
  );
});

// What a row's next task mostly shares with the one before is left alone when the row is filled anew.

const State = memo(({ status }: { status: Status }) => (
  <td class="oq-col-status">
    <span class="oq-status">
      <StatusIcon status={status} />
      <span class="oq-status-word">{LABELS[status]}</span>
    </span>
  </td>
));

interface FactsProps {
  queue: string;
  priority: number;
  attempt: number;
  attempts: number;
}

const Facts = memo(({ queue, priority, attempt, attempts }: FactsProps) => (
  <>
    <td class="oq-col-queue oq-clip" title={queue}>
      {queue}
    </td>
    <td class="oq-col-small" data-zero={priority === 0}>
      {priority}
    </td>
    <td class="oq-col-small" data-zero={attempt <= 1}>
      {attempt}/{attempts}
    </td>
  </>
));
