// Headers of a user's own, for what stands before a server: each is a text `Name: value`, as an option
// that may be there several times, or a line of an environment variable.

import { Option } from "commander";
import { printable } from "../printable.ts";
import { usage } from "./failure.ts";

/** The environment variable with headers, one a line. */
const HEADERS_VARIABLE = "QUERATOR_HEADERS";

const NAME = /^[\w!#$%&'*+.^`|~-]+$/;
const VALUE = /^[\t\x20-\x7e]*$/;
// They would say where a request ends, or what becomes of its connection.
const OF_A_CONNECTION =
  /^(connection|content-length|expect|keep-alive|proxy-connection|te|trailer|transfer-encoding|upgrade)$/i;

/** The option for a header; its value is a list. */
export function headerOption(): Option {
  return new Option(
    "--header <header>",
    `a header to send with every request, as "Name: value"; may be given several times (env: ${HEADERS_VARIABLE}, one a line)`,
  ).argParser((text: string, before: readonly string[] | undefined) => [...(before ?? []), text]);
}

/** The headers of options and of the environment, of which the options win; by name. */
export function headersOf(
  options: readonly string[] = [],
  env: string | undefined = process.env[HEADERS_VARIABLE],
): Record<string, string> {
  const lines = (env ?? "").split("\n").filter((line) => line.trim() !== "");
  const headers = new Map<string, readonly [name: string, value: string]>();
  for (const [texts, place] of [
    [lines, HEADERS_VARIABLE],
    [options, "--header"],
  ] as const) {
    const own = new Set<string>();
    for (const text of texts) {
      const [name, value] = parse(text, place);
      const key = name.toLowerCase();
      if (own.has(key)) throw usage(`${place}: '${name}' is given more than once`);
      own.add(key);
      headers.set(key, [name, value]);
    }
  }
  return Object.fromEntries(headers.values());
}

// A value may be a secret, and is not shown.
function parse(text: string, place: string): [name: string, value: string] {
  const colon = text.indexOf(":");
  const name = text.slice(0, Math.max(colon, 0)).trim();
  const value = text.slice(colon + 1).trim();
  if (!NAME.test(name)) {
    const what = colon === -1 ? "a header" : `'${printable(name)}'`;
    throw usage(`${place}: ${what} is invalid; use "Name: value"`);
  }
  if (OF_A_CONNECTION.test(name)) {
    throw usage(`${place}: '${name}' is about the connection, which is the client's own`);
  }
  if (!VALUE.test(value)) {
    throw usage(`${place}: the value of '${name}' is invalid; use printable ASCII characters`);
  }
  return [name, value];
}
