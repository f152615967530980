// The options that are about HTTP: how long idle connections are kept, which pages may use the server
// from a browser, and by which names it is reached.

import { isIP } from "node:net";
import { HOUR, SECOND } from "../clock.ts";
import { DurationError, parseDuration } from "../duration.ts";
import { UIS } from "./choices.ts";
import type { Section } from "./section.ts";

const KEEP_ALIVE_MIN = SECOND;
const KEEP_ALIVE_MAX = 24 * HOUR;
const KEEP_ALIVE_DEFAULT = "75s";
const METRICS_QUEUES_MAX = 100;

/** How long an idle connection is kept, in microseconds. */
export function readKeepAlive(given: Section, env: Section, file: Section): number {
  for (const [section, key, shown] of sources(given, env, file, KEEP_ALIVE)) {
    const text = section.text(key, shown);
    if (text === undefined) continue;
    const time = microsOf(text);
    if (time >= KEEP_ALIVE_MIN && time <= KEEP_ALIVE_MAX) return time;
    throw section.error(shown, `"${text}" is not allowed; use a time from 1s to 24h, such as 75s`);
  }
  return microsOf(KEEP_ALIVE_DEFAULT);
}

// 0 of what is none.
function microsOf(text: string): number {
  try {
    return parseDuration(text);
  } catch (error) {
    if (error instanceof DurationError) return 0;
    throw error;
  }
}

interface AllowedNames {
  readonly allowedOrigins: readonly string[];
  readonly allowedHosts: readonly string[];
}

/** Who is let in beside those who always are. */
export function readAccess(given: Section, env: Section, file: Section): AllowedNames {
  const read = (option: Option, normal: (text: string) => string | undefined, use: string) => {
    for (const [section, key, shown] of sources(given, env, file, option)) {
      const texts = section.texts(key, shown);
      if (texts === undefined) continue;
      return texts.map((text) => {
        const name = text === "*" ? text : normal(text);
        if (name !== undefined) return name;
        throw section.error(shown, `"${text}" is not allowed; use ${use}`);
      });
    }
    return [];
  };
  return {
    allowedOrigins: read(ORIGINS, originOf, "origins such as https://jobs.example.com, or *"),
    allowedHosts: read(HOSTS, hostOf, "names such as jobs.example.com, without a port, or *"),
  };
}

/** The queues that are told by themselves of what is measured, by their full names. */
export function readMetricsQueues(given: Section, env: Section, file: Section): readonly string[] {
  for (const [section, key, shown] of sources(given, env, file, METRICS_QUEUES)) {
    const names = section.texts(key, shown);
    if (names === undefined) continue;
    if (names.length <= METRICS_QUEUES_MAX) return names;
    throw section.error(shown, `has ${names.length} queues; ${METRICS_QUEUES_MAX} are allowed`);
  }
  return [];
}

/** Whether there is a dashboard, and whether it may change anything. */
export function readUi(given: Section, env: Section, file: Section): (typeof UIS)[number] {
  return (
    given.oneOf("ui", UIS) ?? env.oneOf("ui", UIS, "QUERATOR_UI") ?? file.oneOf("ui", UIS) ?? "on"
  );
}

// An origin as browsers write it. Those of extensions and the like have schemes of their own.
function originOf(text: string): string | undefined {
  const url = URL.parse(text);
  if (url === null || url.host === "" || url.host.includes("*")) return undefined;
  const origin = `${url.protocol}//${url.host}`;
  return url.href === origin || url.href === `${origin}/` ? origin.toLowerCase() : undefined;
}

function hostOf(text: string): string | undefined {
  const plain = text.toLowerCase().replace(/\.$/, "");
  if (isIP(plain) !== 0) return plain;
  if (!/^[^\s/?#@:*[\]\\]+$/.test(plain)) return undefined;
  return URL.parse(`http://${plain}`)?.hostname;
}

/** What an option is called on the command line and by programs, in the environment, in the file. */
interface Option {
  readonly name: string;
  readonly variable: string;
  readonly key: string;
}

const KEEP_ALIVE: Option = {
  name: "keepAliveTimeout",
  variable: "QUERATOR_KEEP_ALIVE_TIMEOUT",
  key: "keep-alive-timeout",
};
const ORIGINS: Option = {
  name: "allowedOrigins",
  variable: "QUERATOR_ALLOWED_ORIGINS",
  key: "allowed-origins",
};
const HOSTS: Option = {
  name: "allowedHosts",
  variable: "QUERATOR_ALLOWED_HOSTS",
  key: "allowed-hosts",
};

const METRICS_QUEUES: Option = {
  name: "metricsQueues",
  variable: "QUERATOR_METRICS_QUEUES",
  key: "metrics-queues",
};

// Where an option may be said, the first that counts first.
function sources(
  given: Section,
  env: Section,
  file: Section,
  { name, variable, key }: Option,
): readonly (readonly [section: Section, key: string, shown: string])[] {
  return [
    [given, name, name],
    [env, name, variable],
    [file, key, key],
  ];
}
