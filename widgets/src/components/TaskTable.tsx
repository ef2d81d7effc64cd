import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import { plural } from "../format";
import { hold } from "../hold";
import type { TaskRow } from "../model";
import { usePage } from "../page";
import type { TaskQuery } from "../query";
import { Glyph } from "./icons";
import { TaskLine } from "./TaskLine";
import { useLines } from "./useLines";

interface Props {
  query: TaskQuery;
  opened: string | null;
  onOpen: (id: string, from: HTMLElement) => void;
}

/**
 * Preact's tree keeps the first drawing of what renders by itself in the list of its parent's children, and from there
 * rows that are filled anew would hold on to all drawings since. Between the two, this keeps none.
 */
export function TaskTable(props: Props) {
  return <Table {...props} />;
}

function Table({ query, opened, onOpen }: Props) {
  const { store } = usePage();
  const { rows, has_next } = store.slices.tasks.value;
  const { page, filter } = query.current;
  const holding = useSignal(false);
  const snapshot = useRef<{ of: string; rows: TaskRow[] } | null>(null);

  const listed = JSON.stringify([page, filter]);
  if (!holding.value || snapshot.current?.of !== listed) snapshot.current = { of: listed, rows };
  const shown = hold(snapshot.current.rows, rows);
  const lines = useLines(shown.rows);
  const filtered = filter.status !== null || filter.queue !== null || filter.func !== null;

  return (
    <div class="oq-tasks-list" aria-busy={query.pending}>
      <div class="oq-scroll oq-scroll-tall">
        <table class="oq-table oq-task-table">
          <thead>
            <tr>
              <th scope="col" class="oq-col-status">
                Status
              </th>
              <th scope="col">Task</th>
              <th scope="col" class="oq-col-queue">
                Queue
              </th>
              <th scope="col" class="oq-col-small" title="Priority: larger runs first">
                Prio
              </th>
              <th scope="col" class="oq-col-small" title="Attempt, of all that are allowed">
                Try
              </th>
              <th scope="col" class="oq-col-when">
                When
              </th>
              <th scope="col" class="oq-col-took">
                Took
              </th>
              <th scope="col" class="oq-col-action">
                <span class="oq-hidden">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody
            onPointerEnter={(event) => {
              holding.value = event.pointerType === "mouse";
            }}
            onPointerLeave={() => {
              holding.value = false;
            }}
            onFocusIn={(event) => {
              if ((event.target as Element).matches(":focus-visible")) holding.value = true;
            }}
            onFocusOut={() => {
              holding.value = false;
            }}
          >
            {lines.map(({ slot, row }) => (
              <TaskLine key={slot} row={row} open={row.id === opened} onOpen={onOpen} />
            ))}
          </tbody>
        </table>
        {shown.rows.length === 0 && (
          <p class="oq-empty">
            {filtered ? "No task matches this filter." : "No tasks yet. Enqueue one and it shows up here."}
          </p>
        )}
      </div>
      <div class="oq-pager">
        <span class="oq-muted">
          {shown.newer > 0 ? `Held while you point at it: ${plural(shown.newer, "newer task")}` : ""}
        </span>
        <span class="oq-spacer" />
        <Turn possible={page > 0} onTurn={() => query.turn(-1)}>
          <Glyph name="left" /> Previous
        </Turn>
        <span class="oq-num oq-page" role="status">
          Page {page + 1}
        </span>
        <Turn possible={has_next} onTurn={() => query.turn(1)}>
          Next <Glyph name="right" />
        </Turn>
      </div>
    </div>
  );
}

interface TurnProps {
  possible: boolean;
  onTurn: () => void;
  children: ComponentChildren;
}

/** A button of the pager. Were it `disabled` at the last page, it would lose the focus, and the reader his place. */
function Turn({ possible, onTurn, children }: TurnProps) {
  return (
    <button type="button" class="oq-button" aria-disabled={!possible} onClick={possible ? onTurn : undefined}>
      {children}
    </button>
  );
}
