// The dashboard in a real browser: the items of a queue, and one of them.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Page } from "playwright-core";
import type { ServerOptions } from "../../src/config/config.ts";
import { assertAccessible } from "../support/accessible.ts";
import { BROWSER, type Opened, openWorld } from "../support/browser.ts";
import type { Json } from "../support/items.ts";

const PHONE = { width: 390, height: 844 };

/** A queue "orders" that keeps what has ended, with "orders-dead", and the dashboard of its server. */
function dashboard(t: TestContext, options: ServerOptions = {}): Promise<Opened> {
  const settings = { dead_queue: "orders-dead", keep_completed: "1h", keep_payload: true };
  return openWorld(
    t,
    [{ queue_name: "orders-dead" }, { queue_name: "orders", ...settings }],
    options,
  );
}

const row = (page: Page, id: string) => page.getByRole("row").filter({ hasText: id });

const stateOf = (page: Page, state: string) =>
  page.locator("main .head .status").filter({ hasText: state });

test("items are listed by state, and filters stand in the address", BROWSER, async (t) => {
  const { world, open } = await dashboard(t);
  const [mail, later, sms] = await world.produce(
    "orders",
    { json: 1, kind: "mail" },
    { json: 2, kind: "mail", delay: "1h" },
    { json: 3, kind: "sms" },
  );
  const page = await open("queues/orders/items");
  await row(page, mail!).waitFor();
  assert.equal(await row(page, later!).count(), 0);
  await page.getByLabel("Value").fill("sms");
  await page.getByRole("button", { name: "Add filter" }).click();
  await row(page, mail!).waitFor({ state: "detached" });
  await row(page, sms!).waitFor();
  assert.match(page.url(), /kind=sms/);
  await page.getByRole("button", { name: "kind: sms" }).click();
  await row(page, mail!).waitFor();
  await page.getByRole("button", { name: "scheduled", exact: true }).click();
  await row(page, later!).waitFor();
  assert.match(page.url(), /state=scheduled/);
  await page.reload();
  await row(page, later!).waitFor();
  assert.equal(await row(page, mail!).count(), 0);
  await page.getByRole("button", { name: "completed", exact: true }).click();
  await page.getByText("No item fits").waitFor();
});

test("what the server refuses of a filter is shown", BROWSER, async (t) => {
  const { open } = await dashboard(t);
  const page = await open("queues/orders/items?older_than=yesterday", { mayFail: /400/ });
  await page.getByText("older_than").first().waitFor();
  await page.getByRole("button", { name: "Clear filters" }).click();
  await page.getByText("There are no such items").waitFor();
});

test("columns are paths into payloads and fields, kept in the address", BROWSER, async (t) => {
  const { world, open } = await dashboard(t);
  await world.produce(
    "orders",
    { json: { order: { id: 42, lines: [{ sku: "tea" }] } }, headers: { tenant: "acme" } },
    { utf8: '{"order":{"id":12345678901234567890}}' },
  );
  const page = await open("queues/orders/items");
  for (const path of ["$.order.id", "$.order.lines[0].sku", "headers.tenant"]) {
    await page.getByLabel("Column").fill(path);
    await page.getByRole("button", { name: "Add column" }).click();
    await page.getByRole("columnheader", { name: path }).waitFor();
  }
  for (const value of ["42", "12345678901234567890", "tea", "acme"]) {
    await page.getByRole("cell", { name: value, exact: true }).waitFor();
  }
  await page.reload();
  await page.getByRole("cell", { name: "tea", exact: true }).waitFor();
  await page.getByRole("button", { name: "headers.tenant" }).click();
  await page.getByRole("columnheader", { name: "headers.tenant" }).waitFor({ state: "detached" });
});

test("a list goes on from page to page", BROWSER, async (t) => {
  const { world, open } = await dashboard(t);
  const ids = await world.produce("orders", ...Array.from({ length: 60 }, (_, json) => ({ json })));
  const page = await open("queues/orders/items");
  await row(page, ids[0]!).waitFor();
  await page.getByRole("button", { name: "Next page" }).click();
  await row(page, ids[59]!).waitFor();
  await row(page, ids[0]!).waitFor({ state: "detached" });
  await page.getByRole("button", { name: "First page" }).click();
  await row(page, ids[0]!).waitFor();
  await page.keyboard.press("n");
  await row(page, ids[59]!).waitFor();
});

