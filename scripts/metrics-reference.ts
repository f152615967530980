// Writes the tables of docs/METRICS.md from the metrics that there are (src/observe/families.ts).

import { readFileSync, writeFileSync } from "node:fs";
import {
  type Family,
  LEFT_OUT_FAMILIES,
  QUEUE_FAMILIES,
  SERVER_FAMILIES,
} from "../src/observe/families.ts";

const FILE = new URL("../docs/METRICS.md", import.meta.url);

function table(families: Readonly<Record<string, Family>>): string {
  const rows = Object.entries(families).map(
    ([name, { type, labels = [], help }]) =>
      `| \`${name}\` | ${type} | ${labels.join(", ")} | ${help} |`,
  );
  return ["| Metric | Type | Labels | What it tells |", "|---|---|---|---|", ...rows].join("\n");
}

let text = readFileSync(FILE, "utf8");
for (const [name, families] of [
  ["server", SERVER_FAMILIES],
  ["queues", { ...QUEUE_FAMILIES, ...LEFT_OUT_FAMILIES }],
] as const) {
  const [begin, end] = [`<!-- ${name} -->`, `<!-- end of ${name} -->`];
  const from = text.indexOf(begin) + begin.length;
  text = `${text.slice(0, from)}\n${table(families)}\n${text.slice(text.indexOf(end))}`;
}
writeFileSync(FILE, text);
