import { type Signal, useComputed, useSignal } from "@preact/signals";
import { bars, ceilingOf, HEIGHT, recentRate } from "../chart";
import { formatClock, formatCount, formatDuration, formatRate } from "../format";
import type { Throughput as Series } from "../model";
import { usePage } from "../page";
import { Section } from "./Section";

export function Throughput() {
  const { store } = usePage();
  const { throughput } = store.slices;
  const picked = useSignal<number | null>(null);
  const steps = throughput.value.finished.length;
  return (
    <Section title="Throughput" class="oq-throughput" aside={<Readout series={throughput} picked={picked} />}>
      {steps > 0 && <Plot series={throughput} picked={picked} />}
    </Section>
  );
}

interface Props {
  series: Signal<Series>;
  picked: Signal<number | null>;
}

function describe({ step, end, finished, failed }: Series, index: number): string {
  const at = end - (finished.length - 1 - index) * step * 1_000;
  return `${formatClock(at)} · ${formatCount(finished[index] ?? 0)} finished · ${formatCount(failed[index] ?? 0)} failed`;
}

function Readout({ series, picked }: Props) {
  const label = useComputed(() =>
    picked.value === null ? `${formatRate(recentRate(series.value))} now` : describe(series.value, picked.value),
  );
  return (
    <>
      <span class="oq-key oq-is-succeeded" data-hide={picked.value !== null}>
        finished
      </span>
      <span class="oq-key oq-is-failed" data-hide={picked.value !== null}>
        failed
      </span>
      <span class="oq-num">{label}</span>
    </>
  );
}

function Plot({ series, picked }: Props) {
  const { value } = series;
  const steps = value.finished.length;
  const ceiling = ceilingOf(value);
  const shapes = bars(value, ceiling);
  const quiet = shapes.finished === "" && shapes.failed === "";
  const index = picked.value;
  const pick = (next: number | null) => {
    picked.value = next === null ? null : Math.min(steps - 1, Math.max(0, next));
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -steps, End: steps }[event.key];
    if (event.key === "Escape") pick(null);
    if (move === undefined) return;
    event.preventDefault();
    pick((index ?? steps - 1) + move);
  };
  const onPointerMove = (event: PointerEvent & { currentTarget: HTMLElement }) => {
    const box = event.currentTarget.getBoundingClientRect();
    pick(Math.floor(((event.clientX - box.left) / box.width) * steps));
  };
  return (
    <div class="oq-chart">
      <div
        class="oq-plot"
        role="slider"
        tabIndex={0}
        aria-label="Throughput over time: arrow keys read single steps"
        aria-valuemin={0}
        aria-valuemax={steps - 1}
        aria-valuenow={index ?? steps - 1}
        aria-valuetext={describe(value, index ?? steps - 1)}
        onKeyDown={onKeyDown}
        onPointerMove={onPointerMove}
        onPointerLeave={() => pick(null)}
        onBlur={() => pick(null)}
      >
        <svg viewBox={`0 0 ${steps} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
          {index !== null && <rect class="oq-picked" x={index} y={0} width={1} height={HEIGHT} />}
          {!quiet && <path class="oq-grid" d={`M0 0H${steps}M0 ${HEIGHT / 2}H${steps}`} />}
          <path class="oq-bars oq-is-succeeded" d={shapes.finished} />
          <path class="oq-bars oq-is-failed" d={shapes.failed} />
        </svg>
        {quiet && <span class="oq-quiet">Nothing finished in this time</span>}
        <svg class="oq-marks" viewBox={`0 0 ${steps} 4`} preserveAspectRatio="none" aria-hidden="true">
          <path class="oq-bars oq-is-failed" d={shapes.marks} />
        </svg>
      </div>
      <div class="oq-axis" aria-hidden="true">
        <span>{quiet ? "" : formatRate(ceiling / value.step)}</span>
        <span>0</span>
      </div>
      <div class="oq-times" aria-hidden="true">
        <span>{formatDuration((steps - 1) * value.step * 1_000)} ago</span>
        <span>now</span>
      </div>
    </div>
  );
}
