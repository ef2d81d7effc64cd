/** Pure: numbers and times as text. A null or a time that cannot be is an en dash, never "NaN". */

export const NONE = "–";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export function formatCount(count: number): string {
  return grouped.format(count);
}

/** Fits a fixed column: 9,999 stays exact, 12,345 becomes 12.3K. */
export function formatCompact(count: number): string {
  return count < 10_000 ? grouped.format(count) : short.format(count);
}

export function formatRate(perSecond: number): string {
  if (perSecond <= 0) return "0/s";
  if (perSecond >= 10) return `${formatCompact(Math.round(perSecond))}/s`;
  if (perSecond >= 0.1) return `${perSecond.toFixed(1)}/s`;
  const perMinute = perSecond * 60;
  return perMinute >= 0.1 ? `${perMinute.toFixed(1)}/min` : `${(perMinute * 60).toFixed(1)}/h`;
}

/** A length of time in milliseconds: 85 ms, 3.2 s, 4 min 05 s, 2 h 10 min, 3 d 4 h. */
export function formatDuration(ms: number | null): string {
  if (ms === null || !Number.isFinite(ms) || ms < 0) return NONE;
  if (ms < SECOND) return `${Math.round(ms)} ms`;
  if (ms < 9_950) return `${(ms / SECOND).toFixed(1)} s`;
  const seconds = Math.round(ms / SECOND);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${pad(seconds % 60)} s`;
  const minutes = Math.round(ms / MINUTE);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`;
  const hours = Math.round(ms / HOUR);
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function formatTimeLeft(ms: number): string {
  return ms < SECOND ? "less than 1 s" : `about ${coarse(ms)}`;
}

/** One unit, whole numbers: 3 s, 5 min, 2 h, 4 d. */
function coarse(ms: number): string {
  if (ms < MINUTE) return `${Math.floor(ms / SECOND)} s`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} min`;
  if (ms < 2 * DAY) return `${Math.floor(ms / HOUR)} h`;
  return `${Math.floor(ms / DAY)} d`;
}

export function formatRelative(at: number | null, now: number): string {
  if (at === null || at <= 0) return NONE;
  const past = now - at;
  if (Math.abs(past) < SECOND) return "now";
  return past > 0 ? `${coarse(past)} ago` : `in ${coarse(-past)}`;
}

/** Local date and time with its zone, for titles. */
export function formatAbsolute(at: number): string {
  const date = new Date(at);
  const zone = -date.getTimezoneOffset();
  const offset = `${zone < 0 ? "-" : "+"}${pad(Math.floor(Math.abs(zone) / 60))}:${pad(Math.abs(zone) % 60)}`;
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  return `${day} ${formatClock(at)} ${offset}`;
}

export function formatClock(at: number): string {
  const date = new Date(at);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map(pad).join(":");
}

/** Time-ordered ids share their beginning with their neighbours, so the end tells them apart. */
export function shortId(id: string): string {
  return id.length <= 10 ? id : `…${id.slice(-8)}`;
}

export function percent(part: number, whole: number): number {
  return whole <= 0 ? 0 : Math.min(100, Math.max(0, (part / whole) * 100));
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

function pad(value: number): string {
  return String(value).padStart(2, "0");
}
