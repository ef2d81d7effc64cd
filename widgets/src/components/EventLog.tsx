import { useSignal } from "@preact/signals";
import { formatAbsolute, formatClock, formatDuration, plural, shortId } from "../format";
import { memo } from "../memo";
import type { TaskEvent } from "../model";
import { usePage } from "../page";
import { EventMark } from "./EventMark";
import { Section } from "./Section";

const SHOWN = 100;
const FAMILIES = ["task", "schedule", "worker", "queue"] as const;

export function EventLog() {
  const { store } = usePage();
  const family = useSignal("");
  const query = useSignal("");
  const held = useSignal<TaskEvent[] | null>(null);
  const wanted = query.value.trim().toLowerCase();
  const events = (held.value ?? store.slices.events.value).filter(
    (event) => event.event_type.startsWith(family.value) && (wanted === "" || mentions(event, wanted)),
  );
  const newest = [...events].sort((a, b) => b.ts - a.ts).slice(0, SHOWN);
  return (
    <Section
      title="Events"
      class="oq-events"
      aside={
        <>
          <select
            class="oq-select"
            aria-label="Kind of event"
            value={family.value}
            onChange={(event) => {
              family.value = event.currentTarget.value;
            }}
          >
            <option value="">All events</option>
            {FAMILIES.map((name) => (
              <option key={name} value={`${name}.`}>
                {name}
              </option>
            ))}
          </select>
          <input
            class="oq-input"
            type="search"
            placeholder="Find…"
            aria-label="Find in events"
            value={query.value}
            onInput={(event) => {
              query.value = event.currentTarget.value;
            }}
          />
          <button
            type="button"
            class="oq-button"
            title="Keep the list as it is while you read"
            onClick={() => {
              held.value = held.value === null ? store.slices.events.peek() : null;
            }}
          >
            {held.value === null ? "Hold" : "Follow"}
          </button>
          <span class="oq-num">{plural(events.length, "event")}</span>
        </>
      }
    >
      {newest.length === 0 ? (
        <p class="oq-empty">{wanted || family.value ? "No event matches." : "Nothing has happened yet."}</p>
      ) : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrollable region must be reachable to be scrolled by keys
        <ol class="oq-event-list oq-scroll oq-scroll-tall" tabIndex={0} aria-label="Newest events">
          {newest.map((event) => (
            <EventItem
              key={`${event.ts} ${event.event_type} ${event.task_id || event.worker || event.queue}`}
              event={event}
            />
          ))}
        </ol>
      )}
    </Section>
  );
}

function mentions(event: TaskEvent, wanted: string): boolean {
  return [event.event_type, event.func, event.task_id, event.queue, event.worker].some((field) =>
    field.toLowerCase().includes(wanted),
  );
}

const EventItem = memo(({ event }: { event: TaskEvent }) => (
  <li class="oq-event">
    <time class="oq-num oq-muted" dateTime={new Date(event.ts).toISOString()} title={formatAbsolute(event.ts)}>
      {formatClock(event.ts)}
    </time>
    <EventMark type={event.event_type} />
    <span class="oq-event-type">{event.event_type}</span>
    <span class="oq-event-what oq-clip">
      <span class="oq-code">{event.func || event.queue}</span>
      {event.task_id !== "" && (
        <span class="oq-id" title={event.task_id}>
          {shortId(event.task_id)}
        </span>
      )}
    </span>
    <span class="oq-event-where oq-clip oq-muted" title={event.worker}>
      {event.worker}
    </span>
    <span class="oq-num oq-event-duration">
      {event.duration === null ? "" : formatDuration(event.duration * 1_000)}
    </span>
  </li>
));