test(
  "a payload is shown as a tree, as text and as bytes once it is asked for",
  BROWSER,
  async (t) => {
    const { world, open } = await dashboard(t);
    const exact = '{"big":12345678901234567890,"name":"Ada"}';
    const raw = `{"queue_name":"orders","items":[{"json":${exact}},{"bytes":"/wCB"}]}`;
    const reply = await fetch(`${world.server.server.address}/v2/queue.produce`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: raw,
    });
    const [json, bytes] = ((await reply.json()) as Json).results;
    const page = await open(`queues/orders/items/${json.id}`);
    await page.getByText("It is not read before it is asked for.").waitFor();
    await page.keyboard.press("p");
    await page.getByText("12345678901234567890").waitFor();
    await page.getByRole("button", { name: "Text", exact: true }).click();
    await page.getByText('"big": 12345678901234567890').waitFor();
    await page.getByRole("button", { name: "Hex", exact: true }).click();
    await page.getByText("00000000 7b 22 62 69 67").waitFor();
    await page.goto(page.url().replace(/#.*/, "#/queues/orders/items"));
    await row(page, bytes.id).getByRole("button", { name: "Show" }).click();
    await page.getByText("00000000 ff 00 81").waitFor();
    assert.equal(await page.getByRole("button", { name: "Text", exact: true }).count(), 0);
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
  },
);

test(
  "rows are walked and chosen with keys, and what is chosen is cancelled",
  BROWSER,
  async (t) => {
    const { world, open } = await dashboard(t);
    const [first, second, third] = await world.produce(
      "orders",
      { json: 1 },
      { json: 2 },
      { json: 3 },
    );
    const page = await open("queues/orders/items");
    await row(page, first!).focus();
    for (const key of ["x", "j", "x"]) await page.keyboard.press(key);
    await page.getByText("2 chosen").waitFor();
    await page.keyboard.press("c");
    const dialog = page.getByRole("dialog", { name: "Cancel items" });
    await dialog.getByText("It would be done to 2.").waitFor();
    assert.equal(await world.state(first!), "waiting", "nothing is done before it is confirmed");
    await dialog.getByRole("button", { name: "Cancel 2" }).click();
    await dialog.getByText("Done: 2 of 2.").waitFor();
    await dialog.getByRole("button", { name: "Close" }).last().click();
    await row(page, first!).waitFor({ state: "detached" });
    assert.equal(await world.state(first!), "cancelled");
    assert.equal(await world.state(second!), "cancelled");
    assert.equal(await world.state(third!), "waiting");
  },
);

test("what is scheduled is run now, and what is leased is tried again", BROWSER, async (t) => {
  const { world, open } = await dashboard(t);
  const [leased, scheduled] = await world.produce("orders", { json: 1 }, { json: 2, delay: "1h" });
  await world.lease("orders");
  const page = await open("queues/orders/items?state=leased");
  await row(page, leased!).getByRole("checkbox").check();
  await page.getByRole("button", { name: "Run now" }).click();
  await page.getByRole("button", { name: "Run 1 now" }).click();
  await page.getByText("Done: 1 of 1.").waitFor();
  assert.equal(await world.state(leased!), "waiting");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "scheduled", exact: true }).click();
  await row(page, scheduled!).getByRole("checkbox").check();
  await page.getByRole("button", { name: "Run now" }).click();
  await page.getByRole("button", { name: "Run 1 now" }).click();
  await page.getByText("Done: 1 of 1.").waitFor();
  assert.equal(await world.state(scheduled!), "waiting");
});

