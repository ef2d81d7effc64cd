import { useComputed } from "@preact/signals";
import { type Args, commandKey } from "../commands";
import { usePage } from "../page";
import type { Op } from "../protocol";

interface Props {
  op: Op;
  args: Args;
  label: string;
  /** What a screen reader says: the label alone does not tell which row it acts on. */
  name: string;
}

export function CommandButton({ op, args, label, name }: Props) {
  const { commands, store } = usePage();
  const key = commandKey(op, args);
  const state = useComputed(() => commands.states.value.get(key)).value;
  const pending = state?.phase === "pending";
  const closed = store.slices.app.value.closed_at !== null;
  const error = state?.phase === "error" ? state.message : null;
  return (
    <button
      type="button"
      class="oq-button"
      data-phase={state?.phase}
      aria-label={name}
      aria-busy={pending}
      aria-disabled={pending}
      disabled={closed}
      title={error ?? undefined}
      onClick={(event) => {
        event.stopPropagation();
        commands.act(op, args);
      }}
    >
      {error !== null && <span aria-hidden="true">! </span>}
      {label}
    </button>
  );
}
