// The formats that headers name. Content-Type names one; Accept is a list with weights, as RFC 9110
// has it, of which the best that we have is taken.

import type { Format } from "../codec/answer.ts";

/** A format, and the name that a client knows it by. */
export interface Media {
  readonly format: Format;
  /** The Content-Type of a reply in it. */
  readonly type: string;
}

export const JSON_MEDIA: Media = { format: "json", type: "application/json" };
const PROTOBUF_MEDIA: Media = { format: "protobuf", type: "application/protobuf" };

// In the order in which they are preferred where it is all the same to the client.
const MEDIA: readonly Media[] = [
  JSON_MEDIA,
  PROTOBUF_MEDIA,
  // Names from before the one above was registered; only who says them is answered with them.
  { format: "protobuf", type: "application/x-protobuf" },
  { format: "protobuf", type: "application/vnd.google.protobuf" },
];

/** The format that a Content-Type names; undefined if it is none of ours. */
export function sentMedia(header: string | undefined): Media | undefined {
  if (header === undefined || header === JSON_MEDIA.type) return JSON_MEDIA;
  return mediaOf(/^[^;,]*/.exec(header)![0]);
}

function mediaOf(type: string): Media | undefined {
  const plain = type.trim().toLowerCase();
  if (plain === "" || plain === "*/*" || plain === "application/*") return JSON_MEDIA;
  return MEDIA.find((media) => media.type === plain);
}

/**
 * The format of a reply to a request with this Accept header; undefined if it takes none of ours.
 * `firstCounts`: the first of the list is enough if it is one of ours, whatever the weights are; so
 * clients of /v1 know it.
 */
export function acceptedMedia(
  header: string | undefined,
  { firstCounts }: { readonly firstCounts: boolean },
): Media | undefined {
  if (header === undefined || header === JSON_MEDIA.type) return JSON_MEDIA;
  const ranges = rangesOf(header);
  const [first] = ranges;
  if (first === undefined) return JSON_MEDIA;
  if (firstCounts && first.weight > 0) {
    const media = mediaOf(first.type);
    if (media !== undefined) return media;
  }
  let best: { media: Media; weight: number; place: number } | undefined;
  for (const media of MEDIA) {
    const range = rangeFor(media, ranges);
    if (range === undefined || range.weight === 0) continue;
    const { weight, place } = range;
    const isBetter =
      best === undefined || weight > best.weight || (weight === best.weight && place < best.place);
    if (isBetter) best = { media, weight, place };
  }
  return best?.media;
}

interface Range {
  readonly type: string;
  readonly weight: number;
  readonly place: number;
}

function rangesOf(header: string): readonly Range[] {
  return header.split(",").flatMap((member, place) => {
    const [type, ...parameters] = member.split(";").map((part) => part.trim().toLowerCase());
    // What begins with nothing has always meant any.
    if (type === "" && (place > 0 || parameters.length === 0)) return [];
    return [{ type: type!, weight: weightOf(parameters), place }];
  });
}

// What is no weight is none, as if it had not been said.
function weightOf(parameters: readonly string[]): number {
  const given = parameters.find((parameter) => /^q\s*=/.test(parameter));
  const weight = given === undefined ? 1 : Number(given.replace(/^q\s*=\s*/, "") || "1");
  return weight >= 0 && weight <= 1 ? weight : 1;
}

// The most particular range counts: by name, by `application/*`, by any.
function rangeFor({ type }: Media, ranges: readonly Range[]): Range | undefined {
  const byName = ranges.find((range) => range.type === type);
  if (byName !== undefined || (type !== JSON_MEDIA.type && type !== PROTOBUF_MEDIA.type))
    return byName;
  return (
    ranges.find((range) => range.type === "application/*") ??
    ranges.find((range) => ["*/*", "*", ""].includes(range.type))
  );
}