test(
  "all that match are counted, and deleted once the queue's name is typed",
  BROWSER,
  async (t) => {
    const { world, open } = await dashboard(t);
    const mails = Array.from({ length: 1_500 }, (_, json) => ({ json, kind: "mail" }));
    const ids = await world.produce("orders", ...mails.slice(0, 900));
    await world.produce("orders", ...mails.slice(900));
    const [sms] = await world.produce("orders", { json: 0, kind: "sms" });
    const page = await open("queues/orders/items?state=waiting&kind=mail");
    await page.getByRole("button", { name: "Delete all …" }).click();
    await page.getByText("It would be done to 1,500.").waitFor();
    const submit = page.getByRole("button", { name: "Delete 1,500" });
    assert.equal(await submit.isDisabled(), true);
    assert.equal(await world.state(ids[0]!), "waiting");
    await page.getByLabel("Type orders to go on").fill("orders");
    await submit.click();
    await page.getByText("Done: 1,500 of 1,500.").waitFor();
    const { totals } = await world.ok("queue.stats", { queue_name: "orders" });
    assert.equal(totals.waiting, 1);
    assert.equal(await world.state(sms!), "waiting");
  },
);

test("an action on many is stopped where it is", BROWSER, async (t) => {
  const { world, open } = await dashboard(t);
  const many = Array.from({ length: 1_000 }, (_, json) => ({ json }));
  for (let i = 0; i < 3; i++) await world.produce("orders", ...many);
  const page = await open("queues/orders/items?state=waiting");
  await page.getByRole("button", { name: "Cancel all …" }).click();
  await page.getByText("It would be done to 3,000.").waitFor();
  await page.getByLabel("Type orders to go on").fill("orders");
  await page.getByRole("button", { name: "Cancel 3,000" }).click();
  await page.getByRole("button", { name: "Stop" }).click();
  const told = await page.getByText(/Done: [\d,]+ of 3,000\. It was stopped\./).textContent();
  const done = Number(told!.match(/Done: ([\d,]+)/)![1]!.replaceAll(",", ""));
  const { totals } = await world.ok("queue.stats", { queue_name: "orders" });
  assert.ok(done < 3_000);
  assert.equal(totals.waiting, 3_000 - done, "what it tells is what was done");
});

test("what is refused is counted by why, and the rest is done", BROWSER, async (t) => {
  const { world, open } = await dashboard(t);
  const [gone, there] = await world.produce("orders", { json: 1 }, { json: 2 });
  const page = await open("queues/orders/items", { mayFail: /409/ });
  await row(page, gone!).getByRole("checkbox").check();
  await row(page, there!).getByRole("checkbox").check();
  const [lease] = await world.lease("orders");
  assert.equal(lease.id, gone);
  await world.end("queue.complete", "orders", [lease.lease_id]);
  await page.getByRole("button", { name: "Cancel", exact: true }).click();
  await page.getByRole("button", { name: "Cancel 2" }).click();
  await page.getByText("Done: 1 of 2.").waitFor();
  await page.getByText("Left as they are: 1 (precondition_failed)").waitFor();
  assert.equal(await world.state(there!), "cancelled");
});

test(
  "an item tells what has become of it, why it waits, and where its trace is",
  BROWSER,
  async (t) => {
    const { world, open } = await dashboard(t);
    const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    const headers = { traceparent: `00-${trace}-00f067aa0ba902b7-01` };
    const [id] = await world.produce("orders", {
      json: 1,
      kind: "mail",
      reference: "o-1",
      headers,
    });
    const [lease] = await world.lease("orders");
    const error = { type: "SmtpError", message: "no route", stack: "at send (mail.ts:7)" };
    await world.end("queue.retry", "orders", [lease.lease_id], { delay: "1h", error });
    const page = await open(`queues/orders/items/${id}`);
    await stateOf(page, "scheduled").waitFor();
    await page.getByText("Produced to orders").waitFor();
    await page.getByText("1 attempt · the last failed: SmtpError: no route").waitFor();
    await page.getByText("at send (mail.ts:7)").waitFor();
    await page.getByText("o-1").waitFor();
    await page.getByRole("button", { name: "Where traces are" }).click();
    await page.getByLabel("Address of a trace").fill("https://traces.example/t/{trace}");
    await page.getByRole("button", { name: "Save" }).click();
    const link = page.getByRole("link", { name: trace });
    assert.equal(await link.getAttribute("href"), `https://traces.example/t/${trace}`);
    await world.ok("item.update", { id, delay: "0s" });
    await stateOf(page, "waiting").waitFor();
    const [again] = await world.lease("orders");
    const done = [{ lease_id: again.lease_id, result: { sent: 7 } }];
    await world.ok("queue.complete", { queue_name: "orders", leases: done });
    await stateOf(page, "completed").waitFor();
    await page.getByText("Ended: completed").waitFor();
    await page.getByText("sent:").waitFor();
  },
);

