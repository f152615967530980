// Whether a page of the dashboard can be used by everybody as it is: in both colour schemes, and on this screen.

import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import { faultsIn } from "./axe.ts";

/** Fails if axe-core finds anything, in light or in dark, or if the page is wider than the screen. */
export async function assertAccessible(page: Page, where = page.url()): Promise<void> {
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    assert.deepEqual(await faultsIn(page), [], `${where}, ${colorScheme}`);
  }
  const wider = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
  assert.ok(Number(wider) <= 0, `${where} is ${wider} pixels wider than the screen`);
}
