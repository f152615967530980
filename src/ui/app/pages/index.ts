// Every page there is, in the order of the navigation; the first one is where one begins.

import type { Page } from "../page.ts";
import { text } from "../text.ts";
import { accessPages } from "./access-pages.ts";
import { itemPages } from "./item-pages.ts";

const queuePages: readonly Page[] = [
  {
    path: "overview",
    title: text.overview.title,
    nav: "work",
    shortcut: "o",
    load: () => import("./overview.ts"),
  },
  {
    path: "queues",
    title: text.queues.title,
    nav: "work",
    shortcut: "q",
    load: () => import("./queues.ts"),
  },
  {
    path: "queues/:queue",
    title: ({ queue }) => queue!,
    load: () => import("./queue.ts"),
  },
];

export const pages: readonly Page[] = [...queuePages, ...itemPages, ...accessPages];
