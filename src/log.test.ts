import assert from "node:assert/strict";
import { test } from "node:test";
import { createLogger, type LogFormat, type LogLevel } from "./log.ts";

function lines(
  options: { format: LogFormat; level?: LogLevel; isTTY?: boolean },
  write: (log: ReturnType<typeof createLogger>) => void,
): string[] {
  const written: string[] = [];
  const destination = {
    isTTY: options.isTTY === true,
    write: (line: string) => written.push(line.replace(/\d{4}-\S+Z/, "TIME")),
  };
  write(createLogger({ level: options.level ?? "info", format: options.format, destination }));
  return written;
}

test("json is one object a line", () => {
  const [line] = lines({ format: "json" }, (log) => log.info({ queue: "q" }, "hello"));
  assert.ok(line!.endsWith("\n"));
  assert.deepEqual(JSON.parse(line!), { level: "info", time: "TIME", queue: "q", msg: "hello" });
});

test("text is one line for people, with values that can be told apart", () => {
  const written = lines({ format: "text" }, (log) =>
    log.warn({ a: "x", b: "two words", c: { d: 1 } }, "hello"),
  );
  assert.deepEqual(written, ['TIME WARN  hello a=x b="two words" c="{\\"d\\":1}"\n']);
});

test("a value cannot begin a line of its own", () => {
  const written = lines({ format: "text" }, (log) => log.info({ a: "x\nTIME ERROR fake" }, "m"));
  assert.deepEqual(written, ['TIME INFO  m a="x\\nTIME ERROR fake"\n']);
});

test("a value cannot change a terminal", () => {
  const queue = "a\u001b[31m\u009b2J\u202eb";
  const expected = "a\\u001b[31m\\u009b2J\\u202eb";
  for (const format of ["text", "color"] as const) {
    const [line] = lines({ format }, (log) => log.info({ queue, of: `${queue} c` }, queue));
    assert.equal(line, `TIME INFO  ${expected} queue=${expected} of="${expected} c"\n`);
  }
});

test("color is for terminals only", () => {
  const write = (log: ReturnType<typeof createLogger>): void => log.error("broken");
  assert.deepEqual(lines({ format: "color" }, write), ["TIME ERROR broken\n"]);
  assert.deepEqual(lines({ format: "color", isTTY: true }, write), [
    "TIME \u001b[31mERROR\u001b[0m broken\n",
  ]);
});

test("what is below the level is left out", () => {
  const written = lines({ format: "text", level: "warn" }, (log) => {
    log.debug("a");
    log.info("b");
    log.warn("c");
  });
  assert.deepEqual(written, ["TIME WARN  c\n"]);
});

test("an error shows its message and its cause, and its stack only when debugging", () => {
  const err = new Error("outer", { cause: new Error("inner") });
  const write = (log: ReturnType<typeof createLogger>): void => log.error({ err }, "failed");
  assert.deepEqual(lines({ format: "text" }, write), [
    'TIME ERROR failed err="Error: outer: inner"\n',
  ]);
  assert.match(lines({ format: "text", level: "debug" }, write)[0]!, /stack/);
});