test("what happens to an item is told while somebody looks", BROWSER, async (t) => {
  const { world, open } = await dashboard(t);
  const [id] = await world.produce("orders", { json: 1 });
  const page = await open(`queues/orders/items/${id}`);
  await stateOf(page, "waiting").waitFor();
  const updated = page.getByText("Updated", { exact: true });
  await world.server.until(async () => {
    await world.ok("item.update", { id, delay: "0s" });
    return (await updated.count()) > 0;
  });
  await world.lease("orders");
  await page.getByText("Leased", { exact: true }).waitFor();
  await stateOf(page, "leased").waitFor();
});

test("an item is edited: its time, its life and what it holds", BROWSER, async (t) => {
  const { world, open } = await dashboard(t);
  const [id] = await world.produce("orders", { json: { name: "Ada" } });
  const page = await open(`queues/orders/items/${id}`);
  await stateOf(page, "waiting").waitFor();
  await page.keyboard.press("e");
  await page.getByLabel("Leasable in").fill("1h");
  await page.getByRole("button", { name: "Load the payload to change it" }).click();
  const payload = page.getByLabel(/^Payload/);
  await payload.fill("{ no");
  await page.getByText("This is not JSON.").waitFor();
  assert.equal(await page.getByRole("button", { name: "Save" }).isDisabled(), true);
  await payload.fill('{"name":"Grace"}');
  await page.getByRole("button", { name: "Save" }).click();
  await stateOf(page, "scheduled").waitFor();
  assert.deepEqual((await world.get(id!, { payload: true })).json, { name: "Grace" });
});

test("an item is cancelled, and one that is not there is said not to be", BROWSER, async (t) => {
  const { world, open } = await dashboard(t);
  const [id] = await world.produce("orders", { json: 1 });
  const page = await open(`queues/orders/items/${id}`, { mayFail: /404/ });
  await page.getByRole("button", { name: "Cancel", exact: true }).click();
  await page.getByRole("button", { name: "Cancel 1" }).click();
  await page.getByText("Done: 1 of 1.").waitFor();
  await page.keyboard.press("Escape");
  await stateOf(page, "cancelled").waitFor();
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await page.getByRole("button", { name: "Delete 1" }).click();
  await page.getByText("Done: 1 of 1.").waitFor();
  await page.keyboard.press("Escape");
  await page.reload();
  await page.getByText("There is no such item").waitFor();
});

test("nothing can be changed where the server is read-only", BROWSER, async (t) => {
  const { world, open } = await dashboard(t, { ui: "read-only" });
  const [id] = await world.produce("orders", { json: 1 });
  const page = await open("queues/orders/items");
  await row(page, id!).getByRole("checkbox").check();
  for (const name of ["Cancel", "Delete"]) {
    assert.equal(await page.getByRole("button", { name, exact: true }).isDisabled(), true, name);
  }
  for (const key of ["c", "?"]) await page.keyboard.press(key);
  const help = page.getByRole("dialog", { name: "Keyboard shortcuts" });
  await help.getByText("Choose all of this page, or none").waitFor();
  assert.equal(await page.getByRole("dialog").count(), 1);
  assert.equal(await help.getByText("Cancel what is chosen").count(), 0);
});

test("the pages of items can be used by everybody, and on a phone", BROWSER, async (t) => {
  const { world, open } = await dashboard(t);
  const [id] = await world.produce("orders", { json: { a: [1, "two", null] }, kind: "mail" });
  const page = await open("queues/orders/items?kind=mail&columns=$.a", { viewport: PHONE });
  await row(page, id!).waitFor();
  await assertAccessible(page);
  await row(page, id!).getByRole("checkbox").check();
  await page.getByRole("button", { name: "Cancel", exact: true }).click();
  await page.getByText("It would be done to 1.").waitFor();
  await assertAccessible(page);
  await page.goto(page.url().replace(/#.*/, `#/queues/orders/items/${id}?payload=shown`));
  await page.getByText('"two"').waitFor();
  await assertAccessible(page);
  await page.getByRole("button", { name: "Edit" }).click();
  await page.getByLabel("Leasable in").waitFor();
  await assertAccessible(page);
});
