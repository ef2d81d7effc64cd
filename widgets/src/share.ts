/**
 * Keeps the old object wherever the new one says the same, so that identity means equality further down: a row whose
 * data did not change is the same object and its component is not rendered again.
 */
export function share<T>(old: T, next: T): T {
  if (Object.is(old, next)) return old;
  if (Array.isArray(old) && Array.isArray(next)) return shareList(old, next) as T;
  if (isPlain(old) && isPlain(next)) return shareRecord(old, next) as T;
  return next;
}

type Plain = Record<string, unknown>;

function isPlain(value: unknown): value is Plain {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function identity(item: unknown): unknown {
  if (!isPlain(item)) return undefined;
  return item.id ?? item.name ?? (item.ts === undefined ? undefined : `${item.ts} ${item.event_type} ${item.task_id}`);
}

function shareList(old: unknown[], next: unknown[]): unknown[] {
  const known = new Map(old.map((item, index) => [identity(item) ?? index, item]));
  const shared = next.map((item, index) => share(known.get(identity(item) ?? index), item));
  const same = shared.length === old.length && shared.every((item, index) => Object.is(item, old[index]));
  return same ? old : shared;
}

function shareRecord(old: Plain, next: Plain): Plain {
  const keys = Object.keys(next);
  const shared: Plain = {};
  let same = keys.length === Object.keys(old).length;
  for (const key of keys) {
    shared[key] = share(old[key], next[key]);
    same &&= Object.is(shared[key], old[key]);
  }
  return same ? old : shared;
}
