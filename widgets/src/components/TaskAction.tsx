import type { TaskRow } from "../model";
import { isRetriable, isSettled } from "../status";
import { CommandButton } from "./CommandButton";

/** What can be done about a task in its state: stop it while it is not settled, run it again when it did not succeed. */
export function TaskAction({ row }: { row: TaskRow }) {
  const args = { task_id: row.id };
  const name = `${row.func} ${row.id}`;
  if (!isSettled(row.status)) return <CommandButton op="cancel" args={args} label="Cancel" name={`Cancel ${name}`} />;
  if (isRetriable(row.status)) return <CommandButton op="retry" args={args} label="Retry" name={`Retry ${name}`} />;
  return null;
}
