// The text that Prometheus reads: its own format (0.0.4) and OpenMetrics, which differ in little. Series come in the
// order of their families, whatever the order in which they were given.

import type { OctaveTotals } from "../octaves.ts";
import { OCTAVES } from "../octaves.ts";
import { FAMILIES, type Family } from "./families.ts";

export type Form = "text" | "openmetrics";

export const CONTENT_TYPES: Readonly<Record<Form, string>> = {
  text: "text/plain; version=0.0.4; charset=utf-8",
  openmetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

/** Labels that many series have, made a text once. */
export class LabelText {
  readonly text: string;

  constructor(labels: Readonly<Record<string, string>>) {
    this.text = pairsOf(labels);
  }
}

type Labels = Readonly<Record<string, string>>;

/** Which buckets of a histogram are told, by exponents of two, and what a value of 1 is in the unit of the metric. */
export interface Scale {
  readonly from: number;
  readonly to: number;
  readonly step: number;
  readonly unit: number;
}

const MICROSECONDS = 1e-6;

/** From 64 µs to 67 s: of what is answered while somebody waits. */
export const SHORT_TIMES: Scale = { from: 6, to: 26, step: 1, unit: MICROSECONDS };
/** The same in steps of four, for what has a histogram for each of many labels. */
export const REQUEST_TIMES: Scale = { from: 6, to: 26, step: 2, unit: MICROSECONDS };
/** From 256 µs to 12.7 days. */
export const LONG_TIMES: Scale = { from: 8, to: 40, step: 2, unit: MICROSECONDS };
export const NUMBERS: Scale = { from: 0, to: 16, step: 1, unit: 1 };

/** An exposition that is being made. */
export class Exposition {
  readonly #form: Form;
  readonly #series = new Map<string, string[]>();

  constructor(form: Form) {
    this.#form = form;
  }

  /** A counter or a gauge. */
  add(family: string, value: number, labels: Labels = NONE, shared?: LabelText): void {
    this.#line(family, family, value, bracesOf(labels, shared));
  }

  /** Times or numbers. */
  histogram(family: string, totals: OctaveTotals, scale: Scale, labels: Labels = {}): void {
    const { from, to, step, unit } = scale;
    let below = 0;
    let octave = 0;
    for (let next = from; next <= to; next += step) {
      for (; octave <= next; octave++) below += totals.counts[octave]!;
      const le = this.#bound(2 ** next * unit);
      this.#line(family, `${family}_bucket`, below, bracesOf({ ...labels, le }));
    }
    for (; octave <= OCTAVES; octave++) below += totals.counts[octave]!;
    this.#line(family, `${family}_bucket`, below, bracesOf({ ...labels, le: "+Inf" }));
    this.#line(family, `${family}_sum`, totals.sum * unit, bracesOf(labels));
    this.#line(family, `${family}_count`, below, bracesOf(labels));
  }

  /** Quantiles, if there are any, and their sum and count. */
  summary(
    family: string,
    quantiles: Readonly<Record<string, number>>,
    { count, sum }: { readonly count: number; readonly sum: number },
    shared: LabelText,
  ): void {
    for (const [quantile, value] of Object.entries(quantiles)) {
      this.#line(family, family, value * MICROSECONDS, bracesOf({ quantile }, shared));
    }
    const labels = bracesOf(NONE, shared);
    this.#line(family, `${family}_sum`, sum * MICROSECONDS, labels);
    this.#line(family, `${family}_count`, count, labels);
  }

  /** How many bytes it has by now, at most. */
  get bytes(): number {
    return this.#bytes;
  }

  #bytes = 0;

  #line(family: string, name: string, value: number, labels: string): void {
    const line = `${name}${labels} ${numberOf(value)}\n`;
    this.#bytes += Buffer.byteLength(line);
    const lines = this.#series.get(family);
    if (lines === undefined) this.#series.set(family, [line]);
    else lines.push(line);
  }

  // OpenMetrics has bounds as floats.
  #bound(value: number): string {
    const text = numberOf(value);
    return this.#form === "openmetrics" && /^\d+$/.test(text) ? `${text}.0` : text;
  }

  /** All of it. */
  text(): string {
    let text = "";
    for (const [name, family] of Object.entries(FAMILIES)) {
      const lines = this.#series.get(name);
      if (lines !== undefined) text += this.#head(name, family) + lines.join("");
    }
    return this.#form === "openmetrics" ? `${text}# EOF\n` : text;
  }

  // In OpenMetrics a counter is called without the end of its name.
  #head(name: string, { type, help }: Family): string {
    const isShort = this.#form === "openmetrics" && type === "counter";
    const shown = isShort ? name.replace(/_total$/, "") : name;
    return `# HELP ${shown} ${help}\n# TYPE ${shown} ${type}\n`;
  }
}

const NONE: Labels = {};

function bracesOf(labels: Labels, shared?: LabelText): string {
  const own = labels === NONE ? "" : pairsOf(labels);
  if (shared === undefined) return own === "" ? "" : `{${own}}`;
  return own === "" ? `{${shared.text}}` : `{${shared.text},${own}}`;
}

function pairsOf(labels: Labels): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${escaped(value)}"`)
    .join(",");
}

function escaped(value: string): string {
  return value.replace(/[\\"\n]/g, (char) => (char === "\n" ? "\\n" : `\\${char}`));
}

// Sums of what is no power of two have ends that mean nothing.
function numberOf(value: number): string {
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(12)));
}
