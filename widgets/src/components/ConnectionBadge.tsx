import { formatRelative } from "../format";
import { usePage } from "../page";

const WORDS = { connecting: "Connecting", live: "Live", silent: "No contact", closed: "Closed" };

/** A dot of a different shape and a word, so that the state is readable without colour. */
export function ConnectionBadge() {
  const { store, connection, clock } = usePage();
  const { app, now } = store.slices;
  const closedAt = app.value.closed_at;
  const state = closedAt === null ? connection.state.value : "closed";
  // `now` is the kernel's clock in the newest update, or in the state that a reload found.
  const since = closedAt ?? (state === "silent" ? now.value : null);
  return (
    <span class="oq-connection" data-state={state}>
      <span class="oq-dot" aria-hidden="true" />
      <span role="status">{WORDS[state]}</span>
      {since !== null && since > 0 && <span class="oq-muted"> · {formatRelative(since, clock.now.value)}</span>}
    </span>
  );
}
