// What `querator doctor` says of who may come in: what is open, to whom, and what to do if it should not be.

import { existsSync } from "node:fs";
import type { Change, RecordKind, RecordKinds } from "../auth/records.ts";
import { ANONYMOUS } from "../auth/state.ts";
import { SystemClock } from "../clock.ts";
import type { Config } from "../config/config.ts";
import { checkTlsFiles, endOf, endsSoon, readTlsFiles } from "../config/tls-files.ts";
import { isLoopback } from "../http/access.ts";
import type { Finding } from "../storage/doctor.ts";

const SHOWN_MAX = 5;

/** Examines a server by how it is started and by what its storage holds; `firstKeyFile` is where its first key was written. */
export function examineDoors(
  config: Pick<Config, "host" | "port" | "socket" | "auth" | "tls">,
  records: readonly Change[],
  firstKeyFile: string,
): Finding[] {
  const findings = [examineAuth(config, records)];
  if (config.tls !== undefined || config.auth.isOn) findings.push(examineTls(config));
  // What is bound and given counts only where keys are asked for.
  if (config.auth.isOn || all(records, "mark").length > 0) {
    findings.push(examineAnonymous(records), examineKeys(records));
    if (existsSync(firstKeyFile)) {
      const text = `'${firstKeyFile}' still holds the first key: keep it elsewhere, and delete the file`;
      findings.push({ check: "first key", status: "warning", text });
    }
  }
  return findings;
}

function examineAuth(
  { host, port, socket, auth }: Pick<Config, "host" | "port" | "socket" | "auth">,
  records: readonly Change[],
): Finding {
  const check = "auth";
  const listens = `${host === "" ? "all interfaces" : host}, port ${port}`;
  const where = socket === undefined ? listens : `unix:${socket}`;
  if (auth.isOn) return { check, status: "ok", text: `callers show a key, on ${where}` };
  if (!isLoopback(host)) {
    const text = auth.isSaid
      ? `everybody who reaches ${where} may do everything: use --auth keys if that is not meant`
      : `nobody is asked for a key on ${where}, and a server does not start like that: use --auth keys`;
    return { check, status: "warning", text };
  }
  if (all(records, "mark").length > 0) {
    const text =
      "was keys at an earlier start, and is none as doctor was called: give it the options of the server";
    return { check, status: "ok", text };
  }
  return { check, status: "ok", text: `none, and only this machine reaches ${where}` };
}

// Not a warning without TLS: it may end at a proxy, of which nothing is known here.
function examineTls({ host, tls }: Pick<Config, "host" | "tls">): Finding {
  const check = "tls";
  if (tls === undefined) {
    const text = isLoopback(host)
      ? "none, and keys do not leave this machine"
      : "none, so keys can be read on their way: use --tls-cert and --tls-key, or a proxy that speaks TLS";
    return { check, status: "ok", text };
  }
  try {
    const files = readTlsFiles(tls);
    checkTlsFiles(files, tls);
    const end = endOf(files.cert);
    const until = `the certificate ends at ${end.toISOString().slice(0, 10)}`;
    if (endsSoon(end, new SystemClock())) {
      return { check, status: "warning", text: `${until}: renew it` };
    }
    const clients = tls.clientCa === undefined ? "" : ", and clients show one as well";
    return { check, status: "ok", text: until + clients };
  } catch (error) {
    return { check, status: "failed", text: (error as Error).message };
  }
}

function examineAnonymous(records: readonly Change[]): Finding {
  const check = "anonymous";
  const roles = new Map(all(records, "role").map(({ id, name }) => [id, name]));
  const bound = all(records, "binding").filter(({ userId }) => userId === ANONYMOUS);
  if (bound.length === 0) return { check, status: "ok", text: "who shows no key may do nothing" };
  const list = shown(
    bound.map(({ namespace, roleId }) => `${roles.get(roleId) ?? roleId} in ${namespace}`),
  );
  const text = `who shows no key has the role ${list}: delete the binding if that is not meant`;
  return { check, status: "warning", text };
}

// Not a warning: many are meant to be for good. Nothing of a key itself is shown.
function examineKeys(records: readonly Change[]): Finding {
  const keys = all(records, "key");
  const endless = keys.filter(({ expiresAt }) => expiresAt === 0);
  const names = shown(endless.map(({ id, name }) => (name === "" ? id : `'${name}' (${id})`)));
  const text =
    endless.length === 0
      ? `${keys.length}, all of which end`
      : `${keys.length}, of which ${endless.length} never end by themselves: ${names}`;
  return { check: "keys", status: "ok", text };
}

function shown(names: readonly string[]): string {
  const more = names.length - SHOWN_MAX;
  return names.slice(0, SHOWN_MAX).join(", ") + (more > 0 ? ` and ${more} more` : "");
}

function all<K extends RecordKind>(records: readonly Change[], kind: K): RecordKinds[K][] {
  return records.flatMap((each) =>
    each.kind === kind && each.value !== undefined ? [each.value as RecordKinds[K]] : [],
  );
}
