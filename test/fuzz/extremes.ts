// Values at the edges of their type and beyond. Those in the lists of the first half mean the same
// in both formats, so that the two must get the same answer; the rest has no meaning in common: wrong
// types, malformed values, deep nesting.

import { WireType } from "@bufbuild/protobuf/wire";
import type { Random } from "../support/random.ts";
import { type Entry, type Odd, odd, type Value } from "./message-tree.ts";

const TEXTS: readonly string[] = [
  ...[
    "",
    " ",
    "\t\n",
    "\u3000",
    "\u0085",
    "~",
    "a~b",
    "a b",
    "a:b",
    "\0",
    "\x01\x1f\x7f",
    "\ufeff",
  ],
  ...["\u2028\u2029", "\ufffd", "\u{10ffff}", "e\u0301", "\u202eabc", "%00", "%s%n", "../../etc"],
  ...["__proto__", "constructor", "prototype", "hasOwnProperty", "valueOf", "null", "undefined"],
  ...["NaN", "Infinity", "-0", "1e400", "true", "[]", "{}", '"', "\\", "'; DROP TABLE items; --"],
  // Durations.
  ...[
    "0",
    "0s",
    "-0s",
    "+10ms",
    "-1s",
    "9ms",
    "10ms",
    "9.999999ms",
    "14m59.999s",
    "15m",
    "1d",
    "5",
  ],
  ...[
    "15m0.000000001s",
    "1ns",
    "1us",
    "1µs",
    "1μs",
    ".5s",
    "5.s",
    ".s",
    "-",
    "--1s",
    "1e3s",
    "1h1",
  ],
  ...["9223372036854775807ns", "9223372036854775808ns", "99999999999h", "0.00000000000000000001s"],
  ...["∞", "1S", "1 s", "10ms10ms", "123456789012m", "0.0000001ms", "1m0s0s0s0s0s"],
  // Ids.
  ...["0".repeat(27), "z".repeat(27), "aWgEPTl1tmebfsQzFP4bxwgy80V", "aWgEPTl1tmebfsQzFP4bxwgy80W"],
  ...["-".repeat(27), "ü".repeat(27), "0".repeat(26), "0".repeat(28)],
  // Names of their greatest length, and one more.
  ..."256 257 500 501 512 513 2000 2001".split(" ").map((n) => "n".repeat(Number(n))),
  "ü".repeat(257),
];

const INTS: readonly number[] = [
  ...[0, 1, -1, 2, 99, 100, 999, 1_000, 1_001, 1_023, 1_024, 1_025, 65_535, 65_536, 65_537],
  ...[2 ** 31 - 1, -(2 ** 31), 2 ** 30, 2 ** 16 - 1, -65_536],
];

// Seconds: the ends of what a time may be, of what a number of microseconds holds exactly, of 32
// bits, and the beginning of time.
const SECONDS: readonly number[] = [
  ...[-62_135_596_800, 253_402_300_799, 0, 1, -1, 2 ** 31 - 1, 2 ** 31, 2 ** 32],
  ...[9_007_199_254, 9_007_199_255, 32_503_680_000, 1_400_000_000, -2_208_988_800],
];
const NANOS: readonly number[] = [0, 1, 999, 1_000, 999_999, 1_000_000, 999_999_000, 999_999_999];

/** An extreme value of the same type, which means the same in both formats. */
export function extreme(value: Value, random: Random): Value {
  switch (value.kind) {
    case "text":
      return { kind: "text", text: random.oneIn(6) ? longText(random) : random.pick(TEXTS) };
    case "json":
      return { kind: "json", text: random.oneIn(8) ? longJson(random) : random.pick(JSONS) };
    case "map":
      return { kind: "map", pairs: manyPairs(random) };
    case "int":
      return { kind: "int", int: random.pick(INTS) };
    case "double":
      return { kind: "double", double: random.pick([-1, 1e-9, 1e300, 0.1, 2 ** 53]) };
    case "bool":
      return { kind: "bool", bool: !value.bool };
    case "bytes":
      return { kind: "bytes", bytes: random.bytes(random.length(20_000)) };
    case "time":
      return { kind: "time", seconds: random.pick(SECONDS), nanos: random.pick(NANOS) };
    case "list":
      return { kind: "list", values: manyOf(value.values, random) };
    case "message":
      return { kind: "message", entries: random.oneIn(2) ? [] : value.entries.slice(1) };
    case "odd":
      return value;
  }
}

