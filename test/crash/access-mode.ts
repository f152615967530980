// SIGKILL while keys are made, rotated, taken away and expire, users are deleted and roles are given and taken: what was
// acknowledged holds at once, on every thread, and over every start. A key that is gone never works again, one
// that was made works, and who shows none is never let in. Outcomes that nobody knows are settled by the first look after.

import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Random } from "../support/random.ts";
import { keepScratch, makeScratch, removeScratch } from "../support/scratch.ts";
import { type Answer, Client } from "./client.ts";
import type { ModeOptions, ModeResult } from "./crash-run.ts";
import { Host } from "./host.ts";

const ADMIN = `qtr-test-${"A".repeat(43)}`;
const WORKERS = 6;
const PROBERS = 3;
// Times that keys may have left are of about the life of a server.
const LEFT_MS = 800;
// Times are written with less digits than they are looked at with.
const SLACK_MS = 5;
const DIES_IN_START = 0.25;
const START_MS = 400;
const KEYS_MAX = 8;
// Under /v1 wrong keys are answered the same however many there were.
const PROBE = "queues.list";

/** Whether something is so; nobody knows after a change whose answer was lost. */
type Truth = "yes" | "no" | "unknown";

interface User {
  readonly id: string;
  isThere: Truth;
  isViewer: Truth;
  readonly keys: Key[];
  /** Counts beginnings and ends of changes: a look that was under way meanwhile says nothing. */
  changes: number;
}

interface Key {
  readonly id: string;
  readonly key: string;
  readonly user: User;
  isThere: Truth;
  /** When it ends by itself: surely not before the one, surely by the other, in milliseconds since 1970. */
  endsAfter: number;
  endsBy: number;
}

interface Made {
  readonly key: string;
  readonly info: { readonly id: string };
}

class AccessLoad {
  readonly violations: string[] = [];
  readonly counts = {
    made: 0,
    revoked: 0,
    rotated: 0,
    expired: 0,
    deleted: 0,
    roles: 0,
    lost: 0,
    looks: 0,
    refused: 0,
  };
  readonly #client: Client;
  readonly #random: Random;
  readonly #users: User[] = [];
  /** Keys whose making was not acknowledged: they may be there, and nobody has them. */
  #unknownKeys = 0;
  #isGoing = true;

  constructor(client: Client, random: Random) {
    this.#client = client;
    this.#random = random;
  }

  stop(): void {
    this.#isGoing = false;
  }

  /** One after the other changes its own users and keys, until told to stop. */
  async change(): Promise<void> {
    let user: User | undefined;
    while (this.#isGoing) {
      user = user?.isThere === "no" ? undefined : (user ?? (await this.#makeUser()));
      if (user === undefined) continue;
      await this.#changeOne(user);
      await this.#lookAtAll(user);
    }
  }

  /** Looks at any key of anybody, while it is perhaps being changed. */
  async probe(): Promise<void> {
    while (this.#isGoing) {
      const keys = this.#users.flatMap((user) => user.keys);
      if (keys.length > 0) await this.look(this.#random.pick(keys));
      if (this.#random.oneIn(10)) {
        const { status } = await this.#client.post(PROBE, {});
        if (![0, 403, 453, 454].includes(status)) this.#violation("open", `nobody got ${status}`);
      }
      await sleep(2);
    }
  }

  async #changeOne(user: User): Promise<void> {
    const random = this.#random;
    const keys = user.keys.filter((key) => key.isThere === "yes");
    const key = keys.length === 0 ? undefined : random.pick(keys);
    const dice = random.below(100);
    if (key === undefined || (dice < 35 && keys.length < KEYS_MAX)) await this.#makeKey(user);
    else if (dice < 60) await this.#revoke(key);
    else if (dice < 75) await this.#rotate(key);
    else if (dice < 95) await this.#bind(user);
    else await this.#deleteUser(user);
  }

  async #makeUser(): Promise<User | undefined> {
    const username = `user-${this.#random.below(2 ** 31)}`;
    const { status, text } = await this.#ask("v2/users.create", { username });
    if (status !== 200) return undefined;
    const { id } = JSON.parse(text) as { id: string };
    const user: User = { id, isThere: "yes", isViewer: "no", keys: [], changes: 0 };
    this.#users.push(user);
    return user;
  }

  async #makeKey(user: User): Promise<void> {
    const left = this.#random.oneIn(3) ? 1 + this.#random.below(LEFT_MS) : undefined;
    const expires = left === undefined ? {} : { expire_in: `${left}ms` };
    const answer = await this.#during(user, "v2/keys.create", { user_id: user.id, ...expires });
    if (answer.status === 404) this.#violation("lost", `user ${user.id} is not there`);
    else if (answer.status !== 200) this.#unknownKeys++;
    else this.#add(user, answer, left);
  }

