// What a partition counts beside its items, as the text that stands in its row: numbers with commas between.

/** "" for none. */
export function packCounts(counts: readonly number[]): string {
  return counts.length === 0 ? "" : counts.join();
}

export function countsOf(text: string): readonly number[] {
  return text === "" ? [] : text.split(",").map(Number);
}
