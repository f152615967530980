// The faults that `npm run mutate` plants: what each is, the one replacement that makes it, and the
// check that notices it. When the source changes a fault may not apply any more; then it is mended
// or replaced here.

/** The checks, as they are run on the tree with the fault in it. */
export const CHECKS = {
  sim: ["test/sim/sim.ts", "--seconds", "120", "--length", "250", "--seed", "1"],
  simSqlite: ["test/sim/sim.ts", "--seconds", "40", "--seed", "1", "--storage", "sqlite"],
  regressions: ["--test", "test/sim/sim.test.ts"],
  linear: ["test/linear/linear.ts", "--seconds", "20", "--seed", "7"],
  power: ["test/crash/crash.ts", "--mode", "power", "--kills", "6", "--seed", "1"],
  crash: ["test/crash/crash.ts", "--mode", "kill", "--kills", "8", "--seed", "1"],
  torn: ["test/crash/torn.ts", "--seconds", "30", "--seed", "1"],
  fuzz: ["test/fuzz/fuzz.ts", "--seconds", "20", "--seed", "1"],
  hostile: ["test/fuzz/hostile.ts", "--quick", "--seconds", "1", "--seed", "1"],
  overload: ["test/soak/overload.ts", "--seconds", "20", "--seed", "1"],
  churn: ["test/soak/churn.ts", "--seed", "1"],
} as const satisfies Record<string, readonly string[]>;

export interface Fault {
  readonly name: string;
  readonly check: keyof typeof CHECKS;
  readonly file: string;
  /** Occurs once in the file. */
  readonly from: string;
  readonly to: string;
}

export const FAULTS: readonly Fault[] = [
  {
    name: "a failed commit is answered as if it had succeeded",
    check: "sim",
    file: "src/queue/commits.ts",
    from: "(error: unknown) => this.failed(group, error, delivered),",
    to: "() => this.succeeded(group, delivered),",
  },
  {
    name: "memory is not read anew after a failed commit",
    check: "sim",
    file: "src/queue/partition.ts",
    from: "    this.failures++;\n    this.stale = true;",
    to: "    this.failures++;",
  },
  {
    name: "a batch that failed keeps its claims",
    check: "sim",
    file: "src/queue/batch.ts",
    from: "      for (const claimed of items) part.unclaim(claimed);\n",
    to: "",
  },
  {
    name: "what arrives during a turn is taken twice",
    check: "regressions",
    file: "src/queue/mailbox.ts",
    from: "    this.#produces = [];\n    this.#completes = [];\n    this.#retries = [];\n    this.#deliveries = [];\n    return",
    to: "    if (this.#taken.produces.length > 0) this.#produces = [];\n    this.#completes = [];\n    this.#retries = [];\n    this.#deliveries = [];\n    return",
  },
  {
    name: "retry does not judge max_attempts",
    check: "sim",
    file: "src/queue/batch.ts",
    from: "if (dead || diesWithLease(item, rules, part.now)) {",
    to: "if (dead) {",
  },
  {
    name: "a letter that is there already is taken again",
    check: "sim",
    file: "src/queue/dead-letters.ts",
    from: "for (const sourceId of known) letters.delete(sourceId);",
    to: "known.size;",
  },
  {
    name: "the source of a completed item stays taken",
    check: "sim",
    file: "src/queue/partition-batch.ts",
    from: '    this.#removed.push(item.seq);\n    if (item.sourceId !== "") this.removesSource.push(item.sourceId);\n  }\n\n  /** Puts a leased item that was claimed back',
    to: "    this.#removed.push(item.seq);\n  }\n\n  /** Puts a leased item that was claimed back",
  },
  {
    name: "a waiting lease is not woken by what comes back",
    check: "sim",
    file: "src/queue/loop.ts",
    from: "(partition.needsDue || (hasLeases && partition.unleased > 0 && partition.leaseRoom > 0)),",
    to: "partition.needsDue,",
  },
  {
    name: "leases that end together are ended for one partition only",
    check: "sim",
    file: "src/queue/lifecycle.ts",
    from: "  for (const item of part.of.endedLeases(part.now - rules.leaseGrace, STEP)) {",
    to: "  for (const item of part.of.number > 0 ? [] : part.of.endedLeases(part.now - rules.leaseGrace, STEP)) {",
  },
  {
    name: "a lease mark stays when its items are gone",
    check: "sim",
    file: "src/queue/partition-batch.ts",
    from: "grant.ending === grant.remaining) this.releases.push(grant.mark);",
    to: "grant.ending > grant.remaining) this.releases.push(grant.mark);",
  },
  {
    name: "a deleted queue keeps its items",
    check: "sim",
    file: "src/placement.ts",
    from: "      const keys = mine.filter((place) => this.holds(place)).map(({ key }) => key);",
    to: "      const keys: number[] = [];",
  },
  {
    name: "the head goes back after a restart",
    check: "simSqlite",
    file: "src/storage/sqlite.ts",
    from: "return {\n      idPrefix,\n      counters: { head,",
    to: "return {\n      idPrefix,\n      counters: { head: Math.max(head - 1, 1),",
  },
];
