// What is shipped for Prometheus and Grafana speaks of nothing that a server does not tell.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { parse as parseYaml } from "yaml";
import { isThere } from "./support/commands.ts";
import { parse } from "./support/exposition.ts";
import { setup, temporaryDirectory } from "./support/server.ts";

function read(path: string): string {
  return readFileSync(new URL(`../ops/${path}`, import.meta.url), "utf8");
}

const PROMTOOL = process.env.QUERATOR_TEST_PROMTOOL ?? "promtool";
const needsPromtool = isThere(`${PROMTOOL} --version`)
  ? {}
  : { skip: "needs promtool, in the path or as QUERATOR_TEST_PROMTOOL" };

function promtool(args: readonly string[], input = ""): string {
  const cwd = new URL("../ops/prometheus/", import.meta.url);
  return execFileSync(PROMTOOL, args, { cwd, input, encoding: "utf8", stdio: "pipe" });
}

/** The names of all series, with the labels of each, that a server tells on which a bit of everything was done. */
async function told(t: TestContext): Promise<ReadonlyMap<string, ReadonlySet<string>>> {
  const server = await setup(t, { dataDir: temporaryDirectory(t) });
  await server.createQueue("q");
  await server.produce("q", "a", "b");
  const { items } = await server.lease("q");
  await server.complete("q", [items[0].id]);
  await server.call("/v2/queue.stats", { queue_name: "none" });
  const known = new Map<string, Set<string>>([["up", new Set(["job"])]]);
  for (const path of ["/metrics", "/metrics/queues"]) {
    const scrape = parse(await (await fetch(`${server.server.address}${path}`)).text());
    for (const { series } of scrape.families.values()) {
      for (const { name, labels } of series) {
        const own = known.get(name) ?? new Set(["instance"]);
        known.set(name, own);
        for (const label of Object.keys(labels)) own.add(label);
      }
    }
  }
  return known;
}

function check(expression: string, known: ReadonlyMap<string, ReadonlySet<string>>): void {
  const names = expression.match(/\b(querator|process)_\w+|\bup\b/g) ?? [];
  assert.ok(names.length > 0, expression);
  for (const name of names) assert.ok(known.has(name), `${name} in ${expression}`);
  for (const [, labels] of expression.matchAll(/\bby \(([^)]*)\)/g)) {
    for (const label of labels!.split(", ")) {
      const has = names.every((name) => label === "instance" || known.get(name)!.has(label));
      assert.ok(has, `${label} in ${expression}`);
    }
  }
}

test("alerts and boards use metrics and labels that there are", async (t) => {
  const known = await told(t);
  const { groups } = parseYaml(read("prometheus/querator.rules.yaml"));
  const rules = groups.flatMap((group: { rules: object[] }) => group.rules);
  assert.ok(rules.length > 5);
  for (const { alert, expr, annotations } of rules) {
    assert.ok(alert && annotations.summary);
    check(expr, known);
  }
  // promtool runs these; none of them may be forgotten.
  const { tests } = parseYaml(read("prometheus/tests.yaml"));
  const fired = new Set<string>();
  for (const { alert_rule_test } of tests) {
    for (const { alertname, exp_alerts } of alert_rule_test) {
      if (exp_alerts.length > 0) fired.add(alertname);
    }
  }
  const named = new Set(rules.map(({ alert }: { alert: string }) => alert));
  assert.deepEqual([...fired].sort(), [...named].sort());
  const { panels } = JSON.parse(read("grafana/querator.json"));
  assert.ok(panels.length > 10);
  for (const { targets } of panels) for (const { expr } of targets) check(expr, known);
});

test(
  "promtool has each alert fire when it should, and finds nothing wrong with them",
  needsPromtool,
  () => {
    assert.match(promtool(["test", "rules", "tests.yaml"]), /SUCCESS/);
    assert.match(promtool(["check", "rules", "--lint-fatal", "querator.rules.yaml"]), /SUCCESS/);
  },
);

test("promtool finds nothing wrong with what a server tells", needsPromtool, async (t) => {
  for (const threads of [1, 2]) {
    const server = await setup(t, { threads, dataDir: temporaryDirectory(t) });
    await server.createQueue("dead");
    await server.createQueue("q", { dead_queue: "dead" });
    await server.produce("q", "a", "b", "c");
    const { items } = await server.lease("q", 2);
    await server.complete("q", [items[0].id]);
    await server.call("/v2/queue.stats", { queue_name: "none" });
    await server.ok("/v2/queue.clear", { queue_name: "q", queue: true });
    for (const path of ["/metrics", "/metrics/queues"]) {
      const text = await (await fetch(`${server.server.address}${path}`)).text();
      assert.ok(text.includes("querator_"));
      // It says what it finds, and fails if there is anything.
      assert.equal(promtool(["check", "metrics"], text), "");
    }
  }
});