  #add(user: User, answer: Answer, left = Number.POSITIVE_INFINITY): void {
    const { key, info } = JSON.parse(answer.text) as Made;
    const ends = { endsAfter: answer.sentAt + left, endsBy: answer.at + left };
    user.keys.push({ id: info.id, key, user, isThere: "yes", ...ends });
    this.counts.made++;
  }

  async #revoke(key: Key): Promise<void> {
    const { status } = await this.#during(key.user, "v2/keys.revoke", { id: key.id });
    key.isThere = status === 200 || status === 404 ? "no" : "unknown";
    if (status === 200) this.counts.revoked++;
    if (status === 404) this.#checkMayBeGone(key);
  }

  async #rotate(key: Key): Promise<void> {
    const overlap = this.#random.below(LEFT_MS);
    const request = { id: key.id, overlap: `${overlap}ms` };
    const answer = await this.#during(key.user, "v2/keys.rotate", request);
    if (answer.status === 404) {
      this.#checkMayBeGone(key);
      key.isThere = "no";
      return;
    }
    // The other one ends when this one would have.
    const before = { endsAfter: key.endsAfter, endsBy: key.endsBy };
    key.endsAfter = Math.min(key.endsAfter, answer.sentAt + overlap);
    if (answer.status !== 200) {
      this.#unknownKeys++;
      return;
    }
    key.endsBy = Math.min(key.endsBy, answer.at + overlap);
    this.counts.rotated++;
    this.#add(key.user, answer);
    Object.assign(key.user.keys.at(-1)!, before);
  }

  #checkMayBeGone(key: Key): void {
    if (Date.now() < key.endsAfter - SLACK_MS) {
      this.#violation("lost", `key ${key.id} was made and is not known`);
    }
  }

  async #bind(user: User): Promise<void> {
    const verb = user.isViewer === "yes" ? "delete" : "create";
    const binding = { namespace: "_system", role_name: "Viewer", user_id: user.id };
    const { status } = await this.#during(user, `v2/bindings.${verb}`, binding);
    const isAlready = status === (verb === "create" ? 409 : 404);
    if (status === 200 || isAlready) user.isViewer = verb === "create" ? "yes" : "no";
    else user.isViewer = "unknown";
    if (status === 200) this.counts.roles++;
  }

  async #deleteUser(user: User): Promise<void> {
    const { status } = await this.#during(user, "v2/users.delete", { id: user.id });
    const isGone = status === 200 || status === 404;
    user.isThere = isGone ? "no" : "unknown";
    for (const key of user.keys) {
      if (key.isThere !== "no") key.isThere = isGone ? "no" : "unknown";
    }
    user.isViewer = isGone ? "no" : "unknown";
    if (status === 200) this.counts.deleted++;
    while (user.isThere === "unknown") await this.#settle(user);
  }

  // Keys of a user that may be gone say nothing of it: it is asked for.
  async #settle(user: User): Promise<void> {
    const binding = { namespace: "_system", role_name: "Viewer", user_id: user.id };
    const { status } = await this.#ask("v2/bindings.create", binding);
    if (status === 200 || status === 409) {
      user.isThere = "yes";
      user.isViewer = "yes";
    } else if (status === 404) {
      user.isThere = "no";
      user.isViewer = "no";
      for (const key of user.keys) key.isThere = "no";
    }
  }

  async #during(user: User, path: string, request: object): Promise<Answer> {
    user.changes++;
    const answer = await this.#ask(path, request);
    user.changes++;
    const { status } = answer;
    if (status !== 200) this.counts.lost++;
    if (![0, 200, 404, 409, 503, 504].includes(status)) {
      this.#violation("status", `${path} got ${status} ${answer.text}`);
    }
    return answer;
  }

  #ask(path: string, request: object): Promise<Answer> {
    return this.#client.post(path, request, ADMIN);
  }

  async #lookAtAll(user: User): Promise<void> {
    await Promise.all(user.keys.map((key) => this.look(key)));
    // Of those that are gone some are looked at until the end.
    const gone = user.keys.findIndex((key) => key.isThere === "no");
    if (user.keys.length > 4 * KEYS_MAX && gone !== -1) user.keys.splice(gone, 1);
  }

  /** Asks with a key, and judges the answer. */
  async look(key: Key): Promise<void> {
    const { user } = key;
    const { changes } = user;
    const { status, sentAt, at } = await this.#client.post(PROBE, {}, key.key);
    const isMeanwhile = changes !== user.changes || changes % 2 === 1;
    if (status === 0 || status === 453 || status === 454 || status === 503 || isMeanwhile) return;
    this.counts.looks++;
    const mayBeThere = key.isThere !== "no" && sentAt < key.endsBy + SLACK_MS;
    const mayBeGone = key.isThere !== "yes" || at > key.endsAfter - SLACK_MS;
    if (status === 401) {
      this.counts.refused++;
      if (!mayBeGone) this.#violation("lost", `key ${key.id} does not work`);
      if (key.isThere === "yes") this.counts.expired++;
      key.isThere = "no";
      return;
    }
    if (!mayBeThere) {
      this.#violation("back", `key ${key.id} works again: ${status}`);
      return;
    }
    if (key.isThere === "unknown") key.isThere = "yes";
    const expected = { yes: [200], no: [403], unknown: [200, 403] }[user.isViewer];
    if (!expected.includes(status)) {
      this.#violation("role", `key ${key.id} got ${status} in place of ${expected.join()}`);
    }
    if (user.isViewer === "unknown") user.isViewer = status === 200 ? "yes" : "no";
  }

  /** Compares what is listed with what is known, once nobody changes anything. */
  async compare(): Promise<void> {
    // PostgreSQL has to notice first that the server before is gone.
    while ((await this.#ask("v2/queues.list", {})).status === 503) await sleep(20);
    const keys = this.#users.flatMap((user) => user.keys);
    for (const key of keys) await this.look(key);
    type Listed = { readonly keys: readonly { readonly id: string; readonly name?: string }[] };
    const { keys: listed } = await this.#client.ok<Listed>("v2/keys.list", {}, ADMIN);
    const ids = new Set(listed.map(({ id }) => id));
    const firsts = listed.filter(({ name }) => name === "first").length;
    if (firsts !== 1) this.#violation("first", `there are ${firsts} first keys`);
    const known = new Set(keys.map(({ id }) => id));
    for (const { id, isThere, endsAfter } of keys) {
      if (isThere === "yes" && Number.isFinite(endsAfter) === false && !ids.has(id)) {
        this.#violation("lost", `key ${id} is not listed`);
      }
    }
    const strangers = [...ids].filter((id) => !known.has(id)).length - 1;
    if (strangers > this.#unknownKeys) {
      this.#violation(
        "strange",
        `${strangers} keys, of which ${this.#unknownKeys} can be explained`,
      );
    }
  }

  #violation(kind: string, detail: string): void {
    this.violations.push(`${kind}: ${detail}`);
  }
}

