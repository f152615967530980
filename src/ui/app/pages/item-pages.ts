// The pages about items: what lies in a queue, what died, what is moved back, and trying.

import type { Page } from "../page.ts";
import { text } from "../text.ts";

export const itemPages: readonly Page[] = [
  {
    path: "queues/:queue/items",
    title: ({ queue }) => text.items.of(queue!),
    load: () => import("./items.ts"),
  },
  {
    path: "queues/:queue/items/:id",
    title: ({ id }) => text.items.one(id!),
    load: () => import("./item.ts"),
  },
  {
    path: "queues/:queue/dead",
    title: ({ queue }) => text.dead.of(queue!),
    load: () => import("./dead.ts"),
  },
  {
    path: "queues/:queue/redrives",
    title: ({ queue }) => text.redrive.of(queue!),
    load: () => import("./redrives-page.ts"),
  },
  {
    path: "try",
    title: text.tryIt.title,
    nav: "work",
    shortcut: "t",
    load: () => import("./try.ts"),
  },
];
