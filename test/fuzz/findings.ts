// What a run has tried and found. A fault that is found a hundred times is one finding with the
// first of its inputs. Counts by format and status show whether the fuzzer gets anywhere: an endpoint
// that never accepts anything is a finding too.

import { describe, type Format, formatOf, headerOf, type Input } from "./input.ts";
import type { Fault } from "./judge.ts";

export interface Finding {
  readonly fault: Fault;
  /** What shows it, ready to be sent again. */
  readonly inputs: readonly string[];
  times: number;
}

const FINDINGS_MAX = 30;
// So many inputs must suffice for one that is accepted.
const TRIES_MIN = 400;
const INPUTS_MAX = 12;

/** Counts, and the faults that were found. */
export class Findings {
  readonly list: Finding[] = [];
  inputs = 0;
  /** Inputs that were refused, or only read, with the state compared before and after. */
  held = 0;
  agreements = 0;
  givenUp = 0;
  /** For each path how often it was tried, and how often accepted. */
  readonly #paths = new Map<string, { tried: number; accepted: number }>();
  /** How often each status was answered, for each format that was sent. */
  readonly #statuses = new Map<Format | "neither", Map<string, number>>();

  tried(input: Input, status: number): void {
    this.inputs++;
    const { path } = input.endpoint;
    const known = this.#paths.get(path) ?? { tried: 0, accepted: 0 };
    this.#paths.set(path, known);
    known.tried++;
    if (status === 200) known.accepted++;
    const name = status === 0 ? "cut off" : String(status);
    const format = input.raw === undefined ? formatOf(headerOf(input, "content-type")) : undefined;
    const statuses = this.#statuses.get(format ?? "neither") ?? new Map<string, number>();
    this.#statuses.set(format ?? "neither", statuses);
    statuses.set(name, (statuses.get(name) ?? 0) + 1);
  }

  /** Whether a fault of this kind was found before; counts it if so. */
  isKnown({ kind }: Fault): boolean {
    const known = this.list.find((finding) => finding.fault.kind === kind);
    if (known !== undefined) known.times++;
    return known !== undefined || this.list.length >= FINDINGS_MAX;
  }

  /** Notes a fault, with what shows it. */
  found(fault: Fault, inputs: readonly Input[]): void {
    if (this.isKnown(fault)) return;
    const shown = inputs.slice(0, INPUTS_MAX).map(describe);
    this.list.push({ fault, inputs: shown, times: 1 });
  }

  /** Endpoints that never said yes: then the fuzzer has not got past their first checks. */
  get neverAccepted(): readonly string[] {
    return [...this.#paths]
      .filter(([, { tried, accepted }]) => tried >= TRIES_MIN && accepted === 0)
      .map(([path]) => path);
  }

  /** The figures, for the summary. */
  get figures(): string {
    const byFormat = [...this.#statuses].map(([format, statuses]) => {
      const sorted = [...statuses].sort(([a], [b]) => (a < b ? -1 : 1));
      return `${format} ${sorted.map(([status, count]) => `${status}: ${count}`).join(" ")}`;
    });
    return [
      `${this.inputs} inputs (${byFormat.sort().join("; ")})`,
      `${this.held} refused or reads with the state compared`,
      `${this.agreements} messages in all formats`,
      `${this.givenUp} given up while waiting`,
    ].join(", ");
  }

  get report(): readonly string[] {
    return this.list.map(
      ({ fault, inputs, times }) =>
        `${fault.kind} (${times} times): ${fault.detail}\n  ${inputs.join("\n  ")}`,
    );
  }
}