// Values of JSON; all are valid, for what is not has no meaning that both formats share.
const JSONS: readonly string[] = [
  ...["null", "0", "-0.0", "1e400", '""', "[]", "{}", "[ ]", "{ }", "true", '"\\ud800"', "1E-5"],
  ...[
    '{"a":1,"a":2}',
    '{"__proto__":{"x":1}}',
    '[1,\t[2,\n{"b" : "\\u0000"}]]',
    '"\u2028"',
    "9".repeat(400),
  ],
];

function longJson(random: Random): string {
  const depth = random.pick([1, 500, 1_000]);
  const text = random.oneIn(2) ? JSON.stringify(longText(random)) : "1";
  return `${"[".repeat(depth - 1)}${text}${"]".repeat(depth - 1)}`;
}

function manyPairs(random: Random): [string, string][] {
  const count = random.pick([0, 1, 31, 32, 33, 300]);
  const names = new Set(Array.from({ length: count }, (_, i) => `${random.pick(TEXTS)}${i}`));
  if (random.oneIn(3)) names.add("__proto__");
  return Array.from(names, (name) => [name, random.pick(TEXTS)]);
}

function longText(random: Random): string {
  const unit = random.pick(["x", "0", "ü", "\0", "1ns", '"', "\u{1f600}"]);
  return unit.repeat(random.pick([100, 300, 5_000, 100_000]));
}

// How large a list may become: far more than any body may have would only take time.
const LIST_BYTES_MAX = 1_000_000;

function manyOf(values: readonly Value[], random: Random): Value[] {
  if (values.length === 0 || random.oneIn(4)) return [];
  const largest = Math.max(...values.map(sizeOf), 1);
  const count = Math.min(
    random.pick([1, 2, 999, 1_000, 1_001, 3_000]),
    Math.max(Math.floor(LIST_BYTES_MAX / largest), values.length),
  );
  return Array.from({ length: count }, (_, i) => values[i % values.length]!);
}

// About how many bytes a value takes when it is written.
function sizeOf(value: Value): number {
  switch (value.kind) {
    case "text":
    case "json":
      return value.text.length * 3;
    case "map":
      return value.pairs.reduce((sum, [key, each]) => sum + (key.length + each.length) * 3 + 9, 0);
    case "bytes":
      return value.bytes.length * 2;
    case "odd":
      return value.json.length + value.wire.length;
    case "list":
      return value.values.reduce((sum, each) => sum + sizeOf(each), 0);
    case "message":
      return value.entries.reduce((sum, { value: inner }) => sum + 10 + sizeOf(inner), 0);
    default:
      return 30;
  }
}

/** A field that no message has. */
export function unknownField(random: Random): Entry {
  const names = [
    "__proto__",
    "constructor",
    "prototype",
    "toString",
    "",
    "queue_name ",
    "QUEUE_NAME",
  ];
  const number = random.pick([19, 1_000, 18_999, 2 ** 29 - 1]);
  return { name: random.pick([...names, "retry", "\u{1f600}"]), number, value: wrongType(random) };
}

const VARINT_TOO_LONG = Buffer.alloc(11, 0xff);
const VARINT_MINUS_ONE = Buffer.from("ffffffffffffffffff01", "hex");

/** A value that is of another type than any field, or of none at all. */
export function wrongType(random: Random): Odd {
  const { Varint, LengthDelimited, Bit32, Bit64, StartGroup } = WireType;
  return random.pick([
    odd("null", LengthDelimited),
    odd("true", Varint, Buffer.of(1)),
    odd("0", Varint, Buffer.of(0)),
    odd('"text"', LengthDelimited, "text"),
    odd("[]", StartGroup),
    odd("{}", LengthDelimited),
    odd("[null]", Bit32, Buffer.alloc(4)),
    odd('{"__proto__":{"polluted":true}}', Bit64, Buffer.alloc(8)),
    odd('{"constructor":{"prototype":{}}}', 6 as WireType),
    odd('[[[["x"]]]]', 7 as WireType),
    ...[2 ** 31, 2 ** 53, -1e300, 1.5, 0.1].map((n) => odd(String(n), Varint, VARINT_MINUS_ONE)),
    ...["1e2", "1.0", "-0", "1E400", "9".repeat(400)].map((n) => odd(n, Varint, VARINT_TOO_LONG)),
    ...["NaN", "Infinity", "undefined", "0x10", "01", "+1", "'a'", "1,", "", "nul"].map((text) =>
      odd(text, LengthDelimited, text),
    ),
    ...['"1"', '"1e2"', '" 1"', '"0x1"', '"1.5"', '"NaN"', `"${"1".repeat(300)}"`].map((text) =>
      odd(text, Varint, VARINT_TOO_LONG),
    ),
  ]);
}

