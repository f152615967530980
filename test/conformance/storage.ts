// What every storage must do, run on each driver. The contract is src/storage/storage.ts.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import * as fc from "fast-check";
import type {
  KeyEntry,
  LeaseMark,
  Move,
  PartitionChanges,
  ReadOptions,
  Storage,
  StoredItem,
} from "../../src/storage/storage.ts";
import { ItemRecord, LANE_SPAN, NEW_COUNTERS } from "../../src/storage/storage.ts";
import { temporaryDirectory } from "../support/server.ts";

export interface ConformanceOptions {
  /** Whether what was committed is there after closing and opening again. */
  readonly durable: boolean;
}

const EVERYTHING: ReadOptions = {
  from: 0,
  before: Number.MAX_SAFE_INTEGER,
  limit: 1_000_000,
  bytesMax: Number.MAX_SAFE_INTEGER,
  records: true,
};

const COUNTERS = NEW_COUNTERS;

/** Changes that do nothing but what is given. */
export function changes(partition: number, some: Partial<PartitionChanges>): PartitionChanges {
  return {
    partition,
    counters: COUNTERS,
    adds: [],
    addsScheduled: [],
    addsHeld: [],
    releases: [],
    leases: [],
    moves: [],
    removes: [],
    removesScheduled: [],
    removesHeld: [],
    addsExpiry: [],
    removesExpiry: [],
    removesKey: [],
    addsKey: [],
    ...some,
  };
}

/** An entry of an item, for as long as it is there. */
export function entry(key: string, seq: number, some: Partial<KeyEntry> = {}): KeyEntry {
  return { kind: 1, key, seq, until: 0, value: "", ...some };
}

/** An item with a record of its own. */
export function item(seq: number, some: Partial<StoredItem> = {}): StoredItem {
  return {
    seq,
    createdAt: 1_700_000_000_000_001,
    expireAt: 1_700_000_000_000_002,
    attempts: 0,
    leaseDeadline: 0,
    dueAt: 0,
    attributes: "",
    record: new ItemRecord(`"kind":"k${seq}"`, Buffer.from(`payload ${seq}`)),
    ...some,
  };
}

const AFTER_MOVE = { attempts: 0, expireAt: 0, dueAt: 0, attributes: "", group: "" };

function move(fromSeq: number, toSeq: number): Move {
  return { from: "items", fromSeq, to: "items", toSeq, ...AFTER_MOVE };
}

function lease(first: number): LeaseMark {
  return { first, last: first, deadline: 5, leasedAt: 4, extendedAt: 0 };
}

function plain(items: readonly StoredItem[]): object[] {
  return items.map(({ record, ...rest }) => ({
    ...rest,
    text: record.text,
    payload: record.payload.toString("latin1"),
  }));
}

const seqs = (items: readonly StoredItem[]): number[] => items.map((each) => each.seq);

