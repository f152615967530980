// Charts of what changes over time, drawn by uPlot in the colours of the style sheet; a spark for a table's
// row, drawn without it. What a chart shows is said in a table as well, for who cannot see it.

import { signal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { count, utc } from "../format.ts";
import { html } from "../html.ts";

export interface Series {
  readonly label: string;
  /** As many as there are points in time; null where nothing is known. */
  readonly values: readonly (number | null | undefined)[];
  /** Which of the colours `--series-1` to `--series-6`. */
  readonly color: 1 | 2 | 3 | 4 | 5 | 6;
  readonly fill?: boolean;
}

const HEIGHT = 160;
/** Counts up when the colours have changed. */
export const themes = signal(0);

/** A chart over time; `at` is in milliseconds. */
export function Chart(props: {
  readonly label: string;
  readonly at: readonly number[];
  readonly series: readonly Series[];
  /** How a value is written; a grouped number otherwise. */
  readonly format?: (value: number | null | undefined) => string;
}): VNode {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot>(undefined);
  const data = [
    props.at.map((ms) => ms / 1_000),
    ...props.series.map(({ values }) => values.map((value) => value ?? null)),
  ] as uPlot.AlignedData;
  const format = props.format ?? count;
  const shape = props.series.map(({ label, color }) => `${label}${color}`).join();

  useEffect(() => {
    const element = place.current!;
    const made = new uPlot(optionsOf(element, props.series, format), data, element);
    chart.current = made;
    const observer = new ResizeObserver(() =>
      made.setSize({ width: element.clientWidth, height: HEIGHT }),
    );
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      chart.current = undefined;
    };
  }, [shape, utc.value, themes.value]);
  useEffect(() => chart.current?.setData(data), [props.at, props.series]);

  return html`<figure class="chart"><div ref=${place} role="img" aria-label=${said(props.label, props.series, format)}></div></figure>`;
}

/** The chart in words: what each series has come to. */
function said(
  label: string,
  series: readonly Series[],
  format: NonNullable<Parameters<typeof Chart>[0]["format"]>,
): string {
  return `${label}: ${series.map((each) => `${each.label} ${format(each.values.at(-1))}`).join(", ")}`;
}

function optionsOf(
  element: HTMLElement,
  series: readonly Series[],
  format: (value: number | null | undefined) => string,
): uPlot.Options {
  const style = getComputedStyle(element);
  const color = (name: string): string => style.getPropertyValue(name).trim();
  const axis = {
    stroke: color("--dim"),
    font: `11px ${style.fontFamily}`,
    grid: { stroke: color("--line"), width: 1 },
    ticks: { show: false },
  };
  return {
    width: element.clientWidth || 400,
    height: HEIGHT,
    ...(utc.peek()
      ? { tzDate: (at: number) => uPlot.tzDate(new Date(at * 1_000), "Etc/UTC") }
      : {}),
    cursor: { points: { size: 6 }, drag: { x: false, y: false } },
    legend: { live: true },
    scales: { y: { range: (_chart, _low, high) => [0, Math.max(high * 1.1, 1)] } },
    axes: [
      { ...axis, space: 80 },
      {
        ...axis,
        size: 64,
        space: 32,
        values: (_chart, values) => values.map((value) => format(value)),
      },
    ],
    series: [
      {},
      ...series.map((each): uPlot.Series => {
        const stroke = color(`--series-${each.color}`);
        return {
          label: each.label,
          stroke,
          width: 1.5,
          points: { show: false },
          ...(each.fill ? { fill: `${stroke}22` } : {}),
          value: (_chart: uPlot, value: number | null) => format(value),
        };
      }),
    ],
  };
}

const SPARK_WIDTH = 80;
const SPARK_HEIGHT = 20;

/** The way of a number in a row of a table. */
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
