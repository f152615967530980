// A part of the options, wherever they come from, and how its values are read: each reader checks
// what it finds, and a mistake is one line that says where it is, what it is, and what is allowed.

import { readFileSync } from "node:fs";

/** A wrong option; the message is one line for the user. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

interface NumberOptions {
  /** Whether it must be a whole one; so by default. */
  readonly whole?: boolean;
  /** What the user calls it. */
  readonly shown?: string;
}

/** Values under a common path; each reader answers undefined for what is not there. */
export class Section {
  readonly #source: string;
  readonly #values: Record<string, unknown>;
  readonly #path: string;

  constructor(source: string, values: Record<string, unknown>, path = "") {
    this.#source = source;
    this.#values = values;
    this.#path = path;
  }

  /** Refuses keys that are not among these. */
  only(keys: readonly string[]): void {
    for (const key of Object.keys(this.#values)) {
      if (keys.includes(key)) continue;
      throw this.error(key, `is not a known key; known are ${keys.join(", ")}`);
    }
  }

  text(key: string, shown = key): string | undefined {
    const value = this.#values[key];
    if (value === undefined || value === null) return undefined;
    if (typeof value === "string" && value !== "") return value;
    throw this.error(shown, `${JSON.stringify(value)} is not allowed; use a text`);
  }

  /** Texts, in a list or in one text with commas between them. */
  texts(key: string, shown = key): readonly string[] | undefined {
    const value = this.#values[key];
    if (value === undefined || value === null) return undefined;
    const list: unknown = typeof value === "string" ? value.split(",") : value;
    if (!Array.isArray(list) || list.some((each) => typeof each !== "string")) {
      throw this.error(shown, `${JSON.stringify(value)} is not allowed; use a list of texts`);
    }
    return list.map((each: string) => each.trim()).filter((each) => each !== "");
  }

  flag(key: string, shown = key): boolean | undefined {
    const value = this.#values[key];
    if (value === undefined || value === null) return undefined;
    if (typeof value === "boolean") return value;
    throw this.error(shown, `${JSON.stringify(value)} is not allowed; use true or false`);
  }

  oneOf<T extends string>(key: string, allowed: readonly T[], shown = key): T | undefined {
    const value = this.#values[key];
    if (value === undefined || value === null) return undefined;
    const found = allowed.find((each) => each === value);
    if (found !== undefined) return found;
    throw this.error(
      shown,
      `${JSON.stringify(value)} is not allowed; use one of ${allowed.join(", ")}`,
    );
  }

  number(key: string, min: number, max: number, options: NumberOptions = {}): number | undefined {
    const { whole = true, shown = key } = options;
    const value = this.#values[key];
    if (value === undefined || value === null) return undefined;
    const fits =
      typeof value === "number" &&
      value >= min &&
      value <= max &&
      (!whole || Number.isInteger(value));
    if (fits) return value;
    const kind = whole ? "a whole number" : "a number";
    throw this.error(
      shown,
      `${JSON.stringify(value)} is not allowed; use ${kind} from ${min} to ${max}`,
    );
  }

  section(key: string): Section {
    const value = this.#values[key] ?? {};
    if (typeof value !== "object" || Array.isArray(value)) {
      throw this.error(key, `${JSON.stringify(value)} is not allowed; use a mapping`);
    }
    return new Section(this.#source, value as Record<string, unknown>, this.#join(key));
  }

  list(key: string): readonly Section[] {
    const value = this.#values[key] ?? [];
    if (!Array.isArray(value)) {
      throw this.error(key, `${JSON.stringify(value)} is not allowed; use a list`);
    }
    return value.map((each: unknown, i) => {
      const at = `${key}[${i}]`;
      if (typeof each === "object" && each !== null && !Array.isArray(each)) {
        return new Section(this.#source, each as Record<string, unknown>, this.#join(at));
      }
      throw this.error(at, `${JSON.stringify(each)} is not allowed; use a mapping`);
    });
  }

  /** Whether it is there as an empty text. */
  isEmpty(key: string): boolean {
    return this.#values[key] === "";
  }

  /** Whether it is the number 0, as a file has it of a time that is none. */
  isZero(key: string): boolean {
    return this.#values[key] === 0;
  }

  has(key: string): boolean {
    return this.#values[key] !== undefined && this.#values[key] !== null;
  }

  /** Where it stands, as messages say it. */
  get place(): string {
    return `${this.#source}: ${this.#path}`;
  }

  error(key: string, text: string): ConfigError {
    return new ConfigError(`${this.#source}: ${this.#join(key)}: ${text}`);
  }

  #join(key: string): string {
    return this.#path === "" ? key : `${this.#path}.${key}`;
  }
}

/** A secret that lies in a file, without the end of its line; throws a ConfigError. */
export function readSecretFile(path: string, shown: string): string {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw new ConfigError(`${shown}: cannot read the file: ${(cause as Error).message}`);
  }
  const secret = text.trim();
  if (secret === "") throw new ConfigError(`${shown}: the file '${path}' is empty`);
  return secret;
}
