export type Slots = ReadonlyMap<string, number>;

/**
 * Which elements rows are drawn in. A row that stays keeps its own, wherever it moves; a new row takes over those of a
 * row that went. Under a flood of tasks every look shows other rows: to fill elements costs a fraction of making them.
 */
export function reuse(before: Slots, ids: readonly string[]): Slots {
  const listed = new Set(ids);
  const free = [...before].filter(([id]) => !listed.has(id)).map(([, slot]) => slot);
  let unused = Math.max(-1, ...before.values()) + 1;
  const take = () => free.shift() ?? unused++;
  return new Map(ids.map((id) => [id, before.get(id) ?? take()]));
}
