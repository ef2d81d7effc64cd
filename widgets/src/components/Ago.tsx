import { useComputed, useSignal } from "@preact/signals";
import { formatAbsolute, formatDuration, formatRelative, NONE } from "../format";
import { usePage } from "../page";

/** "3 s ago", ticking by itself: the text node follows the clock without rendering anything else. */
export function Ago({ at }: { at: number | null }) {
  const { clock } = usePage();
  const moment = useSignal(at);
  moment.value = at;
  const label = useComputed(() => formatRelative(moment.value, clock.now.value));
  if (at === null || at <= 0) return <span class="oq-muted">{NONE}</span>;
  return (
    <time dateTime={new Date(at).toISOString()} title={formatAbsolute(at)}>
      {label}
    </time>
  );
}

/** How long something took, or has taken so far while `to` is null. */
export function Elapsed({ from, to }: { from: number | null; to: number | null }) {
  const { present } = usePage();
  const span = useSignal<readonly [number | null, number | null]>([from, to]);
  if (span.peek()[0] !== from || span.peek()[1] !== to) span.value = [from, to];
  const label = useComputed(() => {
    const [start, end] = span.value;
    return start === null ? NONE : formatDuration(Math.max(0, (end ?? present.value) - start));
  });
  return <span class="oq-num">{label}</span>;
}
