// Makes the pictures of docs/DASHBOARD.md: `node scripts/screenshots.ts [NAME ... | all]` starts a server in memory, has an hour of
// work pass on it, and takes pictures of pages into docs/images/: of those that the document shows, unless others are named. It takes Chromium. A picture that is
// larger than it may be fails the script.

import { mkdirSync, readFileSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { startServer } from "../src/server/server.ts";
import { post } from "../test/support/post.ts";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const IMAGES = fileURLToPath(new URL("../docs/images/", import.meta.url));
const DOCUMENT = readFileSync(new URL("../docs/DASHBOARD.md", import.meta.url), "utf8");
const BYTES_MAX = 150_000;
const WIDE = { width: 1_180, height: 760 };
const PHONE = { width: 390, height: 760 };
const STEP_MS = 30_000;
const STEPS = 120;
const KEY = `qtr-docs-${"A".repeat(43)}`;

interface Shot {
  readonly name: string;
  readonly hash: string;
  /** What is there once the page is whole. */
  readonly shown: string;
  readonly isDark?: boolean;
  readonly isPhone?: boolean;
}

const SHOTS: readonly Shot[] = [
  { name: "overview", hash: "overview", shown: "canvas >> nth=1" },
  { name: "overview-phone", hash: "overview", shown: "canvas >> nth=1", isPhone: true },
  { name: "queues", hash: "queues", shown: "text=exports" },
  { name: "queue", hash: "queues/orders", shown: "canvas >> nth=3", isDark: true },
  { name: "items", hash: "queues/orders/items", shown: "tbody tr >> nth=3" },
  { name: "dead", hash: "queues/orders/dead", shown: "tbody tr >> nth=0" },
  { name: "try", hash: "try?queue=orders", shown: "text=Counts what is in a queue" },
  { name: "namespace", hash: "namespaces/billing", shown: "text=of 10,000" },
  { name: "users", hash: "users", shown: "text=shipping" },
  { name: "roles", hash: "roles", shown: "text=Producer" },
  { name: "bindings", hash: "bindings", shown: "td >> text=jane" },
  { name: "keys", hash: "keys", shown: "text=worker of shipping" },
  { name: "audit", hash: "audit", shown: "text=queues.update" },
  { name: "cluster", hash: "cluster", shown: "text=serving" },
  { name: "settings", hash: "settings", shown: "td >> text=Yes >> nth=7" },
];

const server = await startServer(
  { address: "127.0.0.1:0", dev: true, memory: true, auth: "keys", bootstrapKey: KEY },
  { logger: { debug() {}, info() {}, warn() {}, error() {} } },
);
try {
  await prepare();
  await takeAll(process.argv.slice(2));
} finally {
  await server.stop();
}

// biome-ignore lint/suspicious/noExplicitAny: replies have every shape
async function call(method: string, body: object): Promise<any> {
  const path = method.startsWith("dev.") ? `v1/${method}` : `v2/${method}`;
  const { status, text } = await post(`${server.address}/${path}`, JSON.stringify(body), {
    key: KEY,
  });
  if (status !== 200) throw new Error(`${method}: ${status} ${text}`);
  return text === "" ? {} : JSON.parse(text);
}

/** An hour of a small shop: one queue is well, one dies in part, one nobody asks for, one is for later. */
async function prepare(): Promise<void> {
  const end = Date.now();
  await call("dev.clock", { now: new Date(end - (STEPS + 2) * STEP_MS).toISOString() });
  await call("queues.apply", {
    queues: [
      { queue_name: "dead-orders" },
      { queue_name: "orders", dead_queue: "dead-orders", max_attempts: 3 },
      { queue_name: "emails", keep_completed: "1h" },
      { queue_name: "exports" },
      { queue_name: "reminders" },
    ],
  });
  await call("queues.update", { queue_name: "orders", max_attempts: 5 });
  await people();
  await produce("exports", 340);
  await produce("reminders", 900, { delay: "36h" });
  for (let step = 0; step < STEPS; step++) {
    const many = Math.round(60 + 40 * Math.sin(step / 12));
    await produce("orders", many);
    await produce("emails", many * 2);
    await work("orders", many - 2, step % 5 === 0 ? 2 : 0);
    await work("emails", many * 2, 0);
    await call("dev.clock", { advance: `${STEP_MS}ms` });
  }
  // What lags here is this script.
  for (let i = 0; i < 2; i++) await call("dev.clock", { advance: `${STEP_MS}ms` });
  await produce("orders", 25);
  await call("dev.clock", { run: true });
}

async function people(): Promise<void> {
  await call("namespaces.create", {
    name: "billing",
    description: "Invoices of the shop",
    key_tag: "billing",
    quotas: { queues: 20, items: 10_000, requests_per_second: 500 },
  });
  for (const [username, role_name] of [
    ["jane", "Operator"],
    ["shipping", "Consumer"],
  ] as const) {
    const { id: user_id } = await call("users.create", { username });
    await call("bindings.create", { user_id, role_name });
    await call("keys.create", { user_id, name: `worker of ${username}`, expire_in: "720h" });
  }
}

async function produce(queue_name: string, count: number, more: object = {}): Promise<void> {
  const items = Array.from({ length: count }, (_, i) => ({
    json: { customer: `customer-${i % 17}`, total: (i * 7) % 90 },
    kind: "order",
    ...more,
  }));
  await call("queue.produce", { queue_name, items });
}

/** Leases so many; completes them but some, which die of what is wrong with them. */
async function work(queue_name: string, count: number, bad: number): Promise<void> {
  const request = { queue_name, batch_size: count, client: "worker-1" };
  const { items = [] } = await call("queue.lease", request);
  const leases = items.map(({ lease_id }: { lease_id: string }) => ({ lease_id }));
  const rejected = leases.splice(0, bad).map((lease: object) => ({
    ...lease,
    error: { type: "AddressError", message: "the address has no country" },
  }));
  if (rejected.length > 0) await call("queue.reject", { queue_name, leases: rejected });
  if (leases.length > 0) await call("queue.complete", { queue_name, leases });
}

async function takeAll(names: readonly string[]): Promise<void> {
  mkdirSync(IMAGES, { recursive: true });
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  try {
    for (const shot of SHOTS) {
      const isWanted =
        names.length === 0
          ? DOCUMENT.includes(`images/${shot.name}.png`)
          : names.includes(shot.name) || names.includes("all");
      if (!isWanted) continue;
      const context = await browser.newContext({
        viewport: shot.isPhone ? PHONE : WIDE,
        colorScheme: shot.isDark ? "dark" : "light",
        reducedMotion: "reduce",
      });
      await context.addInitScript(`sessionStorage.setItem("querator.key", "${KEY}")`);
      const page = await context.newPage();
      await page.goto(`${server.address}/ui/#/${shot.hash}`);
      await page.locator(shot.shown).first().waitFor();
      const path = `${IMAGES}${shot.name}.png`;
      await page.screenshot({ path });
      await context.close();
      const { size } = statSync(path);
      process.stdout.write(`${shot.name}.png ${size}\n`);
      if (size > BYTES_MAX) throw new Error(`${path} has ${size} bytes, more than ${BYTES_MAX}`);
    }
  } finally {
    await browser.close();
  }
}
