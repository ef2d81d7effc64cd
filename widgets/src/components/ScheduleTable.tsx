import { formatCount, plural } from "../format";
import { memo } from "../memo";
import type { Schedule } from "../model";
import { usePage } from "../page";
import { Ago } from "./Ago";
import { CommandButton } from "./CommandButton";
import { Glyph } from "./icons";
import { Section } from "./Section";

export function ScheduleTable() {
  const { store } = usePage();
  const schedules = store.slices.schedules.value;
  return (
    <Section title="Schedules" class="oq-schedules" aside={plural(schedules.length, "schedule")}>
      {schedules.length === 0 ? (
        <p class="oq-empty">No schedules.</p>
      ) : (
        <div class="oq-scroll oq-scroll-tall">
          <table class="oq-table">
            <thead>
              <tr>
                <th scope="col">Task</th>
                <th scope="col">When</th>
                <th scope="col" class="oq-col-state">
                  Status
                </th>
                <th scope="col" class="oq-col-when">
                  Next
                </th>
                <th scope="col" class="oq-col-count">
                  Runs
                </th>
                <th scope="col" class="oq-col-action">
                  <span class="oq-hidden">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {schedules.map((schedule) => (
                <ScheduleRow key={schedule.id} schedule={schedule} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Section>
  );
}

const ScheduleRow = memo(({ schedule }: { schedule: Schedule }) => {
  const { id, func, when, status, next_at, runs } = schedule;
  const args = { schedule_id: id };
  return (
    <tr data-paused={status === "paused"}>
      <th scope="row" class="oq-clip" title={`${func}\n${id}`}>
        <span class="oq-code">{func}</span>
      </th>
      <td class="oq-clip" title={when}>
        {when}
      </td>
      <td class="oq-col-state">
        {status === "paused" ? (
          <span class="oq-tag">
            <Glyph name="pause" />
            paused
          </span>
        ) : (
          status
        )}
      </td>
      <td class="oq-col-when">
        <Ago at={next_at} />
      </td>
      <td class="oq-col-count">{formatCount(runs)}</td>
      <td class="oq-col-action">
        {status === "active" && (
          <CommandButton op="pause_schedule" args={args} label="Pause" name={`Pause ${func} ${id}`} />
        )}
        {status === "paused" && (
          <CommandButton op="resume_schedule" args={args} label="Resume" name={`Resume ${func} ${id}`} />
        )}
      </td>
    </tr>
  );
});
