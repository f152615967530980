// The options that are about who may do what: whether callers have to show a key, and the first key. What is
// wrong with a key is said without showing it.

import { resolve } from "node:path";
import { tagOf } from "../auth/secrets.ts";
import { AUTHS } from "./choices.ts";
import { ConfigError, type Section } from "./section.ts";
import type { StorageConfig } from "./storages.ts";

// As the Go server calls them.
const DRIVERS = ["none", "internal"] as const;

/** The keys of `auth-backend` in the file. */
export const AUTH_BACKEND_KEYS = ["driver"] as const;

export interface AuthConfig {
  /** Whether callers have to show a key. */
  readonly isOn: boolean;
  /** Whether that was said, and is not merely the default. */
  readonly isSaid: boolean;
  /** The first key, if it was given. */
  readonly bootstrapKey: string | undefined;
  /** The file that has it. It is read only when the key is made, and may be gone later. */
  readonly bootstrapKeyFile: string | undefined;
}

const OPTIONS = {
  auth: "QUERATOR_AUTH",
  bootstrapKey: "QUERATOR_BOOTSTRAP_KEY",
  bootstrapKeyFile: "QUERATOR_BOOTSTRAP_KEY_FILE",
} as const;

/** Reads them: the first source that says something counts. */
export function readAuth(given: Section, env: Section, file: Section): AuthConfig {
  const said =
    given.oneOf("auth", AUTHS) ??
    env.oneOf("auth", AUTHS, OPTIONS.auth) ??
    file.oneOf("auth", AUTHS) ??
    readDriver(file);
  const isOn = said === "keys";
  const first =
    readFirst(
      given,
      { key: "bootstrapKey", file: "bootstrapKeyFile" },
      { key: "bootstrapKey", file: "bootstrap-key-file" },
    ) ??
    readFirst(
      env,
      { key: "bootstrapKey", file: "bootstrapKeyFile" },
      { key: OPTIONS.bootstrapKey, file: OPTIONS.bootstrapKeyFile },
    ) ??
    readFirst(file, { key: undefined, file: "bootstrap-key-file" });
  // Whoever gives a key means that one is needed.
  if (first !== undefined && !isOn) {
    throw new ConfigError(`${first.shown} is of no use without authentication; add --auth keys`);
  }
  return {
    isOn,
    isSaid: said !== undefined,
    bootstrapKey: first?.key,
    bootstrapKeyFile: first?.file,
  };
}

function readDriver(file: Section): (typeof AUTHS)[number] | undefined {
  const section = file.section("auth-backend");
  section.only(AUTH_BACKEND_KEYS);
  const driver = section.text("driver");
  if (driver === undefined) return undefined;
  if (DRIVERS.every((each) => each !== driver)) {
    const known = DRIVERS.join(", ");
    throw section.error(
      "driver",
      `invalid auth-backend driver; '${driver}' is not one of (${known})`,
    );
  }
  return driver === "internal" ? "keys" : "none";
}

interface FirstKey {
  readonly key: string | undefined;
  readonly file: string | undefined;
  readonly shown: string;
}

// What one source says of the first key: one of the two at most.
function readFirst(
  section: Section,
  names: { readonly key: string | undefined; readonly file: string },
  shown: { readonly key: string; readonly file: string } = {
    key: names.key ?? "",
    file: names.file,
  },
): FirstKey | undefined {
  const key = names.key === undefined ? undefined : section.text(names.key, shown.key);
  const file = section.text(names.file, shown.file);
  if (key !== undefined && file !== undefined) {
    throw new ConfigError(`give either ${shown.key} or ${shown.file}, not both`);
  }
  if (key !== undefined) checkKey(key, shown.key);
  if (key === undefined && file === undefined) return undefined;
  return { key, file, shown: key === undefined ? shown.file : shown.key };
}

/** Checks that a text has the form of a key; throws a ConfigError that does not show it. */
export function checkKey(key: string, where: string): void {
  if (tagOf(key) !== undefined) return;
  throw new ConfigError(
    `${where} does not hold a key; a key is qtr-TAG-SECRET, the tag 1 to 16 of a-z and 0-9, the secret 43 to 128 letters and digits`,
  );
}

// In the data directory, and, where there is none, in the working directory.
const IN_DATA = "admin-key";
const ELSEWHERE = "querator-admin-key";

/** Where the first key is written if it is not given. */
export function firstKeyFile({ dir }: Pick<StorageConfig, "dir">): string {
  return dir === undefined ? resolve(ELSEWHERE) : resolve(dir, IN_DATA);
}
