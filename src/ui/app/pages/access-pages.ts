// The pages about who may do what, and about the server itself.

import type { Page } from "../page.ts";
import { text } from "../text.ts";

const titles = text.access;

export const accessPages: readonly Page[] = [
  {
    path: "namespaces",
    title: titles.namespaces,
    nav: "access",
    shortcut: "n",
    load: () => import("./namespaces.ts"),
  },
  {
    path: "namespaces/:namespace",
    title: ({ namespace }) => namespace!,
    load: () => import("./namespace.ts"),
  },
  {
    path: "users",
    title: titles.users,
    nav: "access",
    shortcut: "u",
    load: () => import("./users.ts"),
  },
  {
    path: "roles",
    title: titles.roles,
    nav: "access",
    shortcut: "r",
    load: () => import("./roles.ts"),
  },
  {
    path: "bindings",
    title: titles.bindings,
    nav: "access",
    shortcut: "b",
    load: () => import("./bindings.ts"),
  },
  {
    path: "keys",
    title: titles.keys,
    nav: "access",
    shortcut: "k",
    load: () => import("./keys.ts"),
  },
  {
    path: "audit",
    title: titles.audit,
    nav: "server",
    shortcut: "a",
    load: () => import("./audit.ts"),
  },
  {
    path: "cluster",
    title: titles.cluster,
    nav: "server",
    shortcut: "c",
    load: () => import("./cluster.ts"),
  },
  {
    path: "settings",
    title: titles.settings,
    nav: "server",
    shortcut: "s",
    load: () => import("./settings.ts"),
  },
];
