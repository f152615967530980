// The lanes of a partition as one text, which lies in its row: they are few, and mostly there are none.

import { type Lane, NEW_COUNTERS } from "../storage.ts";

/** `lane head tail`, separated by commas. */
export function packLanes(lanes: readonly Lane[]): string {
  if (lanes.length === 0) return "";
  return lanes.map(({ lane, head, tail }) => `${lane} ${head} ${tail}`).join(",");
}

export function lanesOf(text: string): readonly Lane[] {
  if (text === "") return NEW_COUNTERS.lanes;
  return text.split(",").map((each) => {
    const [lane, head, tail] = each.split(" ").map(Number) as [number, number, number];
    return { lane, head, tail };
  });
}
