// Makes inputs: valid messages, messages with a few things wrong, messages meant for another
// endpoint, encoded messages with broken bytes, random bytes, and odd HTTP around all of them. Every
// choice comes from the seed and from the ids that replies have shown.

import type { DescMessage } from "@bufbuild/protobuf";
import type { Random } from "../support/random.ts";
import type { Endpoint } from "./endpoints.ts";
import { deep, extreme, malformed, unknownField, wrongType } from "./extremes.ts";
import { FORMATS, type Format, type Input, requestTo } from "./input.ts";
import {
  type Entry,
  entriesOf,
  type JsonStyle,
  toJson,
  toProtobuf,
  type Value,
} from "./message-tree.ts";
import { brokenRequest, oddRequest } from "./odd-http.ts";
import { validMessage, type World } from "./valid-message.ts";

export interface InputSource {
  /** Those to fuzz. */
  readonly endpoints: readonly Endpoint[];
  /** Those whose messages may be sent to another. */
  readonly all: readonly Endpoint[];
  readonly world: World;
  readonly random: Random;
}

// Bodies far beyond every limit are another program's business; here they would only take time.
const BODY_BYTES_MAX = 2_000_000;

/** The next input of a run. */
export function makeInput(source: InputSource): Input {
  for (;;) {
    const input = makeAny(source);
    if (input.body.length <= BODY_BYTES_MAX) return input;
  }
}

function makeAny(source: InputSource): Input {
  const { random } = source;
  const endpoint = random.pick(source.endpoints);
  const options = { sends: random.pick(FORMATS), accepts: random.pick(FORMATS) };
  const make = (body: Buffer, made: string): Input =>
    requestTo(endpoint, body, { ...options, made });
  const kind = random.below(100);
  if (kind < 3) return make(random.bytes(random.length(600)), "random bytes");
  if (kind < 14) {
    const body = encode(
      validMessage(endpoint.request, source.world, random),
      options.sends,
      random,
    );
    return make(breakBytes(body, source, options.sends), "broken bytes");
  }
  const { entries, made, hopeless } = makeMessage(endpoint, source);
  // Protobuf passes over much of what JSON refuses.
  const plain = make(encode(entries, options.sends, random), made);
  const input = { ...plain, hopeless: hopeless && options.sends === "json" };
  if (kind < 24) return oddRequest(input, random);
  if (kind < 27) return brokenRequest(input, random);
  return input;
}

/** A message of any kind, and how it was made. */
function makeMessage(
  endpoint: Endpoint,
  { all, world, random }: InputSource,
): { entries: Entry[]; made: string; hopeless: boolean } {
  if (random.oneIn(12)) {
    const other: DescMessage = random.pick(all).request;
    const entries = validMessage(other, world, random);
    return { entries, made: `a ${other.name}`, hopeless: true };
  }
  const entries = validMessage(endpoint.request, world, random);
  if (random.oneIn(4)) return { entries, made: "valid message", hopeless: false };
  const changes = Array.from({ length: 1 + random.length(2) }, () => change(entries, random));
  const made = `valid message with ${changes.join(", ")}`;
  const mild = changes.every((each) => /(absent|extreme|bad entry)$/.test(each));
  return { entries, made, hopeless: !mild };
}

/** A message that both formats can say: valid, or with extreme values. */
export function makePortable(endpoint: Endpoint, world: World, random: Random): Entry[] {
  const entries = validMessage(endpoint.request, world, random);
  for (let i = random.length(3); i > 0 && entries.length > 0; i--) {
    const chosen = random.pick(entriesOf(entries));
    const { value } = chosen;
    if (random.oneIn(4)) drop(entries, chosen);
    else if (value.kind === "list" && value.values.length > 0)
      insert(value.values, random, extreme);
    else chosen.value = extreme(value, random);
  }
  return entries;
}

// Changes one thing in a message; answers what.
function change(entries: Entry[], random: Random): string {
  if (entries.length === 0) return "nothing in it";
  const all = entriesOf(entries);
  const chosen = random.pick(all);
  const { name, value } = chosen;
  if (value.kind === "list" && value.values.length > 0 && random.oneIn(2)) {
    insert(value.values, random, random.oneIn(3) ? malformed : extreme);
    return `${name} with a bad entry`;
  }
  switch (random.below(12)) {
    case 0:
      drop(entries, chosen);
      return `${name} absent`;
    case 1:
      chosen.value = wrongType(random);
      return `${name} of a wrong type`;
    case 2:
      chosen.value = malformed(chosen.value, random);
      return `${name} malformed`;
    case 3:
      entries.push(unknownField(random));
      return "an unknown field";
    case 4:
      entries.splice(random.below(entries.length + 1), 0, { ...random.pick(entries) });
      return "a field twice";
    case 5:
      chosen.value = random.oneIn(3) ? deep(random) : wrongType(random);
      return `${name} deep or wrong`;
    default:
      chosen.value = extreme(chosen.value, random);
      return `${name} extreme`;
  }
}

// One bad entry among good ones, at either end or between them.
function insert(
  values: Value[],
  random: Random,
  spoil: (value: Value, random: Random) => Value,
): void {
  const bad = spoil(random.pick(values), random);
  values.splice(random.below(values.length + 1), 0, bad);
}

function drop(entries: Entry[], chosen: Entry): void {
  const at = entries.indexOf(chosen);
  if (at !== -1) {
    entries.splice(at, 1);
    return;
  }
  for (const { value } of entries) {
    if (value.kind === "message") drop(value.entries, chosen);
    if (value.kind !== "list") continue;
    for (const each of value.values) if (each.kind === "message") drop(each.entries, chosen);
  }
}

/** Writes a message; as JSON now and then in an unusual style. */
export function encode(entries: readonly Entry[], format: Format, random: Random): Buffer {
  if (format === "protobuf") return toProtobuf(entries);
  const style: JsonStyle = { escapes: random.oneIn(8), spaces: random.oneIn(8) };
  return toJson(entries, style);
}

/** Bytes of a valid message, damaged. */
function breakBytes(body: Buffer, source: InputSource, format: Format): Buffer {
  const { random } = source;
  let broken = Buffer.from(body);
  for (let i = 1 + random.length(4); i > 0 && broken.length > 0; i--) {
    const at = random.below(broken.length);
    const [before, after] = [broken.subarray(0, at), broken.subarray(at)];
    switch (random.below(6)) {
      case 0:
        broken[at]! ^= 1 << random.below(8);
        break;
      case 1:
        broken = Buffer.from(before);
        break;
      case 2:
        broken = Buffer.concat([before, random.bytes(1 + random.below(8)), after]);
        break;
      case 3: {
        const piece = after.subarray(0, 1 + random.below(40));
        broken = Buffer.concat([before, ...Array<Buffer>(2 + random.below(3)).fill(piece), after]);
        break;
      }
      case 4: {
        const other = random.pick(source.all).request;
        const bytes = encode(validMessage(other, source.world, random), format, random);
        broken = Buffer.concat([before, bytes.subarray(random.below(bytes.length + 1))]);
        break;
      }
      default:
        broken = Buffer.concat([before, after.subarray(1 + random.below(10))]);
    }
  }
  return broken;
}
