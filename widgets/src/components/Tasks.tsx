import { useSignal } from "@preact/signals";
import { useCallback, useMemo, useRef } from "preact/hooks";
import { usePage } from "../page";
import { TaskQuery } from "../query";
import { Section } from "./Section";
import { TaskDetail } from "./TaskDetail";
import { TaskFilters } from "./TaskFilters";
import { TaskTable } from "./TaskTable";

export function Tasks() {
  const page = usePage();
  const query = useMemo(() => new TaskQuery(page), [page]);
  const opened = useSignal<string | null>(null);
  const opener = useRef<HTMLElement | null>(null);

  const open = useCallback((id: string, from: HTMLElement) => {
    opener.current = from;
    opened.value = opened.peek() === id ? null : id;
  }, []);
  const close = useCallback(() => {
    opened.value = null;
    if (opener.current?.isConnected) opener.current.focus();
  }, []);

  return (
    <Section title="Tasks" class="oq-tasks" aside={<TaskFilters query={query} />}>
      <div class="oq-tasks-body" data-detail={opened.value !== null}>
        <TaskTable query={query} opened={opened.value} onOpen={open} />
        {opened.value !== null && <TaskDetail key={opened.value} id={opened.value} query={query} onClose={close} />}
      </div>
    </Section>
  );
}
