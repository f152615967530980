// What is shown on a terminal, in logs or by the command line, and was written by somebody else.

// Control characters, and those that change the direction of what follows.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g;
const NAMED: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** A text in which what cannot be shown is written as an escape. */
export function printable(text: string): string {
  return text.replace(
    UNPRINTABLE,
    (letter) => NAMED[letter] ?? `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

// Of a key, with the first two parts in a group.
const KEYS = /\b(qtr-[0-9a-z]{1,16}-)[0-9A-Za-z]{20,}/g;

/** A text in which API keys are not shown: somebody may have given one where something else is asked for. */
export function withoutKeys(text: string): string {
  return text.replace(KEYS, "$1...");
}
