// Reads what Prometheus reads, and takes nothing that is not as it should be: names, help and types of what is
// told, in one piece each; labels that are known, and escaped; no series twice; buckets that grow.

import assert from "node:assert/strict";
import { FAMILIES } from "../../src/observe/families.ts";

export interface Series {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** What was told: series by family. */
export class Scrape {
  readonly families = new Map<string, { readonly type: string; readonly series: Series[] }>();

  /** The value of a series, by its name and labels; undefined if there is none. */
  value(name: string, labels: Readonly<Record<string, string>> = {}): number | undefined {
    return this.all(name).find((each) => sameLabels(each.labels, labels))?.value;
  }

  /** All series of this name. */
  all(name: string): readonly Series[] {
    const found: Series[] = [];
    for (const { series } of this.families.values()) {
      found.push(...series.filter((each) => each.name === name));
    }
    return found;
  }
}

function sameLabels(
  a: Readonly<Record<string, string>>,
  b: Readonly<Record<string, string>>,
): boolean {
  return keyOf(a) === keyOf(b);
}

function keyOf(labels: Readonly<Record<string, string>>): string {
  return JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
}

const ENDS: Readonly<Record<string, readonly string[]>> = {
  counter: [""],
  gauge: [""],
  histogram: ["_bucket", "_sum", "_count"],
  summary: ["", "_sum", "_count"],
};

const NAME = /^[a-z][a-z0-9_]*$/;
const SERIES = /^([a-z][a-z0-9_]*)(?:\{(.*)\})? (\S+)$/;
const NUMBER = /^-?\d+(\.\d+)?(e[+-]?\d+)?$/;

/** Reads an exposition; throws if anything about it is wrong. */
export function parse(text: string, form: "text" | "openmetrics" = "text"): Scrape {
  const scrape = new Scrape();
  assert.ok(text.endsWith("\n"), "the last line has an end");
  const lines = text.slice(0, -1).split("\n");
  if (form === "openmetrics") assert.equal(lines.pop(), "# EOF");
  let name = "";
  let helped = "";
  const seen = new Set<string>();
  for (const line of lines) {
    const [, what, of = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (what === "HELP") {
      assert.match(of, NAME);
      assert.ok(rest.endsWith("."), `${of}: ${rest}`);
      helped = of;
      continue;
    }
    if (what === "TYPE") {
      assert.equal(of, helped, "TYPE comes behind HELP");
      name = form === "openmetrics" && rest === "counter" ? `${of}_total` : of;
      const family = FAMILIES[name];
      assert.ok(family, `${name} is not known`);
      assert.equal(rest, family.type, name);
      assert.equal(rest === "counter", name.endsWith("_total"), name);
      assert.match(name, /^(querator|process)_/);
      assert.ok(!scrape.families.has(name), `${name} is in one piece`);
      scrape.families.set(name, { type: rest, series: [] });
      continue;
    }
    const match = SERIES.exec(line);
    assert.ok(match, line);
    const [, full = "", pairs = "", value = ""] = match;
    const { type, series } = scrape.families.get(name)!;
    assert.ok(
      ENDS[type]!.some((end) => full === name + end),
      `${full} is of ${name}`,
    );
    assert.match(value, NUMBER, line);
    const labels = labelsOf(pairs);
    checkLabels(name, full, labels);
    const key = full + keyOf(labels);
    assert.ok(!seen.has(key), `${line} is there once`);
    seen.add(key);
    series.push({ name: full, labels, value: Number(value) });
  }
  for (const [of, { type, series }] of scrape.families) {
    assert.ok(series.length > 0, `${of} has series`);
    if (type === "histogram") checkBuckets(of, series);
    if (type === "counter") for (const each of series) assert.ok(each.value >= 0, of);
  }
  return scrape;
}

function labelsOf(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  let rest = text;
  while (rest !== "") {
    const match = /^([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"(?:,(?=.)|$)/.exec(rest);
    assert.ok(match, `labels ${text}`);
    const [whole, name = "", value = ""] = match;
    assert.ok(!(name in labels), `labels ${text}`);
    labels[name] = value.replace(/\\(.)/g, (_, char: string) => (char === "n" ? "\n" : char));
    rest = rest.slice(whole.length);
  }
  return labels;
}

function checkLabels(family: string, name: string, labels: Readonly<Record<string, string>>): void {
  const { type, labels: known = [] } = FAMILIES[family]!;
  const own = Object.keys(labels).filter((each) => each !== "le" && each !== "quantile");
  assert.deepEqual(own.sort(), [...known].sort(), name);
  assert.equal("le" in labels, name.endsWith("_bucket") && type === "histogram", name);
  assert.equal("quantile" in labels, type === "summary" && name === family, name);
}

function checkBuckets(family: string, series: readonly Series[]): void {
  const groups = Map.groupBy(series, ({ labels: { le: _, ...labels } }) => keyOf(labels));
  for (const group of groups.values()) {
    const buckets = group.filter(({ name }) => name.endsWith("_bucket"));
    const [sum, count] = ["_sum", "_count"].map(
      (end) => group.find(({ name }) => name === family + end)!.value,
    );
    let bound = Number.NEGATIVE_INFINITY;
    let below = 0;
    for (const { labels, value } of buckets) {
      const le = labels.le === "+Inf" ? Number.POSITIVE_INFINITY : Number(labels.le);
      assert.ok(le > bound, `${family} ${labels.le}`);
      assert.ok(value >= below, `${family} ${labels.le}`);
      [bound, below] = [le, value];
    }
    assert.equal(bound, Number.POSITIVE_INFINITY, family);
    assert.equal(below, count, family);
    assert.ok(sum! >= 0, family);
  }
}
