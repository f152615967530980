// The way of a number in a row of a table. It needs nothing of what draws charts.

import type { VNode } from "preact";
import { html } from "../html.ts";

const SPARK_WIDTH = 80;
const SPARK_HEIGHT = 20;

/** The values, from left to right; the label says them to who cannot see it. */
export function Spark({
  values,
  label,
}: {
  readonly values: readonly number[];
  readonly label: string;
}): VNode {
  const max = Math.max(...values, 1);
  const step = SPARK_WIDTH / Math.max(values.length - 1, 1);
  const points = values.map(
    (value, i) =>
      `${(i * step).toFixed(1)},${(SPARK_HEIGHT - 1 - (value / max) * (SPARK_HEIGHT - 2)).toFixed(1)}`,
  );
  return html`<svg class="spark" width=${SPARK_WIDTH} height=${SPARK_HEIGHT} viewBox=${`0 0 ${SPARK_WIDTH} ${SPARK_HEIGHT}`}
    role="img" aria-label=${label}><polyline points=${points.join(" ")} /></svg>`;
}
