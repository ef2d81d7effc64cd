import { shortId } from "../format";
import type { TaskRow } from "../model";

export function TaskName({ row }: { row: TaskRow }) {
  return (
    <span class="oq-task-name">
      <span class="oq-code">{row.func}</span>
      <span class="oq-id" title={row.id}>
        {shortId(row.id)}
      </span>
    </span>
  );
}
