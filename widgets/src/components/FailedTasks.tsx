import { formatCount } from "../format";
import { memo } from "../memo";
import type { TaskRow } from "../model";
import { CommandButton } from "./CommandButton";
import { TaskName } from "./TaskName";

export function FailedTasks({ rows, total }: { rows: TaskRow[]; total: number }) {
  return (
    <details class="oq-details">
      <summary>
        Failed tasks{" "}
        <span class="oq-muted">
          {rows.length < total ? `${formatCount(rows.length)} of ${formatCount(total)}` : formatCount(total)}
        </span>
      </summary>
      <ul class="oq-failed">
        {rows.map((row) => (
          <FailedTask key={row.id} row={row} />
        ))}
      </ul>
    </details>
  );
}

const FailedTask = memo(({ row }: { row: TaskRow }) => (
  <li>
    <TaskName row={row} />
    <span class="oq-failed-error" title={row.error ?? undefined}>
      {row.error}
    </span>
    <CommandButton op="retry" args={{ task_id: row.id }} label="Retry" name={`Retry ${row.func} ${row.id}`} />
  </li>
));