const BAD_TIMES: readonly string[] = [
  ...[
    "",
    "now",
    "2024-01-01",
    "2024-01-01 12:00:00.0",
    "2024-01-01T12:00:00",
    "2024-02-30T00:00:00Z",
  ],
  ...[
    "2023-02-29T00:00:00Z",
    "0000-01-01T00:00:00Z",
    "10000-01-01T00:00:00Z",
    "+2024-01-01T00:00:00Z",
  ],
  ...["2024-01-01T24:00:00Z", "2024-01-01T23:59:60Z", "2024-01-01T00:00:00+24:00", "1704067200"],
  ...["2024-01-01T00:00:00.1234567890Z", "2024-01-01T00:00:00.Z", "0001-01-01T00:00:00+00:01"],
  ...["9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59-00:01", "2024-01-01t00:00:00z"],
];

const BAD_BASE64: readonly string[] = [
  ...[
    "=",
    "====",
    "a",
    "ab=",
    "a===",
    "ab==ab==",
    "ab cd",
    "ab\\ncd",
    "a-_/+",
    "!!!!",
    "ab=c",
    "\\u0000",
  ],
];

const SURROGATES: readonly string[] = [
  '"\\ud800"',
  '"\\udc00\\ud800"',
  '"a\\ud83d"',
  '"\\ud800\\u0061"',
];
const NOT_UTF8 = ["ff", "c080", "eda080", "f5808080", "e28e", "80"].map((hex) =>
  Buffer.from(hex, "hex"),
);

/** A value of about the right type that is not valid. */
export function malformed(value: Value, random: Random): Value {
  const { LengthDelimited, Varint } = WireType;
  switch (value.kind) {
    case "text": {
      if (random.oneIn(2)) return odd(random.pick(SURROGATES), LengthDelimited, NOT_UTF8[2]!);
      const bytes = random.pick(NOT_UTF8);
      const json = Buffer.concat([Buffer.from('"x'), bytes, Buffer.from('"')]);
      return odd(json, LengthDelimited, Buffer.concat([Buffer.from("x"), bytes]));
    }
    case "bytes":
      return odd(`"${random.pick(BAD_BASE64)}"`, Varint, Buffer.of(1));
    case "time": {
      const seconds = random.pick([253_402_300_800, -62_135_596_801, 2 ** 53, -(2 ** 53)]);
      const nanos = random.pick([-1, 1_000_000_000, 2 ** 31 - 1, -(2 ** 31)]);
      return random.oneIn(2)
        ? odd(`"${random.pick(BAD_TIMES)}"`, LengthDelimited, timeBytes(seconds, 0))
        : odd(`"${random.pick(BAD_TIMES)}"`, LengthDelimited, timeBytes(0, nanos));
    }
    default:
      return wrongType(random);
  }
}

function timeBytes(seconds: number, nanos: number): Buffer {
  const parts: Buffer[] = [];
  for (const [number, value] of [
    [1, seconds],
    [2, nanos],
  ] as const) {
    let rest = BigInt.asUintN(64, BigInt(value));
    parts.push(Buffer.of(number << 3));
    for (; rest > 0x7fn; rest >>= 7n) parts.push(Buffer.of(Number(rest & 0x7fn) | 0x80));
    parts.push(Buffer.of(Number(rest)));
  }
  return Buffer.concat(parts);
}

/** A value nested so deeply that a recursive parser has no stack left. */
export function deep(random: Random): Odd {
  const depth = random.pick([100, 5_000, 60_000]);
  const json = random.oneIn(2)
    ? `${"[".repeat(depth)}${"]".repeat(depth)}`
    : `${'{"a":'.repeat(depth)}1${"}".repeat(depth)}`;
  return odd(json, WireType.StartGroup, Buffer.alloc(depth, 0x0b));
}
