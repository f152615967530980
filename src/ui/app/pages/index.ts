// Every page there is, in the order of the navigation; the first one is where one begins.

import type { Page } from "../page.ts";
import { accessPages } from "./access-pages.ts";
import { itemPages } from "./item-pages.ts";
import { page as overview } from "./overview.ts";
import { page as queue } from "./queue.ts";
import { page as queues } from "./queues.ts";

export const pages: readonly Page[] = [overview, queues, queue, ...itemPages, ...accessPages];
