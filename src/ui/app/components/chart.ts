// Charts of what changes over time, drawn by uPlot in the colours of the style sheet. What each series has come to is
// said in words as well, for who cannot see it.

import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { count, time, utc } from "../format.ts";
import { html } from "../html.ts";
import { text } from "../text.ts";
import { themes } from "../theme.ts";

export interface Series {
  readonly label: string;
  /** As many as there are points in time; null where nothing is known. */
  readonly values: readonly (number | null | undefined)[];
  /** Which of the colours `--series-1` to `--series-6`. */
  readonly color: 1 | 2 | 3 | 4 | 5 | 6;
  readonly fill?: boolean;
}

const HEIGHT = 150;
const SHORTEST_S = 300;
const HOUR_S = 3_600;
const DAY_S = 86_400;
// Nobody counts halves.
const WHOLE = Array.from({ length: 36 }, (_, i) => [1, 2, 5][i % 3]! * 10 ** Math.floor(i / 3));

type Format = (value: number | null | undefined) => string;

/** A chart over time; `at` is in milliseconds. */
export function Chart(props: {
  readonly label: string;
  readonly at: readonly number[];
  readonly series: readonly Series[];
  /** How a value is written; a grouped number otherwise. */
  readonly format?: Format;
}): VNode {
  const { label, at, series, format = count } = props;
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot>(undefined);
  const [pointed, setPointed] = useState<number | null>();
  const data = [
    at.map((ms) => ms / 1_000),
    ...series.map(({ values }) => values.map((value) => value ?? null)),
  ] as uPlot.AlignedData;
  const shape = series.map((each) => `${each.label}${each.color}`).join();

  useEffect(() => {
    const element = place.current!;
    const made = new uPlot(optionsOf(element, series, format, setPointed), data, element);
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
  useEffect(() => chart.current?.setData(data), [at, series]);

  const shownAt = pointed ?? at.length - 1;
  const shown = (values: Series["values"]): string =>
    format(pointed === undefined || pointed === null ? lastOf(values) : values[pointed]);
  const said = series.map((each) => `${each.label} ${format(lastOf(each.values))}`).join(", ");
  return html`<figure class="chart"><div ref=${place} role="img" aria-label=${`${label}: ${said}`}></div>
    <figcaption>${series.map(
      (each) =>
        html`<span><i class=${`swatch series-${each.color}`}></i>${each.label} <b>${shown(each.values)}</b></span>`,
    )}<span class="dim">${at.length === 0 ? text.table.nothing : time(at[shownAt])}</span></figcaption></figure>`;
}

function lastOf(values: Series["values"]): number | null | undefined {
  return values.findLast((value) => value !== null && value !== undefined);
}

function optionsOf(
  element: HTMLElement,
  series: readonly Series[],
  format: Format,
  onPoint: (place: number | null | undefined) => void,
): uPlot.Options {
  const style = getComputedStyle(element);
  // As the element would have it: the property itself says light and dark.
  const color = (name: string): string => {
    element.style.color = `var(${name})`;
    const { color: shown } = style;
    element.style.color = "";
    return shown;
  };
  const axis = {
    stroke: color("--dim"),
    font: `11px ${style.fontFamily}`,
    grid: { stroke: color("--line"), width: 1 },
    ticks: { show: false },
  };
  return {
    width: element.clientWidth || 400,
    height: HEIGHT,
    padding: [6, 6, 0, 0],
    ...(utc.peek()
      ? { tzDate: (at: number) => uPlot.tzDate(new Date(at * 1_000), "Etc/UTC") }
      : {}),
    cursor: { points: { size: 6 }, drag: { x: false, y: false }, y: false },
    legend: { show: false },
    hooks: { setCursor: [({ cursor }) => onPoint(cursor.idx)] },
    scales: {
      x: {
        range: (_chart, low, high) =>
          low === null ? [0, 1] : [Math.min(low, high - SHORTEST_S), high],
      },
      y: { range: (_chart, _low, high) => [0, Math.max((high ?? 0) * 1.1, 1)] },
    },
    axes: [
      {
        ...axis,
        space: 70,
        size: 26,
        values: (chart, ticks, _axis, _space, step) =>
          chart.data[0]!.length === 0 ? [] : ticks.map((at) => tick(at, step)),
      },
      {
        ...axis,
        size: 56,
        space: 34,
        ...(format === count ? { incrs: WHOLE } : {}),
        values: (_chart, values) => values.map((value) => format(value)),
      },
    ],
    series: [
      {},
      ...series.map((each): uPlot.Series => {
        const stroke = color(`--series-${each.color}`);
        return {
          stroke,
          width: 1.5,
          points: { show: each.values.length < 2 },
          ...(each.fill ? { fill: stroke.replace(/^rgb\((.*)\)$/, "rgba($1, 0.13)") } : {}),
        };
      }),
    ],
  };
}

/** What stands below a line of the grid: as much of the time as tells it from the next one. */
function tick(at: number, step: number): string {
  const shown = time(at * 1_000);
  if (step >= DAY_S) return shown.slice(5, 10);
  if (step >= HOUR_S && shown.slice(11, 16) === "00:00") return shown.slice(5, 10);
  return step < 60 ? shown.slice(11, 19) : shown.slice(11, 16);
}
