import type { ComponentChild } from "preact";
import { memo } from "../memo";
import type { Status } from "../model";

// Made anew for each use: Preact notes in an element where it was drawn last, and one that is kept would keep that part of
// the page alive, with all that it replaced.

const ring = () => <circle cx="8" cy="8" r="6" />;

/** A shape of its own for each state, so that nothing is told by colour alone. */
const SHAPES: Record<Status, () => ComponentChild> = {
  blocked: () => [ring(), <path d="M6.5 6v4M9.5 6v4" />],
  pending: () => <circle cx="8" cy="8" r="6" stroke-dasharray="2.4 2.3" />,
  running: () => [
    <circle cx="8" cy="8" r="6" class="oq-icon-track" />,
    <path d="M8 2a6 6 0 0 1 6 6" />,
    <circle cx="8" cy="8" r="2" class="oq-icon-fill" />,
  ],
  succeeded: () => [
    <circle cx="8" cy="8" r="6.7" class="oq-icon-fill" />,
    <path d="m5 8.3 2.1 2.1L11 6" class="oq-icon-cut" />,
  ],
  failed: () => [
    <circle cx="8" cy="8" r="6.7" class="oq-icon-fill" />,
    <path d="m5.7 5.7 4.6 4.6m0-4.6-4.6 4.6" class="oq-icon-cut" />,
  ],
  cancelled: () => [ring(), <path d="m3.8 12.2 8.4-8.4" />],
  expired: () => [ring(), <path d="M8 4.8V8l2.2 1.6" />],
  skipped: () => [ring(), <path d="m6.3 5.5 2.5 2.5-2.5 2.5M10.2 5.6v4.8" />],
};

export const StatusIcon = memo(({ status }: { status: Status }) => (
  <svg class={`oq-icon oq-is-${status}`} viewBox="0 0 16 16" aria-hidden="true">
    {SHAPES[status]()}
  </svg>
));

const GLYPHS = {
  close: () => <path d="m4 4 8 8m0-8-8 8" />,
  left: () => <path d="M10 3 5 8l5 5" />,
  right: () => <path d="m6 3 5 5-5 5" />,
  pause: () => <path d="M5.5 4v8M10.5 4v8" />,
  alert: () => [<path d="M8 2 1.5 13.5h13Z" />, <path d="M8 6.5v3.2M8 11.6v.1" />],
} satisfies Record<string, () => ComponentChild>;

export function Glyph({ name }: { name: keyof typeof GLYPHS }) {
  return (
    <svg class="oq-icon" viewBox="0 0 16 16" aria-hidden="true">
      {GLYPHS[name]()}
    </svg>
  );
}
