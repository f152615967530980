// Calls of the server: every one is a POST of JSON to /v2, with the key that this browser tab was given.
// What the server refuses is thrown with the problem that it told; what cannot be reached, as `Away`.

import { signal } from "@preact/signals";
import { NAMESPACE, route } from "./router.ts";
import { later } from "./time.ts";

/** A refusal of the server, in its words. */
export interface Problem {
  readonly status: number;
  readonly code: string;
  readonly title?: string;
  readonly detail?: string;
  readonly field?: string;
  readonly retryable?: boolean;
  readonly request_id?: string;
}

/** What is thrown when the server refuses a call. */
export class CallError extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.detail ?? problem.title ?? problem.code);
    this.problem = problem;
  }
}

/** What is thrown when no answer came. */
export class Away extends Error {}

/** What the server says of itself before anybody has signed in. */
export interface Config {
  readonly version: string;
  readonly readOnly: boolean;
  readonly auth: boolean;
  readonly namespaceDefault: string;
}

const KEY = "querator.key";
const AGAIN_MS = 2_000;

const kept = sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY) ?? undefined;

export const config = signal<Config | undefined>(undefined);
/** The key that calls are made with. */
export const key = signal<string | undefined>(kept);
/** Whether a key has to be shown before anything else: why it was asked for. */
export const signIn = signal<"" | "needed" | "refused">("");
/** Whether the server answers. */
export const away = signal(false);
/** Counts up when the server is back, for what wants to begin anew. */
export const returns = signal(0);

/** Takes a key for this tab, and for later ones of this browser if it is to be remembered. */
export function takeKey(text: string, remember: boolean): void {
  sessionStorage.setItem(KEY, text);
  if (remember) localStorage.setItem(KEY, text);
  key.value = text;
  signIn.value = "";
}

/** Forgets the key. */
export function signOut(): void {
  sessionStorage.removeItem(KEY);
  localStorage.removeItem(KEY);
  key.value = undefined;
  signIn.value = "needed";
}

/** Where a method is: the page may lie behind any prefix, and /ui/ and /v2/ lie side by side. */
export function address(path: string): string {
  return new URL(`../${path}`, document.baseURI.split("#")[0]).href;
}

/** What every request shows: the key, and the namespace that the address of the page names. */
export function headers(): Record<string, string> {
  const namespace = route.peek().query[NAMESPACE];
  return {
    ...(key.peek() === undefined ? {} : { authorization: `Bearer ${key.peek()}` }),
    ...(namespace ? { "x-querator-namespace": namespace } : {}),
  };
}

/** Calls a method of /v2, such as "queues.list", and answers what it answers. */
export async function call<T>(
  method: string,
  body: object = {},
  { signal, reviver }: { signal?: AbortSignal; reviver?: Parameters<typeof JSON.parse>[1] } = {},
): Promise<T> {
  const reply = await reach(address(`v2/${method}`), {
    method: "POST",
    headers: { ...headers(), "content-type": "application/json" },
    body: JSON.stringify(body),
    ...(signal === undefined ? {} : { signal }),
  });
  const text = await reply.text();
  if (reply.ok) return (text === "" ? {} : JSON.parse(text, reviver)) as T;
  const problem = problemOf(text, reply.status);
  if (reply.status === 401) signIn.value = key.value === undefined ? "needed" : "refused";
  throw new CallError(problem);
}

/** A fetch that tells whether the server is there. */
export async function reach(url: string, init: RequestInit): Promise<Response> {
  try {
    const reply = await fetch(url, { ...init, cache: "no-store" });
    // What a proxy says when there is nobody behind it; the server itself says 504 with a problem.
    const isOurs = reply.headers.get("content-type")?.includes("problem") === true;
    if (!isOurs && (reply.status === 502 || reply.status === 504)) throw new Away(reply.statusText);
    return reply;
  } catch (error) {
    if (error instanceof Error && error.name === "AbortError") throw error;
    wentAway();
    throw error instanceof Away ? error : new Away(String(error));
  }
}

function problemOf(text: string, status: number): Problem {
  try {
    const problem = JSON.parse(text) as Problem;
    if (typeof problem.code === "string") return problem;
  } catch {
    // Not of this server.
  }
  return { status, code: `http_${status}`, detail: text.slice(0, 300) };
}

/** Tells that the server does not answer; asks until it does. */
export function wentAway(): void {
  if (away.value) return;
  away.value = true;
  const look = (): void => {
    fetch(address("ui/config.json"), { cache: "no-store" }).then(
      (reply) => {
        if (!reply.ok) return void later(AGAIN_MS, look);
        away.value = false;
        returns.value++;
      },
      () => void later(AGAIN_MS, look),
    );
  };
  later(AGAIN_MS, look);
}

/** Asks what kind of server it is; until it has answered nothing can be shown. */
export async function loadConfig(): Promise<void> {
  const reply = await reach(address("ui/config.json"), {});
  config.value = (await reply.json()) as Config;
  if (config.value.auth && key.value === undefined) signIn.value = "needed";
}
