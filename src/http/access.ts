// Which requests are let in at all, whatever they ask for. A browser sends what a page tells it to, also
// to a server on the same machine or network that the page has no business with; it says in the request
// from where. What comes from a page of another site is refused, unless its origin was allowed by name.
// And where this server listens for its own machine only, it answers to the names of this machine: a page
// can have a name of its own lead here, and would then be of the same site. Clients that are no browsers
// send nothing of all this, and notice nothing.

import { isIP } from "node:net";
import { hostname } from "node:os";
import { plainError, type QueueError, queueError } from "../errors.ts";
import { printable } from "../printable.ts";

export interface AccessRules {
  /** Origins whose pages may use this server, as a browser writes them; `*` for any. */
  readonly origins: readonly string[];
  /** Names that this server answers to beside those of its machine, in lower case; `*` for any. */
  readonly hosts: readonly string[];
  /** As it was told where to listen; "" of a Unix socket, which no name leads to. */
  readonly listensOn: string;
  /** Who may change nothing: pages of this server, or all who come here; nobody by default. */
  readonly readOnly?: "pages" | "all" | undefined;
  /** Whether it speaks TLS. */
  readonly isSecure?: boolean;
}

/**
 * What the head of a request says of where it comes from and whom it is for. What a target that is a whole
 * URL says does not count: no browser sends one to anything but a proxy.
 */
export interface Source {
  readonly method: string;
  /** The value of a header, by its name in lower case. */
  header(name: string): string | undefined;
}

// By these the machine is known inside containers; nobody can have such a name outside.
const CONTAINER_NAMES = [
  "host.docker.internal",
  "gateway.docker.internal",
  "host.containers.internal",
];

const SHOWN_MAX = 100;

/** The rules of a server. */
export class Access {
  readonly #rules: AccessRules;
  readonly #boundTo: () => string | undefined;
  // Names that are answered to; undefined if any is. Made with the first request.
  #hosts: ReadonlySet<string> | undefined | null = null;

  /** `boundTo` answers the address on which the server listens, once it does. */
  constructor(rules: AccessRules, boundTo: () => string | undefined) {
    this.#rules = rules;
    this.#boundTo = boundTo;
  }

  /**
   * Checks a request; throws a QueueError (403). Answers the origin that a browser must be told is
   * allowed, if the request comes from a page of another site.
   */
  check(source: Source): string | undefined {
    this.#checkHost(source.header("host"));
    const origin = source.header("origin");
    if (origin !== undefined) {
      if (isSameOrigin(origin, source, this.#rules.isSecure === true))
        return this.#checkSite(source);
      if (this.#isAllowed(origin)) return origin;
      const what = origin === "null" ? "a page without an origin" : `a page of '${shown(origin)}'`;
      throw forbidden(`${what} may not use this server, --allowed-origins names those that may`);
    }
    return this.#checkSite(source);
  }

  /** Checks a request that was let in and would change something; throws a QueueError (403). */
  checkChange(source: Source): void {
    const { readOnly } = this.#rules;
    if (readOnly === undefined) return;
    if (readOnly === "all" || this.#isOwnPage(source)) throw plainError("read_only");
  }

  // Pages of other sites that are allowed are none of this server.
  #isOwnPage(source: Source): boolean {
    if (source.header("sec-fetch-site") === "same-origin") return true;
    const origin = source.header("origin");
    return origin !== undefined && isSameOrigin(origin, source, this.#rules.isSecure === true);
  }

  #isAllowed(origin: string): boolean {
    const { origins } = this.#rules;
    return origins.includes(origin.toLowerCase()) || (origins.includes("*") && origin !== "null");
  }

  #checkSite(source: Source): undefined {
    const site = source.header("sec-fetch-site");
    if (site === undefined || site === "same-origin" || site === "none") return;
    // A link that somebody has followed: nothing is changed, and the page that had it sees nothing.
    const { method } = source;
    const isRead = method === "GET" || method === "HEAD";
    const isFollowed =
      source.header("sec-fetch-mode") === "navigate" &&
      (source.header("sec-fetch-dest") ?? "document") === "document";
    if (isRead && (isFollowed || this.#rules.origins.includes("*"))) return;
    throw forbidden(
      "a page of another site may not use this server, --allowed-origins names those that may",
    );
  }

  // One that is not given, or names nobody, comes from no browser.
  #checkHost(given: string | undefined): void {
    if (given === undefined || given === "") return;
    this.#hosts = this.#hosts === null ? this.#knownHosts() : this.#hosts;
    if (this.#hosts === undefined) return;
    const host = hostOf(given);
    if (host !== undefined) {
      if (isIP(host) !== 0 || host === "localhost" || host.endsWith(".localhost")) return;
      if (this.#hosts.has(host)) return;
    }
    throw forbidden(
      `this server is not known as '${shown(given)}', --allowed-hosts gives it more names`,
    );
  }

  #knownHosts(): ReadonlySet<string> | undefined {
    const { hosts, listensOn } = this.#rules;
    if (hosts.includes("*") || !isLoopback(this.#boundTo() ?? listensOn)) return undefined;
    const own = hostname().toLowerCase();
    return new Set([...hosts, ...CONTAINER_NAMES, own, listensOn.toLowerCase()]);
  }
}

function forbidden(detail: string): QueueError {
  return queueError("permission_denied", { detail });
}

// A letter of a header is a byte of what was mostly meant as UTF-8.
function shown(value: string): string {
  const text = value.length > SHOWN_MAX ? `${value.slice(0, SHOWN_MAX)}...` : value;
  return printable(Buffer.from(text, "latin1").toString());
}

/** Whether an address, or a name for one, is this machine's for itself. */
export function isLoopback(address: string): boolean {
  const plain = address.toLowerCase().replace(/^::ffff:/, "");
  return (
    plain === "::1" ||
    plain === "localhost" ||
    plain.endsWith(".localhost") ||
    (isIP(plain) === 4 && plain.startsWith("127."))
  );
}

// The name or address in a Host header, without its port, as a URL has it; undefined if it is none.
function hostOf(header: string): string | undefined {
  if (isIP(header) !== 0) return header;
  if (!/^[\w.~:[\]%-]+$/.test(header)) return undefined;
  const url = URL.parse(`http://${header}`);
  if (url === null || url.pathname !== "/") return undefined;
  return url.hostname.replace(/^\[|\]$/g, "").replace(/\.$/, "");
}

// Whether a page's origin is what the request was sent to. A proxy may have been sent it, which tells
// by which name, and whether over TLS; where it does not tell the latter, the browser's word for the
// whole counts, which no page can forge.
function isSameOrigin(origin: string, source: Source, isSecure: boolean): boolean {
  const own = isSecure ? "https:" : "http:";
  const url = URL.parse(origin);
  if (url === null || !/^https?:$/.test(url.protocol)) return false;
  const told = firstOf(source.header("x-forwarded-proto"));
  if (told !== undefined ? `${told.toLowerCase()}:` !== url.protocol : url.protocol !== own) {
    if (told !== undefined || source.header("sec-fetch-site") !== "same-origin") return false;
  }
  const names = [source.header("host"), firstOf(source.header("x-forwarded-host"))];
  return names.some((name) => {
    if (name === undefined || hostOf(name) === undefined) return false;
    return URL.parse(`${url.protocol}//${name}`)?.host === url.host;
  });
}

// Of those that several proxies have added, the one that the browser talks to; "" is none.
function firstOf(header: string | undefined): string | undefined {
  return header?.split(",")[0]?.trim() || undefined;
}
