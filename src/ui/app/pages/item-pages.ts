// The pages about items: what lies in a queue, what died, what is moved back, and trying.

import type { Page } from "../page.ts";
import { page as dead } from "./dead.ts";
import { page as item } from "./item.ts";
import { page as items } from "./items.ts";
import { page as redrives } from "./redrives.ts";
import { page as tryIt } from "./try.ts";

export const itemPages: readonly Page[] = [items, item, dead, redrives, tryIt];
