// What may be done to items, one or many: in steps that the server takes whole, with how far it is, and an end
// to it at any time. What is refused is counted by why; the rest is done all the same.

import { CallError, call, config } from "./api.ts";
import { type Filter, type Item, isLive, listItems } from "./items.ts";
import { later } from "./time.ts";

export type Action = "retry" | "put_back" | "cancel" | "delete";

export const ACTIONS: readonly Action[] = ["retry", "put_back", "cancel", "delete"];

/** What a key must be allowed for it. */
export const NEEDS: Readonly<Record<Action, string>> = {
  retry: "queue.produce, queue.retry",
  put_back: "queue.redrive",
  cancel: "item.cancel",
  delete: "queue.clear",
};

/** Whether keys may begin what changes something; buttons know it by themselves. */
export function mayChange(): boolean {
  return config.value?.readOnly !== true;
}

/** Whether it makes sense for an item; the server decides. */
export function fits(action: Action, item: Item): boolean {
  const { state } = item;
  if (action === "retry") return state === "scheduled" || state === "leased";
  if (action === "put_back") return state === "dead";
  return action === "delete" || isLive(item);
}

export interface Progress {
  readonly done: number;
  /** How many the server has refused, or passed over, by why. */
  readonly refused: Readonly<Record<string, number>>;
  readonly total: number;
}

/** Ids of one call. */
const STEP = 500;
/** Calls at a time, where each is of one item. */
const AT_ONCE = 6;
const LOOK_MS = 300;

/** Does it to all of them, in their order; ends early, between two steps, once the signal says so. */
export async function act(
  queue: string,
  action: Action,
  items: readonly Item[],
  { signal, onProgress }: Watch,
): Promise<Progress> {
  const progress = new Counter(items.length, onProgress);
  const fitting = items.filter((item) => fits(action, item));
  progress.add(0, { other_state: items.length - fitting.length });
  for (let at = 0; at < fitting.length && !signal.aborted; at += STEP) {
    await STEPS[action](queue, fitting.slice(at, at + STEP), { signal, progress });
  }
  return progress.now();
}

/** Who wants to know how far it is, and may end it. */
export interface Watch {
  readonly signal: AbortSignal;
  readonly onProgress: (progress: Progress) => void;
}

interface Doing {
  readonly signal: AbortSignal;
  readonly progress: Counter;
}

class Counter {
  #done = 0;
  #refused: Record<string, number> = {};
  readonly #total: number;
  readonly #onProgress: (progress: Progress) => void;

  constructor(total: number, onProgress: (progress: Progress) => void) {
    this.#total = total;
    this.#onProgress = onProgress;
  }

  add(done: number, refused: Readonly<Record<string, number>> = {}): void {
    this.#done += done;
    for (const [why, count] of Object.entries(refused)) {
      if (count > 0) this.#refused[why] = (this.#refused[why] ?? 0) + count;
    }
    this.#onProgress(this.now());
  }

  now(): Progress {
    return { done: this.#done, refused: { ...this.#refused }, total: this.#total };
  }
}

type Step = (queue: string, items: readonly Item[], doing: Doing) => Promise<void>;

const idsOf = (items: readonly Item[]): string[] => items.map(({ id }) => id);

const STEPS: Readonly<Record<Action, Step>> = {
  async retry(queue, items, doing) {
    const leased = items.filter(({ lease_id }) => lease_id !== undefined);
    if (leased.length > 0) {
      const leases = leased.map(({ lease_id }) => ({ lease_id, delay: "0s" }));
      await together("queue.retry", { queue_name: queue, leases }, doing);
    }
    const others = items.filter(({ lease_id }) => lease_id === undefined);
    await oneByOne(others, doing, ({ id, state }) =>
      call("item.update", { queue_name: queue, id, delay: "0s", if_state: state }),
    );
  },
  async put_back(queue, items, { signal, progress }) {
    const ids = idsOf(items);
    const { moved } = await redrive({ queue_name: queue, ids }, signal, () => {});
    progress.add(moved, { not_moved: items.length - moved });
  },
  cancel: (queue, items, doing) =>
    oneByOne(items, doing, ({ id }) => call("item.cancel", { queue_name: queue, id })),
  delete: (queue, items, doing) =>
    together("items.delete", { queue_name: queue, ids: idsOf(items) }, doing),
};

/** A call on several things: what became of each. */
async function together(method: string, body: object, { progress }: Doing): Promise<void> {
  const reply = await call<{ results?: { ok?: boolean; code?: string }[] }>(method, body);
  for (const { ok, code } of reply.results ?? []) {
    if (ok) progress.add(1);
    else progress.add(0, { [code ?? "failed"]: 1 });
  }
}

/** Calls that are of one item each, some at a time. What is wrong with an item is counted, all else ends it. */
async function oneByOne(
  items: readonly Item[],
  { signal, progress }: Doing,
  ask: (item: Item) => Promise<unknown>,
): Promise<void> {
  const rest = [...items];
  const worker = async (): Promise<void> => {
    for (let item = rest.shift(); item !== undefined && !signal.aborted; item = rest.shift()) {
      try {
        await ask(item);
        progress.add(1);
      } catch (error) {
        if (!(error instanceof CallError) || ![404, 409].includes(error.problem.status)) {
          rest.length = 0;
          throw error;
        }
        progress.add(0, { [error.problem.code]: 1 });
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/** A redrive, or what a dry run tells of one. */
export interface Redrive {
  readonly id?: string;
  readonly to?: string;
  readonly state: "running" | "done" | "stopped" | "cancelled";
  readonly moved: number;
  readonly looked_at: number;
  readonly total: number;
  readonly skipped: number;
  readonly failed: number;
  readonly started_at?: string;
  readonly ended_at?: string;
}

/** Redrives, and waits for its end; ends it where it is if the signal says so. */
export async function redrive(
  body: { readonly queue_name: string; readonly [field: string]: unknown },
  signal: AbortSignal,
  onProgress: (redrive: Redrive) => void,
): Promise<Redrive> {
  let now = await call<Redrive>("queue.redrive", body);
  while (now.state === "running" && now.id !== undefined) {
    onProgress(now);
    const method = signal.aborted ? "redrives.cancel" : "redrives.info";
    await new Promise<void>((resolve) => void later(LOOK_MS, resolve));
    now = await call<Redrive>(method, { queue_name: body.queue_name, id: now.id });
  }
  return now;
}

/** Items that one action takes at most; what is beyond them is left for another. */
export const MATCHES_MAX = 100_000;
const PAGE = 1_000;

/** All that a filter finds, without what they hold; `complete` says whether that was all. */
export async function findAll(
  queue: string,
  filter: Filter,
  { signal, onFound }: { signal: AbortSignal; onFound: (count: number) => void },
): Promise<{ readonly items: readonly Item[]; readonly complete: boolean }> {
  const items: Item[] = [];
  let cursor: string | undefined = "";
  while (cursor !== undefined && items.length < MATCHES_MAX) {
    const page = await listItems(queue, filter, { limit: PAGE, cursor, signal });
    // Of what is held as little as there can be.
    for (const { id, state, lease_id, created_at } of page.items) {
      items.push({ id, state, created_at, ...(lease_id && { lease_id }) });
    }
    cursor = page.next;
    onFound(items.length);
  }
  return { items, complete: cursor === undefined };
}
