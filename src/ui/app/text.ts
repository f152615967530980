// All that the dashboard says, by page: the only file with English in it. A text with something in it is a function.

import { count } from "./format.ts";

export const text = {
  shell: {
    name: "Querator",
    skip: "Skip to the content",
    navigation: "Main",
    groups: { work: "Work", access: "Access", server: "Server" },
    menu: "Menu",
    keys: "Keyboard shortcuts",
    keysHint: "Press ? at any time.",
    goTo: (page: string) => `Go to ${page}`,
    theme: "Colours",
    themes: { auto: "As the system", light: "Light", dark: "Dark" },
    utc: "Times in UTC",
    local: "Local times",
    signOut: "Sign out",
    readOnly: "Read-only",
    readOnlyWhy: "This server's dashboard is read-only",
    away: "The server does not answer. What is shown may be old; it is asked again every two seconds.",
    failed: "That did not work",
    needs: (permission: string) =>
      `It takes the permission ${permission}, which this key does not have.`,
    notFound: "There is no such page",
    loading: "Loading …",
  },
  signIn: {
    title: "Sign in",
    why: "This server wants a key. It stays in this browser tab, and is sent to this server only.",
    refused: "The server does not accept this key.",
    key: "API key",
    remember: "Remember it in this browser",
    submit: "Sign in",
  },
  dialog: {
    close: "Close",
    cancel: "Cancel",
    typeName: (name: string) => `Type ${name} to go on`,
  },
  table: {
    all: "Choose all of this page",
    choose: (name: string) => `Choose ${name}`,
    more: (rest: number) => `and ${count(rest)} more`,
    next: "Next page",
    first: "First page",
  },
  queues: {
    title: "Queues",
    search: "Search by name",
    none: "There is no queue yet",
    noneFound: (search: string) => `No queue has “${search}” in its name`,
    noneHint: "A queue is made here, with the command line, or by the program that needs it.",
    create: "Create a queue",
    total: (total: number | string) => `${count(total)} queues`,
    name: "Queue",
    namespace: "Namespace",
    waiting: "Waiting",
    leased: "Leased",
    scheduled: "Scheduled",
    dead: "Dead",
    oldest: "Oldest",
    in: "In /s",
    out: "Out /s",
    depth: "Last half hour",
    state: "State",
  },
  // Pages about items: texts stand below, by page.
  items: {},
  // Pages about access and the server: texts stand below, by page.
  access: {},
};
