import type { Status, TaskRow } from "../model";
import { isRetriable, isSettled } from "../status";
import { CommandButton } from "./CommandButton";

/** What can be done about a task in its state: stop it while it is not settled, run it again when it did not succeed. */
export function TaskAction({ row }: { row: TaskRow }) {
  const action = actionIn(row.status);
  if (action === null) return null;
  const { op, label } = action;
  // Rows are filled anew with other tasks; a button that is pressed or has the focus must not become another task's.
  const key = `${op} ${row.id}`;
  return (
    <CommandButton key={key} op={op} args={{ task_id: row.id }} label={label} name={`${label} ${row.func} ${row.id}`} />
  );
}

function actionIn(status: Status) {
  if (!isSettled(status)) return { op: "cancel", label: "Cancel" } as const;
  return isRetriable(status) ? ({ op: "retry", label: "Retry" } as const) : null;
}