/** Runs the suite on a driver; `open` opens the storage that lies in a directory. */
export function testStorage(
  name: string,
  open: (dir: string) => Promise<Storage>,
  options: ConformanceOptions,
): void {
  async function setup(t: TestContext): Promise<{ storage: Storage; dir: string; keys: number[] }> {
    const dir = temporaryDirectory(t);
    const storage = await open(dir);
    // A test may have closed it itself.
    t.after(() => storage.close().catch(() => undefined));
    const made = ["q", "q", "r"].map((queue, number) => ({
      queue,
      number,
      idPrefix: `${queue}${number}`.padEnd(18, "x"),
      createdAt: 1_700_000_000_000_000 + number,
    }));
    return { storage, dir, keys: [...(await storage.createPartitions(made))] };
  }

  const read = (storage: Storage, key: number): Promise<readonly StoredItem[]> =>
    storage.readItems(key, "items", EVERYTHING);

  describe(`storage ${name}`, () => {
    test("createPartitions() gives each a key of its own, and an empty state", async (t) => {
      const { storage, keys } = await setup(t);
      assert.equal(new Set(keys).size, 3);
      const listed = await storage.listPartitions();
      assert.deepEqual(
        listed.map((each) => [each.key, each.queue, each.number, each.idPrefix, each.dropped]),
        keys.map((key, i) => [
          key,
          ["q", "q", "r"][i],
          i,
          `${["q", "q", "r"][i]}${i}`.padEnd(18, "x"),
          false,
        ]),
      );
      const state = await storage.loadPartition(keys[0]!);
      assert.deepEqual(state, {
        idPrefix: "q0".padEnd(18, "x"),
        counters: COUNTERS,
        leased: [],
        leases: [],
      });
      await assert.rejects(storage.loadPartition(4_711));
    });

    test("commit() keeps every field of an item", async (t) => {
      const { storage, keys } = await setup(t);
      const big = 2 ** 52;
      const adds = [
        item(1),
        item(2, { attempts: 7, leaseDeadline: big, attributes: '{"a":1}', createdAt: big + 1 }),
        item(big, { attributes: '{"b":"\u00fc"}', expireAt: big + 3 }),
        item(big + 1, { record: new ItemRecord("", Buffer.alloc(0)) }),
        item(big + 2, {
          record: new ItemRecord('"kind":"\u00fcml\u00e4ut \u{1f600}"', Buffer.alloc(3_000_000, 7)),
        }),
      ];
      await storage.commit([changes(keys[0]!, { adds })]);
      assert.deepEqual(plain(await read(storage, keys[0]!)), plain(adds));
      assert.deepEqual(seqs(await read(storage, keys[1]!)), []);
      const scheduled = [item(9, { dueAt: big }), item(8, { dueAt: 5 })];
      await storage.commit([changes(keys[0]!, { addsScheduled: scheduled })]);
      const found = await storage.readItems(keys[0]!, "scheduled", EVERYTHING);
      assert.deepEqual(plain(found), plain(scheduled.toReversed()));
    });

    test("times of far years, beyond the whole numbers of JavaScript, are read as they were written", async (t) => {
      const { storage, keys } = await setup(t);
      const [key] = keys as [number];
      const far = Date.parse("9999-12-31T23:59:59Z") * 1_000;
      const times = { createdAt: far, expireAt: far + 64 };
      const adds = [item(1, { ...times, leaseDeadline: far }), item(2, times)];
      const addsScheduled = [item(3, { ...times, dueAt: far + 128 })];
      const leases = [{ first: 1, last: 1, deadline: far, leasedAt: far, extendedAt: 0 }];
      const addsExpiry = [{ at: far, first: 2 }];
      const counters = {
        ...COUNTERS,
        head: 2,
        tail: 4,
        total: 2,
        scheduled: 1,
        createdSum: far * 2,
      };
      await storage.commit([changes(key, { counters, adds, addsScheduled, leases, addsExpiry })]);
      assert.deepEqual(plain(await read(storage, key)), plain(adds));
      assert.deepEqual(
        plain(await storage.readItems(key, "scheduled", EVERYTHING)),
        plain(addsScheduled),
      );
      assert.deepEqual(await storage.readExpiries(key, 1), addsExpiry);
      const state = await storage.loadPartition(key);
      assert.deepEqual([state.counters, state.leases], [counters, leases]);
    });

    test("commit() writes many items at once, whatever their number", async (t) => {
      const { storage, keys } = await setup(t);
      let next = 1;
      for (const count of [1, 7, 8, 9, 63, 64, 65, 200, 1_000]) {
        const adds = Array.from({ length: count }, (_, i) => item(next + i));
        await storage.commit([changes(keys[0]!, { adds })]);
        next += count;
      }
      const all = await read(storage, keys[0]!);
      assert.equal(all.length, next - 1);
      assert.deepEqual(plain(all), plain(Array.from({ length: next - 1 }, (_, i) => item(i + 1))));
    });

    test("commit() is all or nothing over all partitions", async (t) => {
      const { storage, keys } = await setup(t);
      await storage.commit([changes(keys[0]!, { adds: [item(1)] })]);
      const good = changes(keys[1]!, { adds: [item(1)], counters: { ...COUNTERS, tail: 2 } });
      const bad: Partial<PartitionChanges>[] = [
        { adds: [item(1)] },
        { moves: [move(5, 6)] },
        { moves: [move(1, 2), move(1, 3)] },
        { adds: [item(2)], moves: [move(1, 2)] },
        { adds: [item(2), item(2)] },
        { leases: [lease(1), lease(1)] },
        { addsHeld: [{ group: "g", item: item(7) }], moves: [{ ...move(8, 9), from: "held" }] },
      ];
      for (const some of bad) {
        await assert.rejects(storage.commit([good, changes(keys[0]!, some)]));
        await assert.rejects(storage.commit([changes(keys[0]!, some), good]));
      }
      await assert.rejects(storage.commit([good, changes(4_711, {})]));
      assert.deepEqual(seqs(await read(storage, keys[0]!)), [1]);
      assert.deepEqual(seqs(await read(storage, keys[1]!)), []);
      assert.deepEqual((await storage.loadPartition(keys[1]!)).counters, COUNTERS);
      await storage.commit([good]);
      assert.deepEqual(seqs(await read(storage, keys[1]!)), [1]);
    });

    test("loadPartition() answers counters, all items before head, and all lease marks", async (t) => {
      const { storage, keys } = await setup(t);
      const counters = { ...COUNTERS, head: 4, tail: 6, total: 5, createdSum: 2 ** 60 };
      await storage.commit([
        changes(keys[0]!, {
          counters,
          adds: [1, 2, 3, 4, 5].map((seq) => item(seq, seq === 3 ? { leaseDeadline: 99 } : {})),
          leases: [
            { first: 1, last: 2, deadline: 50, leasedAt: 10, extendedAt: 0 },
            { first: 5, last: 5, deadline: 60, leasedAt: 11, extendedAt: 0 },
          ],
        }),
      ]);
      const state = await storage.loadPartition(keys[0]!);
      assert.deepEqual(state.counters, counters);
      assert.deepEqual(seqs(state.leased), [1, 2, 3]);
      assert.equal(state.leased[2]!.leaseDeadline, 99);
      assert.equal(state.leased[0]!.record.payload.length, 0);
      assert.deepEqual(state.leases, [
        { first: 1, last: 2, deadline: 50, leasedAt: 10, extendedAt: 0 },
        { first: 5, last: 5, deadline: 60, leasedAt: 11, extendedAt: 0 },
      ]);
      await storage.commit([changes(keys[0]!, { releases: [1, 3] })]);
      assert.deepEqual(
        (await storage.loadPartition(keys[0]!)).leases.map((lease) => lease.first),
        [5],
      );
    });

    test("counts are kept as they are written, whatever their number", async (t) => {
      const { storage, keys } = await setup(t);
      const [key, other] = keys as [number, number];
      for (const counts of [[0], [5, 0, 2 ** 52], Array.from({ length: 40 }, (_, i) => i), []]) {
        const counters = { ...COUNTERS, tail: 9, counts };
        // Several partitions in one commit are written another way than one by itself.
        await storage.commit([changes(key, { counters })]);
        assert.deepEqual((await storage.loadPartition(key)).counters, counters);
        const both = [changes(key, {}), changes(other, { counters })];
        await storage.commit(both);
        assert.deepEqual((await storage.loadPartition(other)).counters, counters);
        assert.deepEqual((await storage.loadPartition(key)).counters, COUNTERS);
      }
    });

    test("a lease mark can be replaced by others in one commit, and says when it was extended", async (t) => {
      const { storage, dir, keys } = await setup(t);
      const [key] = keys as [number];
      const mark = { first: 1, last: 3, deadline: 50, leasedAt: 10, extendedAt: 0 };
      const adds = [1, 2, 3].map((seq) => item(seq));
      const counters = { ...COUNTERS, head: 4, tail: 4, total: 3 };
      await storage.commit([changes(key, { counters, adds, leases: [mark] })]);
      const far = 2 ** 52 + 1;
      const leases = [
        { ...mark, last: 1, deadline: far, extendedAt: far },
        { ...mark, first: 2 },
      ];
      await storage.commit([changes(key, { counters, releases: [1], leases })]);
      const stored = async (from: Storage): Promise<readonly LeaseMark[]> =>
        (await from.loadPartition(key)).leases.toSorted((a, b) => a.first - b.first);
      assert.deepEqual(await stored(storage), leases);
      await assert.rejects(storage.commit([changes(key, { leases: [mark] })]));
      if (!options.durable) return;
      await storage.close();
      const again = await open(dir);
      t.after(() => again.close());
      assert.deepEqual(await stored(again), leases);
    });

    test("moves take an item with its record to another table or number", async (t) => {
      const { storage, keys } = await setup(t);
      const key = keys[0]!;
      await storage.commit([
        changes(key, { adds: [item(1, { leaseDeadline: 9, attributes: "{1}" }), item(2)] }),
      ]);
      await storage.commit([
        changes(key, {
          moves: [
            {
              from: "items",
              fromSeq: 1,
              to: "items",
              toSeq: 3,
              attempts: 4,
              expireAt: 8,
              dueAt: 0,
              attributes: "{2}",
              group: "",
            },
            {
              from: "items",
              fromSeq: 2,
              to: "scheduled",
              toSeq: 2,
              attempts: 1,
              expireAt: 6,
              dueAt: 7,
              attributes: "",
              group: "",
            },
          ],
        }),
      ]);
      const moved = { ...item(1), seq: 3, attempts: 4, expireAt: 8, attributes: "{2}" };
      assert.deepEqual(plain(await read(storage, key)), plain([moved]));
      const scheduled = await storage.readScheduled(key, 10);
      assert.deepEqual(
        scheduled.map((each) => [each.seq, each.attempts, each.expireAt, each.dueAt]),
        [[2, 1, 6, 7]],
      );
      await storage.commit([
        changes(key, {
          moves: [
            {
              from: "scheduled",
              fromSeq: 2,
              to: "items",
              toSeq: 4,
              attempts: 1,
              expireAt: 6,
              dueAt: 0,
              attributes: "",
              group: "",
            },
          ],
        }),
      ]);
      assert.deepEqual(seqs(await read(storage, key)), [3, 4]);
      assert.deepEqual(await storage.readScheduled(key, 10), []);
    });

    test("removes pass over numbers that do not exist, and touch no other partition", async (t) => {
      const { storage, keys } = await setup(t);
      const adds = [1, 2, 4, 5, 6, 9].map((seq) => item(seq));
      await storage.commit(keys.map((key) => changes(key, { adds })));
      const removes = [
        { first: 1, last: 1 },
        { first: 3, last: 5 },
        { first: 100, last: 200 },
      ];
      await storage.commit([changes(keys[1]!, { removes })]);
      assert.deepEqual(seqs(await read(storage, keys[1]!)), [2, 6, 9]);
      assert.equal((await read(storage, keys[0]!)).length, 6);
      const scheduled = [1, 2, 3].map((seq) => item(seq, { dueAt: seq }));
      await storage.commit([changes(keys[2]!, { addsScheduled: scheduled })]);
      await storage.commit([changes(keys[2]!, { removesScheduled: [{ first: 2, last: 9 }] })]);
      assert.deepEqual(seqs(await storage.readScheduled(keys[2]!, 9)), [1]);
      assert.equal((await read(storage, keys[2]!)).length, 6);
    });

    // Drivers gather what is removed in rows of 1,024 bits: the numbers are around the ends of those.
    test("removes here and there leave all neighbours", async (t) => {
      const { storage, keys } = await setup(t);
      const [key] = keys as [number];
      const rows = 20;
      const count = rows * 1_024;
      const all = Array.from({ length: count }, (_, i) => item(i + 1));
      await storage.commit([changes(key, { adds: all })]);
      const gone = new Set<number>();
      for (let row = 0; row < rows; row++) {
        const start = row * 1_024;
        const ranges = [
          [{ first: start, last: start }],
          [{ first: start + 1_023, last: start + 1_023 }],
          [{ first: start + 7, last: start + 7 }],
          [{ first: start, last: start + 200 }],
          [{ first: start + 800, last: start + 1_023 }],
          [{ first: start, last: start + 1_023 }],
          [
            { first: start, last: start },
            { first: start + 1_000, last: start + 1_023 },
          ],
        ][row % 7]!;
        for (const { first, last } of ranges) {
          for (let seq = first; seq <= last; seq++) gone.add(seq);
        }
        await storage.commit([changes(key, { removes: ranges })]);
      }
      const left = all.filter(({ seq }) => !gone.has(seq));
      assert.deepEqual(seqs(await read(storage, key)), seqs(left));
      assert.deepEqual(plain(await read(storage, key)), plain(left));
    });

    test("readItems() keeps to its limits", async (t) => {
      const { storage, keys } = await setup(t);
      const adds = [1, 2, 4, 5].map((seq) =>
        item(seq, { record: new ItemRecord("", Buffer.alloc(10)) }),
      );
      await storage.commit([changes(keys[0]!, { adds })]);
      const page = async (some: Partial<ReadOptions>): Promise<number[]> =>
        seqs(await storage.readItems(keys[0]!, "items", { ...EVERYTHING, ...some }));
      assert.deepEqual(await page({ from: 2 }), [2, 4, 5]);
      assert.deepEqual(await page({ from: 3, before: 5 }), [4]);
      assert.deepEqual(await page({ limit: 2 }), [1, 2]);
      assert.deepEqual(await page({ bytesMax: 1 }), [1]);
      assert.deepEqual(await page({ bytesMax: 20 }), [1, 2]);
      assert.deepEqual(await page({ bytesMax: 21 }), [1, 2, 4]);
      const unbounded = Number.POSITIVE_INFINITY;
      const all = { before: unbounded, limit: unbounded, bytesMax: unbounded };
      assert.deepEqual(await page(all), [1, 2, 4, 5]);
      const [bare] = await storage.readItems(keys[0]!, "items", { ...EVERYTHING, records: false });
      assert.equal(bare!.record.payload.length, 0);
    });

    test("readScheduled() and readExpiries() answer what is due next", async (t) => {
      const { storage, keys } = await setup(t);
      const key = keys[0]!;
      const due = [
        [5, 30],
        [1, 20],
        [9, 10],
        [2, 20],
      ] as const;
      await storage.commit([
        changes(key, {
          addsScheduled: due.map(([seq, dueAt]) => item(seq, { dueAt })),
          addsExpiry: due.map(([first, at]) => ({ first, at })),
        }),
      ]);
      assert.deepEqual(seqs(await storage.readScheduled(key, 3)), [9, 1, 2]);
      assert.deepEqual(await storage.readExpiries(key, 3), [
        { first: 9, at: 10 },
        { first: 1, at: 20 },
        { first: 2, at: 20 },
      ]);
      const removesExpiry = [
        { first: 1, at: 20 },
        { first: 77, at: 77 },
      ];
      await storage.commit([changes(key, { removesExpiry, addsExpiry: [{ first: 9, at: 10 }] })]);
      assert.deepEqual(
        (await storage.readExpiries(key, 9)).map((expiry) => expiry.first),
        [9, 2, 5],
      );
      assert.deepEqual(await storage.readExpiries(keys[1]!, 9), []);
    });

    test("scheduled items that come in any order are read in the order of their time", async (t) => {
      const { storage, keys } = await setup(t);
      const dues = Array.from({ length: 3_000 }, (_, i) => (i * 7_919) % 3_001);
      const addsScheduled = dues.map((dueAt, i) => item(i + 1, { dueAt: dueAt + 1 }));
      await storage.commit([changes(keys[0]!, { addsScheduled })]);
      const removesScheduled = [{ first: 500, last: 1_500 }];
      await storage.commit([changes(keys[0]!, { removesScheduled })]);
      const left = addsScheduled.filter(({ seq }) => seq < 500 || seq > 1_500);
      assert.deepEqual(
        seqs(await storage.readScheduled(keys[0]!, 5_000)),
        seqs(left.toSorted((a, b) => a.dueAt - b.dueAt)),
      );
      assert.deepEqual(
        seqs(await storage.readItems(keys[0]!, "scheduled", { ...EVERYTHING, records: false })),
        seqs(left),
      );
    });

    test("findKeys() knows the names of its partition, of each kind by themselves", async (t) => {
      const { storage, dir, keys } = await setup(t);
      const [key, other] = keys as [number, number];
      const far = 2 ** 52 + 1;
      const all = [
        entry("a", 5),
        entry("b\u00fc", 6, { value: "\u0000 {}" }),
        entry("a", far, { kind: 2, until: far }),
      ];
      await storage.commit([changes(key, { addsKey: all })]);
      const find = async (from: Storage, kind: number): Promise<readonly KeyEntry[]> =>
        [...(await from.findKeys(key, kind, ["a", "b\u00fc", "c"])).entries()]
          .map(([name, found]) => {
            assert.equal(name, found.key);
            return found;
          })
          .toSorted((a, b) => a.seq - b.seq);
      assert.deepEqual(await find(storage, 1), all.slice(0, 2));
      assert.deepEqual(await find(storage, 2), all.slice(2));
      assert.deepEqual(await find(storage, 3), []);
      assert.equal((await storage.findKeys(other, 1, ["a"])).size, 0);
      assert.equal((await storage.findKeys(key, 1, [])).size, 0);
      const removesKey = [
        { kind: 1, key: "a" },
        { kind: 2, key: "zzz" },
      ];
      await storage.commit([changes(key, { removesKey })]);
      assert.deepEqual(await find(storage, 1), all.slice(1, 2));
      assert.deepEqual(await find(storage, 2), all.slice(2));
      if (!options.durable) return;
      await storage.close();
      const again = await open(dir);
      t.after(() => again.close());
      assert.deepEqual(await find(again, 1), all.slice(1, 2));
    });

    test("an entry takes the place of the one of its name, also of one that the same commit removes", async (t) => {
      const { storage, keys } = await setup(t);
      const [key] = keys as [number];
      await storage.commit([changes(key, { addsKey: [entry("a", 1), entry("b", 2)] })]);
      const next = [entry("a", 3, { value: "v" }), entry("b", 4, { until: 9 })];
      const removesKey = [{ kind: 1, key: "a" }];
      await storage.commit([changes(key, { removesKey, addsKey: next })]);
      const found = await storage.findKeys(key, 1, ["a", "b"]);
      assert.deepEqual([found.get("a"), found.get("b")], next);
      assert.deepEqual(await storage.readKeysDue(key, 9), next.slice(1));
      await storage.commit([changes(key, { addsKey: [entry("b", 4)] })]);
      assert.deepEqual(await storage.readKeysDue(key, 9), []);
    });

    test("listKeys() answers the entries of a kind in order of the bytes of their names", async (t) => {
      const { storage, dir, keys } = await setup(t);
      const [key, other] = keys as [number, number];
      const names = Array.from({ length: 700 }, (_, i) => `k${(i * 7_919) % 1_000}`);
      const odd = [
        "\u0001",
        "\ud7ff",
        "\ue000",
        "\uffee",
        "\u{10000}",
        "\u{10ffff}",
        "\u{10000}a",
        "k",
      ];
      const all = [...names, ...odd].map((name, i) =>
        entry(name, i, { kind: 5, value: `v${i}`, until: i % 2 === 0 ? i : 0 }),
      );
      await storage.commit([
        changes(key, { addsKey: [...all, entry("another kind", 1), entry("k1a", 1, { kind: 6 })] }),
        changes(other, { addsKey: [entry("other", 1, { kind: 5 })] }),
      ]);
      const bytes = ({ key: name }: KeyEntry): Buffer => Buffer.from(name);
      const expected = all.toSorted((a, b) => Buffer.compare(bytes(a), bytes(b)));
      const readAll = async (
        from: Storage,
        order: "ascending" | "descending",
      ): Promise<readonly KeyEntry[]> => {
        const found: KeyEntry[] = [];
        for (let after = ""; ; after = found.at(-1)!.key) {
          const page = await from.listKeys(key, 5, { after, limit: 100, order });
          found.push(...page);
          if (page.length < 100) return found;
        }
      };
      assert.deepEqual(await readAll(storage, "ascending"), expected);
      assert.deepEqual(await readAll(storage, "descending"), expected.toReversed());
      const page = { after: "", limit: 5, order: "ascending" } as const;
      assert.deepEqual(await storage.listKeys(key, 4, page), []);
      assert.deepEqual(await storage.listKeys(key, 5, { ...page, limit: 0 }), []);
      // What was removed, replaced and added since is seen as it is now.
      const [first, second, third] = expected as [KeyEntry, KeyEntry, KeyEntry];
      const next = [entry("\u0002", 1, { kind: 5 }), { ...second, value: "new", until: 0 }];
      const removesKey = [first, entry("nope", 1, { kind: 5 })];
      await storage.commit([changes(key, { removesKey, addsKey: next })]);
      const now = await storage.listKeys(key, 5, page);
      assert.deepEqual(now.slice(0, 3), [next[0], next[1], third]);
      const from = { ...page, after: third.key, order: "descending" } as const;
      assert.deepEqual(await storage.listKeys(key, 5, from), [next[1], next[0]]);
      if (!options.durable) return;
      await storage.close();
      const again = await open(dir);
      t.after(() => again.close());
      assert.deepEqual(
        await readAll(again, "descending"),
        [next[0], next[1], ...expected.slice(2)].toReversed(),
      );
    });

    test("listKeys() ends after the entry with which the values reach so many bytes", async (t) => {
      const { storage, keys } = await setup(t);
      const [key] = keys as [number];
      const addsKey = ["a", "b", "c", "d"].map((name, i) =>
        entry(name, i, { kind: 5, value: "x".repeat(10_000) }),
      );
      await storage.commit([changes(key, { addsKey })]);
      const read = async (after: string, bytesMax: number, order: "ascending" | "descending") => {
        const found = await storage.listKeys(key, 5, { after, limit: 9, order, bytesMax });
        return found.map((each) => each.key).join("");
      };
      assert.equal(await read("", 1, "ascending"), "a");
      assert.equal(await read("", 10_000, "ascending"), "a");
      assert.equal(await read("", 10_001, "ascending"), "ab");
      assert.equal(await read("a", 25_000, "ascending"), "bcd");
      assert.equal(await read("", 10_001, "descending"), "dc");
      assert.equal(await read("c", 10_000, "descending"), "b");
    });

    test("readKeysDue() answers the entries that end first, and none that stay with their item", async (t) => {
      const { storage, keys } = await setup(t);
      const [key, other] = keys as [number, number];
      const untils = Array.from({ length: 300 }, (_, i) => ((i * 7_919) % 301) + 1);
      const addsKey = untils.map((until, i) => entry(`k${i}`, i, { until, kind: (i % 3) + 1 }));
      const stays = [entry("stays", 1), entry("stays too", 2, { kind: 2 })];
      await storage.commit([
        changes(key, { addsKey: [...addsKey, ...stays] }),
        changes(other, { addsKey: [entry("other", 1, { until: 1 })] }),
      ]);
      const inOrder = addsKey.toSorted((a, b) => a.until - b.until);
      assert.deepEqual(await storage.readKeysDue(key, 10), inOrder.slice(0, 10));
      const removesKey = inOrder.slice(0, 100);
      await storage.commit([changes(key, { removesKey })]);
      assert.deepEqual(await storage.readKeysDue(key, 5), inOrder.slice(100, 105));
      // One that ends before all that were read since.
      const early = entry("early", 9, { until: 2 });
      await storage.commit([changes(key, { addsKey: [early] })]);
      assert.deepEqual(await storage.readKeysDue(key, 1_000), [early, ...inOrder.slice(100)]);
    });

    test("attributes of items that came together are each kept, also without their records", async (t) => {
      const { storage, keys } = await setup(t);
      const [key] = keys as [number];
      const of = (seq: number): string => (seq % 3 === 0 ? "" : `{"n":${seq % 5}}`);
      const adds = Array.from({ length: 300 }, (_, i) => item(i + 1, { attributes: of(i + 1) }));
      const alike = Array.from({ length: 50 }, (_, i) => item(i + 301, { attributes: '{"n":0}' }));
      const leased = { ...COUNTERS, head: 200, tail: 351, total: 350 };
      await storage.commit([changes(key, { counters: leased, adds: [...adds, ...alike] })]);
      assert.deepEqual(plain(await read(storage, key)), plain([...adds, ...alike]));
      const headers = await storage.readItems(key, "items", { ...EVERYTHING, records: false });
      const texts = (items: readonly StoredItem[]): string[] =>
        items.map((each) => each.attributes);
      assert.deepEqual(texts(headers), texts([...adds, ...alike]));
      assert.deepEqual(
        texts((await storage.loadPartition(key)).leased),
        texts(adds.filter(({ seq }) => seq < 200)),
      );
      // What is left of a block that is cut keeps its own.
      const removes = [{ first: 10, last: 305 }];
      await storage.commit([changes(key, { counters: leased, removes })]);
      const left = [...adds, ...alike].filter(({ seq }) => seq < 10 || seq > 305);
      assert.deepEqual(plain(await read(storage, key)), plain(left));
    });

    test("texts of several lines are each kept, be they alike or not", async (t) => {
      const { storage, keys } = await setup(t);
      const [key] = keys as [number];
      const texts = ["a\nb", "a\nb", "", "c", "\n", "a\nb\nc", '"kind":"k"'];
      const adds = texts.map((text, i) =>
        item(i + 1, { record: new ItemRecord(text, Buffer.of(i)) }),
      );
      const alike = [8, 9].map((seq) =>
        item(seq, { record: new ItemRecord("x\ny", Buffer.of(1)) }),
      );
      await storage.commit([changes(key, { adds })]);
      await storage.commit([changes(key, { adds: alike })]);
      assert.deepEqual(plain(await read(storage, key)), plain([...adds, ...alike]));
    });

    test("lanes are kept with the counters, and what lies before the head of each is leased", async (t) => {
      const { storage, dir, keys } = await setup(t);
      const [key] = keys as [number];
      const [low, high] = [LANE_SPAN, 15 * LANE_SPAN];
      const lanes = [
        { lane: 1, head: low + 2, tail: low + 3 },
        { lane: 15, head: high + 130, tail: high + 200 },
      ];
      const counters = { ...COUNTERS, head: 3, tail: 4, total: 206, lanes };
      const range = (first: number, count: number) =>
        Array.from({ length: count }, (_, i) => item(first + i));
      const adds = [...range(1, 3), ...range(low, 3), ...range(high, 200)];
      const removes = [{ first: high + 5, last: high + 6 }];
      await storage.commit([changes(key, { counters, adds, removes })]);
      const expected = [1, 2, low, low + 1, ...seqs(range(high, 130))].filter(
        (seq) => seq !== high + 5 && seq !== high + 6,
      );
      const look = async (from: Storage): Promise<void> => {
        const state = await from.loadPartition(key);
        assert.deepEqual(state.counters, counters);
        assert.deepEqual(seqs(state.leased), expected);
        const page = { ...EVERYTHING, from: low, before: 2 * LANE_SPAN };
        assert.deepEqual(seqs(await from.readItems(key, "items", page)), [low, low + 1, low + 2]);
      };
      await look(storage);
      if (options.durable) {
        await storage.close();
        const again = await open(dir);
        t.after(() => again.close());
        await look(again);
        await again.commit([changes(key, { counters: { ...counters, lanes: lanes.slice(1) } })]);
        assert.deepEqual((await again.loadPartition(key)).counters.lanes, lanes.slice(1));
        await again.commit([changes(key, { counters: { ...counters, lanes: [] } })]);
        assert.deepEqual((await again.loadPartition(key)).counters.lanes, []);
      }
    });

    test("what a group holds back is read in order, and moves in and out", async (t) => {
      const { storage, dir, keys } = await setup(t);
      const [key, other] = keys as [number, number];
      const odd = "g\u00fc\u0000";
      const held = (seq: number, group: string) => ({
        group,
        item: item(seq, { attributes: `{"group":${seq}}`, attempts: 1 }),
      });
      await storage.commit([
        changes(key, {
          counters: { ...COUNTERS, tail: 20, held: 4 },
          adds: [item(1), item(2)],
          addsScheduled: [item(3, { dueAt: 9 })],
          addsHeld: [held(12, "a"), held(10, "b"), held(11, "a"), held(13, odd)],
        }),
        changes(other, { addsHeld: [held(1, "a")] }),
      ]);
      const of = async (from: Storage, group: string, limit = 9): Promise<number[]> =>
        seqs(await from.readHeld(key, group, limit));
      assert.deepEqual(await of(storage, "a"), [11, 12]);
      assert.deepEqual(await of(storage, "a", 1), [11]);
      assert.deepEqual(await of(storage, odd), [13]);
      assert.deepEqual(await of(storage, ""), []);
      const [first] = await storage.readHeld(key, "a", 1);
      assert.deepEqual(plain([first!]), [
        { ...plain([held(11, "a").item])[0], text: "", payload: "" },
      ]);
      const page = { ...EVERYTHING, from: 11, limit: 2 };
      assert.deepEqual(
        plain(await storage.readItems(key, "held", page)),
        plain([held(11, "a").item, held(12, "a").item]),
      );
      assert.equal((await storage.loadPartition(key)).counters.held, 4);
      const to = { attempts: 2, expireAt: 3, attributes: '{"moved":1}' };
      await storage.commit([
        changes(key, {
          moves: [
            { from: "items", fromSeq: 1, to: "held", toSeq: 20, ...to, dueAt: 0, group: "b" },
            { from: "scheduled", fromSeq: 3, to: "held", toSeq: 21, ...to, dueAt: 0, group: "a" },
            { from: "held", fromSeq: 11, to: "items", toSeq: 22, ...to, dueAt: 0, group: "" },
            { from: "held", fromSeq: 13, to: "scheduled", toSeq: 13, ...to, dueAt: 7, group: "" },
          ],
        }),
      ]);
      const look = async (from: Storage): Promise<void> => {
        assert.deepEqual(await of(from, "a"), [12, 21]);
        assert.deepEqual(await of(from, "b"), [10, 20]);
        assert.deepEqual(await of(from, odd), []);
        assert.deepEqual(seqs(await read(from, key)), [2, 22]);
        assert.deepEqual(seqs(await from.readScheduled(key, 9)), [13]);
        const [, , last] = await from.readItems(key, "held", EVERYTHING);
        const moved = { ...item(1), ...to, seq: 20 };
        assert.deepEqual(plain([last!]), plain([moved]));
      };
      await look(storage);
      let current = storage;
      if (options.durable) {
        await storage.close();
        current = await open(dir);
        t.after(() => current.close());
        await look(current);
      }
      await current.commit([changes(key, { removesHeld: [{ first: 12, last: 20 }] })]);
      assert.deepEqual(seqs(await current.readItems(key, "held", EVERYTHING)), [10, 21]);
      assert.equal((await current.readHeld(other, "a", 9)).length, 1);
    });

    test("texts are kept as they are, whatever characters they hold", async (t) => {
      const { storage, keys } = await setup(t);
      const odd = "a\u0000b\u{1f600}'\"\\\u0000";
      const kept = item(1, {
        attributes: JSON.stringify(odd),
        record: new ItemRecord(JSON.stringify(odd), Buffer.from(odd)),
      });
      await storage.commit([changes(keys[0]!, { adds: [kept], addsKey: [entry(odd, 1)] })]);
      assert.deepEqual(plain(await read(storage, keys[0]!)), plain([kept]));
      const found = await storage.findKeys(keys[0]!, 1, [odd, "a"]);
      assert.deepEqual([...found], [[odd, entry(odd, 1)]]);
      await storage.putQueues([{ name: odd, record: odd }]);
      assert.deepEqual(await storage.listQueues(), [{ name: odd, record: odd }]);
    });

    test("sweep() removes what was dropped step by step, and nothing else", async (t) => {
      const { storage, keys } = await setup(t);
      const adds = Array.from({ length: 25 }, (_, i) => item(i + 1));
      const extras = {
        addsExpiry: [{ at: 1, first: 1 }],
        addsKey: [entry("s", 1), entry("s", 2, { kind: 2, until: 5 })],
        addsHeld: [{ group: "g", item: item(77) }],
        leases: [{ first: 1, last: 2, deadline: 3, leasedAt: 1, extendedAt: 0 }],
      };
      await storage.commit(keys.map((key) => changes(key, { adds, ...extras })));
      await storage.dropPartitions([keys[0]!, keys[2]!]);
      const dropped = (await storage.listPartitions()).filter((each) => each.dropped);
      assert.deepEqual(
        dropped.map((each) => each.key),
        [keys[0], keys[2]],
      );
      for (let steps = 0; await storage.sweep(10); steps++) assert.ok(steps < 20);
      assert.deepEqual(
        (await storage.listPartitions()).map((each) => each.key),
        [keys[1]],
      );
      assert.equal((await read(storage, keys[1]!)).length, 25);
      const fresh = { queue: "n", number: 0, idPrefix: "n".repeat(18), createdAt: 1 };
      const [key] = await storage.createPartitions([fresh]);
      assert.ok(!keys.includes(key!));
      assert.deepEqual(await read(storage, key!), []);
    });

    test("queue records are listed by the bytes of their names", async (t) => {
      const { storage } = await setup(t);
      const names = ["b", "a", "\u{10000}", "\uffee", "B", "aa"];
      await storage.putQueues(names.map((name) => ({ name, record: `record of ${name}` })));
      await storage.putQueues([{ name: "a", record: "replaced" }]);
      await storage.deleteQueue("b");
      await storage.deleteQueue("nope");
      const listed = await storage.listQueues();
      assert.deepEqual(
        listed.map((each) => each.name),
        ["B", "a", "aa", "\uffee", "\u{10000}"],
      );
      assert.equal(listed[1]!.record, "replaced");
    });

    test("queue records are written and removed in one write", async (t) => {
      const { storage } = await setup(t);
      const records = ["a", "b", "c"].map((name) => ({ name, record: name }));
      await storage.putQueues(records);
      await storage.putQueues([{ name: "d", record: "d" }], ["a", "nope", "c"]);
      await storage.putQueues([], ["b"]);
      // What is both is there afterwards.
      await storage.putQueues([{ name: "d", record: "again" }], ["d"]);
      assert.deepEqual(await storage.listQueues(), [{ name: "d", record: "again" }]);
    });

    test("check() succeeds while storage works", async (t) => {
      const { storage } = await setup(t);
      await storage.check();
    });

    test("random commits leave what a plain list of items would hold", async (t) => {
      const { storage, dir, keys } = await setup(t);
      let current = storage;
      const key = keys[0]!;
      const model = new Map<number, StoredItem>();
      let tail = 1;
      const step = fc.record({
        adds: fc.nat(70),
        leased: fc.boolean(),
        removes: fc.array(fc.tuple(fc.nat(400), fc.oneof(fc.nat(20), fc.nat(400))), {
          maxLength: 3,
        }),
        moves: fc.nat(3),
        reopen: fc.integer({ min: 0, max: 9 }),
      });
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 12 }), async (steps) => {
          for (const { adds, leased, removes, moves, reopen } of steps) {
            const added = Array.from({ length: adds }, (_, i) =>
              item(tail + i, leased && i > adds / 2 ? { leaseDeadline: 5, attempts: 1 } : {}),
            );
            tail += adds;
            for (const each of added) model.set(each.seq, each);
            const moved = [...model.keys()].slice(0, moves).map((fromSeq) => {
              const toSeq = tail++;
              const old = model.get(fromSeq)!;
              model.delete(fromSeq);
              const after = { attempts: 2, expireAt: 3, attributes: `{"id":${fromSeq}}` };
              model.set(toSeq, { ...old, ...after, seq: toSeq, leaseDeadline: 0 });
              const both = { from: "items", to: "items" } as const;
              return { ...both, fromSeq, toSeq, ...after, dueAt: 0, group: "" };
            });
            const ranges = removes.map(([back, length]) => ({
              first: Math.max(tail - back, 1),
              last: Math.min(Math.max(tail - back, 1) + length, tail),
            }));
            tail++;
            for (const { first, last } of ranges) {
              for (let seq = first; seq <= last; seq++) model.delete(seq);
            }
            const counters = { ...COUNTERS, tail };
            await current.commit([
              changes(key, { counters, adds: added, moves: moved, removes: ranges }),
            ]);
            if (reopen === 0 && options.durable) {
              await current.close();
              current = await open(dir);
            }
          }
          const expected = [...model.values()].sort((a, b) => a.seq - b.seq);
          assert.deepEqual(plain(await read(current, key)), plain(expected));
          assert.equal((await current.loadPartition(key)).counters.tail, tail);
        }),
        { numRuns: 10 },
      );
      if (current !== storage) t.after(() => current.close());
    });

    if (!options.durable) return;

    test("everything is there after closing and opening again", async (t) => {
      const { storage, dir, keys } = await setup(t);
      const counters = {
        head: 2,
        tail: 3,
        total: 2,
        scheduled: 1,
        held: 0,
        createdSum: 12_345,
        dropped: { attempts: 3, expired: 2 ** 33, rejected: 1 },
        lanes: [],
        counts: [1, 0, 2 ** 52 + 1],
      };
      const everything = changes(keys[0]!, {
        counters,
        adds: [item(1), item(2)],
        addsScheduled: [item(7, { dueAt: 70 })],
        leases: [{ first: 1, last: 1, deadline: 5, leasedAt: 4, extendedAt: 0 }],
        addsExpiry: [{ at: 9, first: 2 }],
        addsKey: [entry("s", 2)],
      });
      await storage.commit([everything]);
      await storage.putQueues([{ name: "q", record: "record" }]);
      await storage.dropPartitions([keys[2]!]);
      await storage.close();
      const again = await open(dir);
      t.after(() => again.close());
      assert.deepEqual(plain(await read(again, keys[0]!)), plain([item(1), item(2)]));
      const state = await again.loadPartition(keys[0]!);
      assert.deepEqual(state.counters, counters);
      assert.deepEqual(seqs(state.leased), [1]);
      assert.equal(state.leases.length, 1);
      assert.deepEqual(seqs(await again.readScheduled(keys[0]!, 5)), [7]);
      assert.deepEqual(await again.readExpiries(keys[0]!, 5), [{ at: 9, first: 2 }]);
      assert.equal((await again.findKeys(keys[0]!, 1, ["s"])).size, 1);
      assert.deepEqual(await again.listQueues(), [{ name: "q", record: "record" }]);
      assert.deepEqual(
        (await again.listPartitions()).map((each) => each.dropped),
        [false, false, true],
      );
    });
  });
}
