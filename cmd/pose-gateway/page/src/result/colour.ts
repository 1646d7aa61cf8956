/* One colour a person, the same in the 3D view, over the video and in the list. */

/** Hue 0..360 of a person's id: steps of the golden angle keep neighbours apart. */
export function hue(id: number): number {
  return (205 + (id - 1) * 137.508) % 360;
}

/** sRGB 0..1 of the person's colour, light enough for dark and dark enough for light backgrounds. */
export function rgb(id: number): [number, number, number] {
  const h = hue(id), s = 0.72;
  // Blue and violet look darker than they are counted.
  const l = h > 220 && h < 300 ? 0.65 : 0.56;
  const a = s * Math.min(l, 1 - l);
  const channel = (n: number): number => {
    const k = (n + h / 30) % 12;
    return l - a * Math.max(-1, Math.min(k - 3, 9 - k, 1));
  };
  return [channel(0), channel(8), channel(4)];
}

export function css(id: number, alpha = 1): string {
  const [r, g, b] = rgb(id).map((c) => Math.round(c * 255)) as [number, number, number];
  return `rgb(${r} ${g} ${b} / ${alpha})`;
}

/** Everybody, or one of them by index into people. */
export type Choice = number | undefined;
