// Every page there is, in the order of the navigation.

import type { Page } from "../page.ts";
import { accessPages } from "./access-pages.ts";
import { itemPages } from "./item-pages.ts";
import { page as queues } from "./queues.ts";

export const pages: readonly Page[] = [queues, ...itemPages, ...accessPages];