/** Kills the server again and again while who may do what is changed. */
export async function accessMode(options: ModeOptions): Promise<ModeResult> {
  const { seed, kills, lifeMs, progress, postgres } = options;
  const directory = makeScratch();
  const random = new Random(seed);
  const env = { QUERATOR_AUTH: "keys", QUERATOR_BOOTSTRAP_KEY: ADMIN };
  const host = new Host({ dataDir: join(directory, "data"), postgres, env });
  const client = new Client(host);
  const load = new AccessLoad(client, new Random(seed + 1));
  const { violations, counts } = load;
  let inStarts = 0;
  let isOk = false;
  const work: Promise<void>[] = [];
  try {
    await host.start();
    for (let i = 0; i < WORKERS; i++) work.push(load.change());
    for (let i = 0; i < PROBERS; i++) work.push(load.probe());
    for (let kill = 1; kill <= kills && violations.length === 0; kill++) {
      await sleep(random.below(lifeMs));
      await host.kill();
      while (random.chance(DIES_IN_START)) {
        const server = host.spawn();
        await sleep(random.below(START_MS));
        await server.kill();
        inStarts++;
      }
      await host.start();
      progress(`access: kill ${kill} of ${kills}, ${counts.looks} looks at keys`);
    }
    await sleep(random.below(lifeMs));
    load.stop();
    await Promise.all(work);
    await host.kill();
    await host.start();
    await load.compare();
    for (const request of client.silent) violations.push(`silent: ${request}`);
    client.close();
    const { code } = await host.terminate();
    if (code !== 0) violations.push(`exit: the last stop ended with ${code}`);
    for (const line of host.failures) {
      if (line.includes(ADMIN)) violations.push(`secret: ${line}`);
    }
    isOk = violations.length === 0;
    const { made, revoked, rotated, expired, deleted, roles, lost, looks, refused } = counts;
    const figures = `${kills} kills and ${inStarts} in starts survived, ${made} keys made, ${revoked} revoked, ${rotated} rotated, ${expired} seen to end by themselves, ${deleted} users deleted, ${roles} roles given or taken, ${lost} outcomes lost, ${looks} looks at keys, ${refused} of them refused`;
    return { mode: "access", figures, violations };
  } finally {
    load.stop();
    client.close();
    await host.end();
    if (isOk) {
      removeScratch(directory);
    } else {
      keepScratch(directory);
      progress(`access: the data is kept in ${directory}`);
    }
  }
}
