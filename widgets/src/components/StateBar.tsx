import { percent } from "../format";
import { memo } from "../memo";
import type { Counts } from "../model";
import { BAR_ORDER } from "../status";

interface Props {
  counts: Counts;
  total: number;
}

/** All states side by side in one bar. The numbers beside it say the same, so it is hidden from screen readers. */
export const StateBar = memo(({ counts, total }: Props) => (
  <div class="oq-bar" aria-hidden="true">
    {BAR_ORDER.map((status) => (
      <span
        key={status}
        class={`oq-bar-part oq-is-${status}`}
        style={{ width: `${percent(counts[status], total)}%` }}
        data-some={counts[status] > 0}
      />
    ))}
  </div>
));
