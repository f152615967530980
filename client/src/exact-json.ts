// JSON whose numbers keep all of their digits: those that JavaScript would round are kept as they are written,
// and are written again so.

type Reviver = (this: unknown, key: string, value: unknown) => unknown;

// Found at run time, for not every platform has it; then numbers are as JavaScript has them.
const { rawJSON } = JSON as { readonly rawJSON?: (text: string) => unknown };

/**
 * A JSON text that is sent as it stands, space and all, where a value may be given: as `json` of an item, as a
 * result or as progress. Throws a SyntaxError if it is none.
 */
export class JsonText {
  readonly text: string;

  constructor(text: string) {
    JSON.parse(text);
    this.text = text;
  }

  /** Inside of another value: with every digit, and without its space. */
  toJSON(): unknown {
    return exactJson(this.text);
  }
}

/** The value of a JSON text, with what is too long for a number as `JSON.rawJSON`. Throws a SyntaxError if it is none. */
export function exactJson(text: string): unknown {
  return JSON.parse(text, exactNumber as Reviver);
}

function exactNumber(_: string, value: unknown, context?: { readonly source?: string }): unknown {
  const source = context?.source;
  if (typeof value !== "number" || source === undefined || String(value) === source) return value;
  return rawJSON?.(source) ?? value;
}
