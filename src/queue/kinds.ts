// Which items are of the kinds that a lease asks for. The kind stands in the text of a record, as a member of
// JSON before whatever /v1 knows nothing of (api/item-records.ts): no text of that form holds its name and its
// value anywhere else, so nothing has to be parsed.

/** Kinds of one lease. */
export class Kinds {
  readonly names: readonly string[];
  readonly #members: readonly string[];

  constructor(names: readonly string[]) {
    this.names = names;
    this.#members = names.map((name) => `"kind":${JSON.stringify(name)}`);
  }

  /** Whether an item with this text is of one of them. */
  has(text: string): boolean {
    for (const member of this.#members) {
      const at = text.indexOf(member);
      if (at === -1) continue;
      const end = text.indexOf("\t");
      if (end === -1 || at < end) return true;
    }
    return false;
  }
}
