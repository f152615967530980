// A JSON value that is kept as its text: where it ends, and whether it is one. Nothing is made of it, and
// it can be read in pieces, for it may be as large as a body. Its time is linear in the letters.

/** Lists and objects within each other; what reads them elsewhere often has such a limit, too. */
export const DEPTH_MAX = 1_000;

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_LIST = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

const SPACE = /[ \t\n\r]*/y;
// Up to the end of a text, or the first escape in it.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what JSON does not allow
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;
const ATOM = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;

// What comes next, as far as errors say it.
const VALUE = "a value";
const FIRST_ENTRY = "a value or ']'";
const FIRST_NAME = "a name or '}'";
const NAME = "a name";
const COLON_MARK = "':'";
const NEXT_ENTRY = "',' or ']'";
const NEXT_NAME = "',' or '}'";
const NOTHING = `no more than ${DEPTH_MAX} lists and objects in each other`;

/** Reads one value of a text. */
export class JsonText {
  readonly #text: string;
  /** How far it has been read; after "done" the place behind the value. */
  at: number;
  /** What was to come there, for the error after "broken". */
  expected: string = VALUE;
  // Which brackets are open: true for a list.
  readonly #open: boolean[] = [];

  constructor(text: string, at: number) {
    this.#text = text;
    this.at = at;
  }

  /** Reads on, at least to the place `until` if it does not end before. */
  read(until: number): "done" | "more" | "broken" {
    while (this.at < until) {
      this.#space();
      switch (this.expected) {
        case COLON_MARK:
          if (this.#next() !== COLON) return "broken";
          this.at++;
          this.expected = VALUE;
          continue;
        case NAME:
        case FIRST_NAME:
          if (this.#next() === QUOTE) {
            if (!this.#string()) return "broken";
            this.expected = COLON_MARK;
            continue;
          }
          if (this.expected === NAME || this.#next() !== CLOSE_OBJECT) return "broken";
          this.#close();
          break;
        case NEXT_ENTRY:
        case NEXT_NAME: {
          const isList = this.expected === NEXT_ENTRY;
          const next = this.#next();
          if (next === COMMA) {
            this.at++;
            this.expected = isList ? VALUE : NAME;
            continue;
          }
          if (next !== (isList ? CLOSE_LIST : CLOSE_OBJECT)) return "broken";
          this.#close();
          break;
        }
        default:
          if (!this.#value()) return "broken";
          if (this.expected === FIRST_ENTRY || this.expected === FIRST_NAME) continue;
      }
      // A value has ended.
      if (this.#open.length === 0) return "done";
      this.expected = this.#open.at(-1)! ? NEXT_ENTRY : NEXT_NAME;
    }
    return this.at < this.#text.length ? "more" : "broken";
  }

  // Reads a value that is none of several, or the beginning of one that is.
  #value(): boolean {
    const next = this.#next();
    if (next === OPEN_OBJECT || next === OPEN_LIST) {
      if (this.#open.length === DEPTH_MAX) {
        this.expected = NOTHING;
        return false;
      }
      this.at++;
      this.#open.push(next === OPEN_LIST);
      this.expected = next === OPEN_LIST ? FIRST_ENTRY : FIRST_NAME;
      return true;
    }
    if (next === CLOSE_LIST && this.expected === FIRST_ENTRY) {
      this.#close();
      return true;
    }
    this.expected = VALUE;
    if (next === QUOTE) return this.#string();
    ATOM.lastIndex = this.at;
    if (!ATOM.test(this.#text)) return false;
    this.at = ATOM.lastIndex;
    return true;
  }

  #close(): void {
    this.at++;
    this.#open.pop();
    this.expected = VALUE;
  }

  #string(): boolean {
    const text = this.#text;
    let at = this.at + 1;
    for (;;) {
      PLAIN.lastIndex = at;
      PLAIN.test(text);
      at = PLAIN.lastIndex;
      if (text.charCodeAt(at) !== BACKSLASH) break;
      ESCAPE.lastIndex = at;
      if (!ESCAPE.test(text)) break;
      at = ESCAPE.lastIndex;
    }
    this.at = at;
    if (text.charCodeAt(at) !== QUOTE) {
      this.expected = "the end of a text";
      return false;
    }
    this.at++;
    return true;
  }

  #space(): void {
    // Most often there is none.
    if (this.#next() > 0x20) return;
    SPACE.lastIndex = this.at;
    SPACE.test(this.#text);
    this.at = SPACE.lastIndex;
  }

  // NaN at the end.
  #next(): number {
    return this.#text.charCodeAt(this.at);
  }
}

/** Whether a text is one JSON value, with nothing before or behind it. */
export function isJson(text: string): boolean {
  const value = new JsonText(text, 0);
  return value.read(text.length) === "done" && value.at === text.length && !/^\s/.test(text);
}
