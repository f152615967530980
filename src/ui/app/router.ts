// Where one is: `#/queues/orders?tab=settings` is a path and a query. All state that one may want to send to
// somebody else, or come back to, stands there.

import { signal } from "@preact/signals";

export interface Route {
  /** Decoded, without the first slash. */
  readonly path: readonly string[];
  readonly query: Readonly<Record<string, string>>;
}

/** The values of `:names` in the path of a page. */
export type Params = Readonly<Record<string, string>>;

/** What may be given as a query; what is undefined or "" is left out. */
export type Query = Readonly<Record<string, string | number | undefined>>;

/** The name in a query of the namespace that a page is about. */
export const NAMESPACE = "ns";

export const route = signal(read());

addEventListener("hashchange", () => {
  route.value = read();
});

function read(): Route {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return {
    path: path.split("/").filter(Boolean).map(decode),
    query: Object.fromEntries(new URLSearchParams(query)),
  };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * The link to a page: `href(["queues", name], { tab: "settings" })`. What is about one thing stays in the namespace
 * of the page that leads there, unless it names another.
 */
export function href(path: readonly string[], query: Query = {}): string {
  const here = path.length > 1 ? { [NAMESPACE]: route.peek().query[NAMESPACE] } : {};
  const pairs = Object.entries({ ...here, ...query }).filter(
    ([, value]) => value !== undefined && value !== "",
  );
  const search = new URLSearchParams(pairs.map(([name, value]) => [name, String(value)]));
  return `#/${path.map(encodeURIComponent).join("/")}${pairs.length === 0 ? "" : `?${search}`}`;
}

/** Goes to a page. */
export function go(path: readonly string[], query: Query = {}): void {
  location.hash = href(path, query);
}

/** Changes the query of this page, in place of what is there: Back leads out of the page. */
export function setQuery(changes: Query): void {
  const { path, query } = route.value;
  history.replaceState(null, "", href(path, { ...query, ...changes }));
  route.value = read();
}

/** The values of a pattern's names, if a path is of this pattern. */
export function match(pattern: string, path: readonly string[]): Params | undefined {
  const parts = pattern.split("/").filter(Boolean);
  if (parts.length !== path.length) return undefined;
  const params: Record<string, string> = {};
  for (const [i, part] of parts.entries()) {
    if (part.startsWith(":")) params[part.slice(1)] = path[i]!;
    else if (part !== path[i]) return undefined;
  }
  return params;
}
