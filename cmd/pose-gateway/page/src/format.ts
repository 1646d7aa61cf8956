/* Numbers as people read them. Everything takes undefined, NaN and negative numbers, and answers "–" to what cannot be said. */

export const UNKNOWN = "–";

function known(value: number | undefined): value is number {
  return value !== undefined && Number.isFinite(value) && value >= 0;
}

/** Bytes with decimal units: 1500 is "1.5 kB". */
export function bytes(value: number | undefined): string {
  if (!known(value)) return UNKNOWN;
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let k = 0;
  let rest = value;
  // 999.95 would be written as 1000.0.
  while (rest >= 999.95 && k < units.length - 1) {
    rest /= 1000;
    k++;
  }
  return k === 0 ? `${Math.round(rest)} B` : `${rest.toFixed(rest < 99.95 ? 1 : 0)} ${units[k]}`;
}

/** Seconds as "0.4 s", "42 s", "3 min 05 s", "2 h 10 min", "3 d 4 h". */
export function duration(seconds: number | undefined): string {
  if (!known(seconds)) return UNKNOWN;
  if (seconds < 9.95 && seconds !== Math.round(seconds)) return `${seconds.toFixed(1)} s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
  const m = Math.round(seconds / 60);
  if (m < 24 * 60) return `${Math.floor(m / 60)} h ${two(m % 60)} min`;
  const h = Math.round(seconds / 3600);
  return `${Math.floor(h / 24)} d ${h % 24} h`;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}

/** A place in a video, in seconds, as "0:03.25" or "1:02:03.25". */
export function timecode(seconds: number | undefined): string {
  if (!known(seconds)) return UNKNOWN;
  const hundredths = Math.round(seconds * 100);
  const s = Math.floor(hundredths / 100);
  const rest = `${two(s % 60)}.${two(hundredths % 100)}`;
  const m = Math.floor(s / 60);
  return m < 60 ? `${m}:${rest}` : `${Math.floor(m / 60)}:${two(m % 60)}:${rest}`;
}

/** A share 0..1 as "35%"; never 100% before it is whole, never 0% once it has begun. */
export function percent(share: number | undefined): string {
  if (!known(share)) return UNKNOWN;
  const p = Math.min(1, share) * 100;
  const whole = p >= 100 ? 100 : Math.min(99, p > 0 ? Math.max(1, Math.round(p)) : 0);
  return `${whole}%`;
}

/** Thousandths of frames per second as "2.6 fps". */
export function pace(milliFPS: number | undefined): string {
  if (!known(milliFPS) || milliFPS === 0) return UNKNOWN;
  const fps = milliFPS / 1000;
  return `${fps.toFixed(fps < 10 ? 2 : fps < 100 ? 1 : 0)} fps`;
}

/** A frame rate as "29.97". */
export function rate(fps: number | undefined): string {
  return known(fps) ? String(Number(fps.toFixed(2))) : UNKNOWN;
}

/** How long until or since an RFC 3339 time: "in 3 min 05 s", "2 h 10 min ago", "now". */
export function relative(iso: string | undefined, now: number): string {
  const at = iso === undefined ? NaN : Date.parse(iso);
  if (Number.isNaN(at)) return UNKNOWN;
  const seconds = Math.round((at - now) / 1000);
  if (Math.abs(seconds) < 2) return "now";
  return seconds > 0 ? `in ${duration(seconds)}` : `${duration(-seconds)} ago`;
}

/** How long ago, in one unit: "5 min ago". */
export function age(iso: string | undefined, now: number): string {
  const at = iso === undefined ? NaN : Date.parse(iso);
  if (Number.isNaN(at)) return UNKNOWN;
  const seconds = Math.max(0, (now - at) / 1000);
  if (seconds < 60) return "just now";
  const [size, unit] = seconds < 3600 ? [60, "min"] : seconds < 86400 ? [3600, "h"] : [86400, "d"];
  return `${Math.floor(seconds / (size as number))} ${unit} ago`;
}

/** Seconds between two RFC 3339 times, or from the first to now; undefined where they say nothing. */
export function between(from: string | undefined, to: string | undefined, now: number): number | undefined {
  const a = from === undefined ? NaN : Date.parse(from);
  const b = to === undefined ? now : Date.parse(to);
  return Number.isNaN(a) || Number.isNaN(b) ? undefined : Math.max(0, (b - a) / 1000);
}

/** An RFC 3339 time in the reader's own zone and a fixed shape, "2026-01-02 15:04". */
export function moment(iso: string | undefined): string {
  const at = new Date(iso === undefined ? NaN : Date.parse(iso));
  if (Number.isNaN(at.getTime())) return UNKNOWN;
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}`;
}
