// Where spans of slow requests are sent, and which requests are slow. What OpenTelemetry has its own variables for is
// read from them too, so that a server in a fleet needs nothing said twice.

import { HOUR } from "../clock.ts";
import { DurationError, parseDuration } from "../duration.ts";
import { ConfigError, readSecretFile, type Section } from "./section.ts";

export interface OtlpConfig {
  /** The address that takes traces. */
  readonly url: string;
  /** Sent with each request. */
  readonly headers: Readonly<Record<string, string>>;
  /** How long a request takes that is told, in microseconds. */
  readonly slow: number;
  readonly serviceName: string;
}

export const OTLP_ENVIRONMENT = {
  otlpEndpoint: "QUERATOR_OTLP_ENDPOINT",
  otlpHeaders: "QUERATOR_OTLP_HEADERS",
  otlpHeadersFile: "QUERATOR_OTLP_HEADERS_FILE",
  otlpSlow: "QUERATOR_OTLP_SLOW",
} as const;

export const OTLP_KEYS = ["otlp-endpoint", "otlp-headers-file", "otlp-slow"] as const;

const SLOW_DEFAULT = "500ms";
const SLOW_MAX = HOUR;

/** Reads it; undefined if nothing is sent. */
export function readOtlp(
  given: Section,
  env: Section,
  file: Section,
  variables: NodeJS.ProcessEnv,
): OtlpConfig | undefined {
  const sources = [
    [given, (name: keyof typeof OTLP_ENVIRONMENT) => [name, name]],
    [env, (name: keyof typeof OTLP_ENVIRONMENT) => [name, OTLP_ENVIRONMENT[name]]],
    [file, (name: keyof typeof OTLP_ENVIRONMENT) => [kebab(name), kebab(name)]],
  ] as const;
  const read = (name: keyof typeof OTLP_ENVIRONMENT) => {
    for (const [section, namesOf] of sources) {
      const [key, shown] = namesOf(name) as [string, string];
      const text = section.text(key, shown);
      if (text !== undefined) return { section, shown, text };
    }
    return undefined;
  };
  const slow = read("otlpSlow");
  const time = microsOf(slow?.text ?? SLOW_DEFAULT);
  if (time === undefined || time < 0 || time > SLOW_MAX) {
    const text = `"${slow!.text}" is not allowed; use a time from 0s to 1h, such as 500ms`;
    throw slow!.section.error(slow!.shown, text);
  }
  const headers = readHeaders(sources, variables);
  const endpoint = read("otlpEndpoint");
  const url = endpoint === undefined ? ofOpenTelemetry(variables) : urlOf(endpoint.text);
  if (url === undefined) {
    if (endpoint === undefined) return undefined;
    const use = "use an address such as http://localhost:4318";
    throw endpoint.section.error(endpoint.shown, `"${endpoint.text}" is not allowed; ${use}`);
  }
  const { OTEL_SERVICE_NAME: serviceName } = variables;
  return { url, headers, slow: time, serviceName: serviceName || "querator" };
}

type Sources = readonly (readonly [
  section: Section,
  namesOf: (name: keyof typeof OTLP_ENVIRONMENT) => readonly string[],
])[];

// What one source says of them: in place, or in a file.
function readHeaders(sources: Sources, variables: NodeJS.ProcessEnv): Record<string, string> {
  for (const [section, namesOf] of sources) {
    const [key, shown] = namesOf("otlpHeaders") as [string, string];
    const [fileKey, fileShown] = namesOf("otlpHeadersFile") as [string, string];
    // In the file of the configuration no secret stands.
    const text = key.includes("-") ? undefined : section.text(key, shown);
    const path = section.text(fileKey, fileShown);
    if (text !== undefined && path !== undefined) {
      throw new ConfigError(`give either ${shown} or ${fileShown}, not both`);
    }
    if (text !== undefined) return headersOf(text, shown);
    if (path !== undefined) return headersOf(readSecretFile(path, fileShown), fileShown);
  }
  const name = variables.OTEL_EXPORTER_OTLP_TRACES_HEADERS
    ? "OTEL_EXPORTER_OTLP_TRACES_HEADERS"
    : "OTEL_EXPORTER_OTLP_HEADERS";
  return headersOf(variables[name] ?? "", name);
}

// As OpenTelemetry writes them: name=value, with commas in between, or each on a line; values may be percent-encoded.
function headersOf(text: string, shown: string): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const each of text.split(/[,\n]/)) {
    if (each.trim() === "") continue;
    const [, name, value] = /^\s*([\w!#$%&'*+.^`|~-]+)\s*=(.*)$/.exec(each) ?? [];
    const decoded = value === undefined ? undefined : decode(value.trim());
    if (decoded === undefined || !/^[\t\x20-\x7e]*$/.test(decoded)) {
      throw new ConfigError(`${shown} does not hold headers; write them as name=value,name=value`);
    }
    headers[name!] = decoded;
  }
  return headers;
}

function decode(value: string): string | undefined {
  try {
    return decodeURIComponent(value);
  } catch {
    return undefined;
  }
}

// The address of a collector, to which the path of traces is added.
function urlOf(text: string): string | undefined {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol)) return undefined;
  if (!url.pathname.endsWith("/v1/traces")) {
    url.pathname = `${url.pathname.replace(/\/$/, "")}/v1/traces`;
  }
  return url.href;
}

// Where it does not mean this protocol, it does not mean this server.
function ofOpenTelemetry(variables: NodeJS.ProcessEnv): string | undefined {
  const of = (name: string): string => variables[`OTEL_EXPORTER_OTLP_${name}`] ?? "";
  const protocol = of("TRACES_PROTOCOL") || of("PROTOCOL");
  if (protocol === "grpc" || variables.OTEL_SDK_DISABLED?.toLowerCase() === "true")
    return undefined;
  if (variables.OTEL_TRACES_EXPORTER === "none") return undefined;
  const own = URL.parse(of("TRACES_ENDPOINT"));
  if (own !== null) return own.href;
  return urlOf(of("ENDPOINT"));
}

function microsOf(text: string): number | undefined {
  try {
    return parseDuration(text);
  } catch (error) {
    if (error instanceof DurationError) return undefined;
    throw error;
  }
}

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
