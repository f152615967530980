// Whether a page of the dashboard can be used by everybody, as far as axe-core can tell: in light and dark.

import assert from "node:assert/strict";
import axe from "axe-core";
import type { Page } from "playwright-core";

const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

interface Finding {
  readonly id: string;
  readonly nodes: readonly { readonly html: string; readonly failureSummary?: string }[];
}

/** Fails if axe-core finds anything in the page as it is, in either colour scheme. */
export async function assertAccessible(page: Page): Promise<void> {
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await page.evaluate(`${axe.source};0`);
    const found = (await page.evaluate(
      `axe.run({ runOnly: ${JSON.stringify(RULES)} }).then((each) => each.violations)`,
    )) as readonly Finding[];
    const told = found.map(({ id, nodes }) => ({
      id,
      nodes: nodes.map(({ html, failureSummary }) => `${html}: ${failureSummary}`),
    }));
    assert.deepEqual(told, [], colorScheme);
  }
}

/** Fails if the page is wider than the screen. */
export async function assertFits(page: Page): Promise<void> {
  const wider = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
  assert.ok(Number(wider) <= 0, `it is ${wider} pixels wider than the screen`);
}
