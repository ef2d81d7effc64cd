import { plural } from "../format";
import { usePage } from "../page";
import { sum } from "../status";
import { ConnectionBadge } from "./ConnectionBadge";
import { Glyph } from "./icons";

export function Header() {
  const { store } = usePage();
  const { app, totals } = store.slices;
  const { name, store: url, version, error } = app.value;
  return (
    <header class="oq-header">
      <svg class="oq-logo" viewBox="0 0 16 16" aria-hidden="true">
        <path d="M3 4.5h7M3 8h10M3 11.5h5" />
      </svg>
      <h2 class="oq-title" title={version && `OmniQ ${version}`}>
        {name || "OmniQ"}
      </h2>
      <span class="oq-store" title={url}>
        {url}
      </span>
      <span class="oq-header-total oq-num">{plural(sum(totals.value), "task")}</span>
      <ConnectionBadge />
      {error !== null && (
        <p class="oq-banner" role="alert">
          <Glyph name="alert" /> {error}
        </p>
      )}
    </header>
  );
}
