import { percent, plural } from "../format";
import { memo } from "../memo";
import type { Worker } from "../model";
import { usePage } from "../page";
import { Ago } from "./Ago";
import { Section } from "./Section";

export function Workers() {
  const { store } = usePage();
  const workers = store.slices.workers.value;
  return (
    <Section title="Workers" class="oq-workers" aside={plural(workers.length, "worker")}>
      {workers.length === 0 ? (
        <p class="oq-empty">
          No worker is running. <span class="oq-code">%omniq start</span> starts some.
        </p>
      ) : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrollable region must be reachable to be scrolled by keys
        <section class="oq-scroll" tabIndex={0} aria-label="Running workers">
          <table class="oq-table">
            <thead>
              <tr>
                <th scope="col">Worker</th>
                <th scope="col" class="oq-col-type">
                  Type
                </th>
                <th scope="col" class="oq-col-slots">
                  Slots
                </th>
                <th scope="col" class="oq-col-when">
                  Seen
                </th>
              </tr>
            </thead>
            <tbody>
              {workers.map((worker) => (
                <WorkerRow key={worker.id} worker={worker} />
              ))}
            </tbody>
          </table>
        </section>
      )}
    </Section>
  );
}

const WorkerRow = memo(({ worker }: { worker: Worker }) => {
  const { id, host, pid, type, concurrency, running, queues, seen_at } = worker;
  return (
    <tr>
      <th scope="row" class="oq-clip" title={`${id}\nqueues: ${queues.join(", ") || "all"}`}>
        <span class="oq-code">{host || id}</span>
        {pid > 0 && <span class="oq-id">{pid}</span>}
        <span class="oq-serves">{queues.join(", ")}</span>
      </th>
      <td class="oq-col-type oq-clip">{type.replaceAll("_", " ")}</td>
      <td class="oq-col-slots">
        <span class="oq-slots">
          <span class="oq-meter" aria-hidden="true">
            <span style={{ width: `${percent(running, concurrency)}%` }} />
          </span>
          <span class="oq-num">
            {running}/{concurrency}
          </span>
        </span>
      </td>
      <td class="oq-col-when">
        <Ago at={seen_at} />
      </td>
    </tr>
  );
});
