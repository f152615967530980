// What all commands have in common: how they are told what to do, how they fail, and what they do
// on a terminal, which here is one that `script` pretends.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { BASE_ENVIRONMENT } from "../support/environment.ts";
import { temporaryDirectory } from "../support/server.ts";
import { COMMAND, finish, type Result, said, setup } from "./setup.ts";

const needsTerminal =
  spawnSync("script", ["--version"]).status === 0 ? {} : { skip: "needs script" };

/** Runs a command on a terminal; `type` is what is typed once a question is asked. */
async function onTerminal(
  t: TestContext,
  args: readonly string[],
  {
    type = "",
    asked = /\[y\/N\]/,
    env = {},
    columns = 80,
    rows = 24,
    afterwards = "",
  }: {
    readonly type?: string;
    readonly asked?: RegExp;
    readonly env?: Readonly<Record<string, string>>;
    readonly columns?: number;
    readonly rows?: number;
    /** What the shell does after it, whatever came of it. */
    readonly afterwards?: string;
  } = {},
): Promise<Result> {
  const command = [process.execPath, COMMAND, ...args].map((arg) => `'${arg}'`).join(" ");
  const after = afterwards === "" ? "" : `; code=$?; ${afterwards}; exit $code`;
  const line = `stty cols ${columns} rows ${rows} && ${command}${after}`;
  const child = spawn("script", ["-qec", line, "/dev/null"], {
    env: { ...BASE_ENVIRONMENT, TERM: "xterm", ...env },
  });
  t.after(() => child.kill("SIGKILL"));
  const ended = finish(child);
  if (type !== "") {
    await said(child.stdout, asked);
    child.stdin.write(type);
  }
  return ended;
}

test("the options of all commands stand before or after the command, and win over the environment", async (t) => {
  const cli = await setup(t);
  const { host } = new URL(cli.endpoint);
  const env = { QUERATOR_ENDPOINT: "http://127.0.0.1:1" };
  for (const args of [
    ["--endpoint", host, "info", "jobs"],
    ["info", "jobs", `--endpoint=${cli.endpoint}`],
    ["info", "--endpoint", `${cli.endpoint}/`, "jobs"],
  ]) {
    assert.match(await cli.ok(args, { env }), /^name +jobs\n/);
  }
});

test("a key is sent, and what is said about it names the option", async (t) => {
  const cli = await setup(t);
  const seen: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    seen.push(request.headers.authorization);
    response.writeHead(401).end('{"code":401,"message":"api key has expired"}');
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const env = { QUERATOR_ENDPOINT: endpoint, QUERATOR_KEY: "secret-1" };
  const { code, stderr } = await cli.run(["list"], { env });
  await cli.run(["list", "--key", "secret-2"], { env });
  assert.deepEqual(seen, ["Bearer secret-1", "Bearer secret-2"]);
  assert.deepEqual(
    [code, stderr],
    [
      1,
      "Error: api key has expired\nGive a key with QUERATOR_KEY, --key-file or --key, or what a proxy wants with --header\n",
    ],
  );
});

test("a server that is not there ends with 4, and says where and what to do", async (t) => {
  const cli = await setup(t);
  const { code, stdout, stderr } = await cli.run(["list", "--endpoint", "http://127.0.0.1:1"]);
  assert.deepEqual([code, stdout], [4, ""]);
  assert.match(stderr, /^Error: Cannot reach http:\/\/127\.0\.0\.1:1: /);
  assert.match(stderr, /\nStart a server with 'querator server', or name one with --endpoint or /);
});

test("what is used wrongly ends with 2 and says what is wrong", async (t) => {
  const cli = await setup(t);
  const rows: [string[], RegExp][] = [
    [["frobnicate"], /^Error: unknown command 'frobnicate'/],
    [["items"], /^Usage: querator items\|item /],
    [["info"], /missing required argument 'queue'/],
    [
      ["list", "--output", "xml"],
      /argument 'xml' is invalid. Allowed choices are table, json, ndjson/,
    ],
    [["list", "--limit", "0"], /Use a whole number, 1 or more/],
    [["lease", "jobs", "-b", "1001"], /Use a whole number, 1 to 1000/],
    [
      ["create", "a", "--lease-timeout", "1"],
      /Use a duration above 0, such as 500ms, 30s or 1h30m/,
    ],
    [
      ["produce", "jobs", "-p", "x", "--delay", "100000000h"],
      /It is too long; 2562047h is the most/,
    ],
    [
      ["produce", "jobs", "-p", "x", "--enqueue-at", "soon"],
      /Use a time such as 2030-01-31T12:00:00Z/,
    ],
    [
      ["produce", "jobs", "--lines", "--ndjson"],
      /give only one of --payload, --lines and --ndjson/,
    ],
    [
      ["produce", "jobs", "-p", "", "--delay", "1h", "--enqueue-at", "2030-01-31T12:00:00Z"],
      /give either --enqueue-at or --delay/,
    ],
    [
      ["produce", "jobs", "-p", "x", "--enqueue-at", "2030-02-30T12:00:00Z"],
      /Use a time such as 2030-01-31T12:00:00Z/,
    ],
    [
      ["produce", "jobs", "-p", "x", "--enqueue-at", "0000-12-31T12:00:00Z"],
      /Use a time such as 2030-01-31T12:00:00Z/,
    ],
    [
      ["retry", "jobs", "x", "--at", "9999-12-31T23:59:59-05:00"],
      /Use a time such as 2030-01-31T12:00:00Z/,
    ],
    [["list", "--key", "a\nb"], /^Error: the key is invalid; it must be of printable ASCII/],
    [["list", "--key", "ключ"], /^Error: the key is invalid/],
    [
      ["list", "--endpoint", "/run/q.sock"],
      /endpoint '\/run\/q\.sock' is a path; .*unix:\/run\/q\.sock/,
    ],
    [["list", "--endpoint", "ftp://x"], /endpoint 'ftp:\/\/x' is invalid; use a URL such as/],
    [["list", "--endpoint", "http://me:secret@x"], /^Error: the endpoint must not hold a name or/],
    [["tail", "jobs", "-o", "json"], /tail writes a table or NDJSON/],
    [["items", "export", "jobs", "-o", "json"], /items export writes NDJSON only/],
    [["version", "--endpoint", "x"], /'querator version' knows no option --endpoint/],
    [["server", "-o", "json"], /'querator server' knows no option --output/],
    [["completion", "tcsh"], /value 'tcsh' is invalid for argument 'shell'/],
  ];
  for (const [args, pattern] of rows) {
    const { code, stderr, stdout } = await cli.run(args);
    assert.match(stderr, pattern, args.join(" "));
    assert.deepEqual([code, stdout], [2, ""], args.join(" "));
  }
  assert.equal((await cli.json("stats", "jobs")).total, 0);
});

test("help of a command is that of the command, also of one within another", async (t) => {
  const cli = await setup(t);
  for (const args of [["info"], ["items", "import"], ["items", "list"]]) {
    const help = await cli.ok(["help", ...args]);
    assert.ok(help.startsWith(`Usage: querator ${args.join(" ")} `), help);
  }
});

test("help shows the options of all commands only where they are taken", async (t) => {
  const cli = await setup(t);
  for (const command of ["version", "server", "migrate", "doctor", "completion"]) {
    assert.doesNotMatch(await cli.ok([command, "--help"]), /Global|--endpoint|--key|--output/);
    const stdout = await cli.ok(["__complete", "--", command, "--"]);
    assert.doesNotMatch(stdout, /^--(endpoint|key|output)\t/m);
  }
  assert.match(await cli.ok(["info", "--help"]), /^Global Options:\n(.*\n)* +--endpoint <url> /m);
  assert.match(await cli.ok(["--help"]), /^ +--endpoint <url> /m);
});

test("a connection that breaks leaves no doubt when the command only reads", async (t) => {
  const cli = await setup(t);
  const server = createServer((request) => request.socket.destroy()).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const reading = await cli.run(["list", "--endpoint", endpoint]);
  assert.equal(reading.code, 4);
  assert.match(reading.stderr, /\nThe connection broke; try it again\n$/);
  const changing = await cli.run(["create", "a", "--endpoint", endpoint]);
  assert.equal(changing.code, 4);
  assert.match(changing.stderr, /\nThe connection broke; what was asked for may have been done\n$/);
});

test("whoever stops reading ends every command in peace, also those without a server", async (t) => {
  const cli = await setup(t);
  for (const args of [["--help"], ["completion", "bash"], ["version"], ["list"]]) {
    const child = cli.start(args);
    child.stdout!.destroy();
    const { code, stderr } = await finish(child);
    assert.deepEqual([code, stderr.replace(/^Found .*\n/, "")], [0, ""], args.join(" "));
  }
});

const full = existsSync("/dev/full") ? {} : { skip: "needs /dev/full" };

test("what cannot be written is told without a stack, and fails", full, async (t) => {
  const cli = await setup(t);
  await cli.server.produce("jobs", "one");
  for (const args of ["version", "list", "items export jobs"]) {
    const line = `exec '${process.execPath}' '${COMMAND}' ${args} > /dev/full`;
    const child = spawn("sh", ["-c", line], {
      env: { ...BASE_ENVIRONMENT, QUERATOR_ENDPOINT: cli.endpoint },
    });
    const { code, stderr } = await finish(child);
    assert.equal(code, 1);
    assert.match(stderr, /^(\d+ items .*\n)?Error: cannot write to stdout: ENOSPC: .*\n$/);
  }
});

test("what the server refuses is told in its words, without control characters", async (t) => {
  const cli = await setup(t);
  const { code, stderr } = await cli.run(["create", "a~\x1b[31m"]);
  assert.equal(code, 1);
  assert.match(
    stderr,
    /^Error: queue name is invalid; 'a~\\u001b\[31m' cannot contain '~' character\n$/,
  );
});

test("completion answers commands, options, values, and queues of the server", async (t) => {
  const cli = await setup(t);
  await cli.server.createQueue("a:b");
  const rows: [string[], string[]][] = [
    [["pro"], ["produce"]],
    [["items", ""], "get cancel update wait explain list export import delete help".split(" ")],
    [
      ["stats", ""],
      ["a:b", "jobs"],
    ],
    [["stats", "jobs", ""], []],
    [["--output", "json", "stats", "j"], ["jobs"]],
    [["top", "jobs", "a"], ["a:b"]],
    [
      ["list", "--output", ""],
      ["table", "json", "ndjson"],
    ],
    [["list", "--output=n"], ["--output=ndjson"]],
    [["create", "new", "--dead-queue", "a"], ["a:b"]],
    [["update", "jobs", "--dead-queue=j"], ["--dead-queue=jobs"]],
    [["items", "list", "--cursor", ""], []],
    [["lease", "jobs", "--batch"], ["--batch-size"]],
    [["lease", "--end"], ["--endpoint"]],
    [["server", "--log-level", "w"], ["warn"]],
    [
      ["completion", ""],
      ["bash", "zsh", "fish"],
    ],
    [["info", "--endpoint", "http://127.0.0.1:1", ""], []],
  ];
  for (const [words, expected] of rows) {
    const stdout = await cli.ok(["__complete", "--", ...words]);
    const found = stdout.split("\n").map((line) => line.split("\t")[0]!);
    assert.deepEqual(found.slice(0, -1), expected, words.join(" "));
  }
  const help = await cli.ok(["--help"]);
  assert.ok(!help.includes("__complete"));
});

test("bash completes with the script, also what holds a colon", async (t) => {
  const cli = await setup(t);
  await cli.server.createQueue("a:b");
  const script = await cli.ok(["completion", "bash"]);
  const program = `
    querator() { '${process.execPath}' '${COMMAND}' "$@"; }
    ${script}
    for typed in "querator prod" "querator stats a:" "querator list -o " "querator items expo" \\
      "querator create x --dead-queue j" "querator create x --dead-queue=j"; do
      COMP_LINE=$typed COMP_POINT=\${#typed}
      _querator
      echo "\${COMPREPLY[*]}"
    done
    complete -p querator`;
  const child = spawn("bash", ["--norc", "-c", program], {
    env: { ...BASE_ENVIRONMENT, QUERATOR_ENDPOINT: cli.endpoint },
  });
  const { stdout, stderr } = await finish(child);
  assert.equal(stderr, "");
  assert.equal(
    stdout,
    "produce\nb\ntable json ndjson\nexport\njobs\njobs\ncomplete -o default -F _querator querator\n",
  );
});

test("names of queues that would mean something to bash are quoted, and none can change the terminal", async (t) => {
  const cli = await setup(t);
  for (const name of ["x;touch$PWD", "x`id`", "x\u001b[31m", "x\u202e"]) {
    await cli.server.createQueue(name);
  }
  const stdout = await cli.ok(["__complete", "--", "stats", "x"]);
  assert.equal(stdout, "x;touch$PWD\t\nx`id`\t\n");
  const program = `
    querator() { '${process.execPath}' '${COMMAND}' "$@"; }
    ${await cli.ok(["completion", "bash"])}
    COMP_LINE="querator stats x" COMP_POINT=16
    _querator
    printf '%s\n' "\${COMPREPLY[@]}"`;
  const child = spawn("bash", ["--norc", "-c", program], {
    env: { ...BASE_ENVIRONMENT, QUERATOR_ENDPOINT: cli.endpoint },
  });
  const { stdout: replies } = await finish(child);
  assert.equal(replies, "x\\;touch\\$PWD\nx\\`id\\`\n");
});

for (const shell of ["zsh", "fish"]) {
  const isThere = spawnSync(shell, ["--version"]).status === 0;
  test(`${shell} reads its script`, isThere ? {} : { skip: `needs ${shell}` }, async (t) => {
    const cli = await setup(t);
    const script = await cli.ok(["completion", shell]);
    const file = join(temporaryDirectory(t), "script");
    writeFileSync(file, script);
    const { status, stderr } = spawnSync(shell, ["-n", file], { encoding: "utf8" });
    assert.deepEqual([status, stderr], [0, ""]);
  });
}

test(
  "on a terminal what destroys goes on after a yes, and after nothing else",
  needsTerminal,
  async (t) => {
    const cli = await setup(t);
    await cli.server.produce("jobs", "one", "two");
    const args = ["delete", "jobs", "--endpoint", cli.endpoint];
    for (const type of ["n\n", "\n", "\x04"]) {
      const { code, stdout } = await onTerminal(t, args, { type });
      assert.equal(code, 1);
      assert.match(stdout, /Delete queue 'jobs' with 2 items\? \[y\/N\].*Error: nothing was done/s);
    }
    const stopped = await onTerminal(t, args, { type: "\x03" });
    assert.equal(stopped.code, 130);
    assert.equal((await cli.json("stats", "jobs")).total, 2);
    const { code, stdout } = await onTerminal(t, args, { type: "yes\n" });
    assert.equal(code, 0);
    assert.match(stdout, /Successfully deleted queue 'jobs'/);
  },
);

test(
  "ids that come from stdin leave nobody to ask, also on a terminal",
  needsTerminal,
  async (t) => {
    const cli = await setup(t);
    await cli.server.produce("jobs", "one");
    const [{ id }] = await cli.server.list("jobs");
    const args = ["items", "delete", "jobs", "--file", "-", "--endpoint", cli.endpoint];
    const asked = /Reading from the terminal; end it with Ctrl-D/;
    const { code, stdout } = await onTerminal(t, args, { type: `${id}\n\x04`, asked });
    assert.match(
      stdout,
      /Error: there is no terminal to ask on, so nothing was done\r?\nGive --yes/,
    );
    assert.equal(code, 2);
    assert.equal((await cli.server.list("jobs")).length, 1);
  },
);

test("on a terminal there are colours, unless NO_COLOR is set", needsTerminal, async (t) => {
  const cli = await setup(t);
  const args = ["list", "--endpoint", cli.endpoint];
  assert.ok((await onTerminal(t, args)).stdout.startsWith("\x1b[1mNAME"));
  const plain = await onTerminal(t, args, { env: { NO_COLOR: "1" } });
  assert.ok(plain.stdout.startsWith("NAME"));
  assert.ok(!plain.stdout.includes("\x1b"));
});

test("on a terminal top draws in place, and gives the screen back", needsTerminal, async (t) => {
  const cli = await setup(t);
  const args = ["top", "-n", "2", "--interval", "1ms", "--endpoint", cli.endpoint];
  const { code, stdout } = await onTerminal(t, args);
  assert.equal(code, 0);
  assert.ok(stdout.startsWith("\x1b[?1049h\x1b[?25l\x1b[H"));
  assert.equal(stdout.split("\x1b[H").length, 3, "two looks are drawn");
  assert.match(stdout, /1 queue, 0 waiting, 0 leased, 0 scheduled/);
  assert.ok(stdout.endsWith("\x1b[?25h\x1b[?1049l"));
});

test(
  "top with more queues than fit keeps to the height of the terminal",
  needsTerminal,
  async (t) => {
    const cli = await setup(t);
    for (let i = 0; i < 12; i++) await cli.server.createQueue(`queue-${i}`);
    const args = ["top", "-n", "2", "--interval", "1ms", "--endpoint", cli.endpoint];
    for (const rows of [10, 3]) {
      const { stdout } = await onTerminal(t, args, { rows, env: { NO_COLOR: "1" } });
      const [, look] = stdout.split("\x1b[H");
      const lines = look!.split("\n");
      assert.match(lines[0]!, /13 queues, 0 waiting/);
      assert.equal(lines.length, rows);
      if (rows === 10) assert.match(lines.at(-1)!, /^\.\.\. and 7 queues more/);
    }
  },
);

test(
  "on a narrow terminal top leaves out what matters least, and shortens names",
  needsTerminal,
  async (t) => {
    const cli = await setup(t);
    await cli.server.createQueue("漢字".repeat(15));
    await cli.server.produce("jobs", "one");
    const args = ["top", "-n", "2", "--interval", "1ms", "--endpoint", cli.endpoint];
    const env = { NO_COLOR: "1" };
    const { stdout } = await onTerminal(t, args, { columns: 40, env });
    assert.match(stdout, /QUEUE +WAITING +LEASED +FAILING[^ …]/);
    assert.match(stdout, /jobs +1 +0 +0[^ …]/);
    assert.match(stdout, /漢字漢…字漢字 +0 +0 +0[^ …]/);
    const { stdout: usual } = await onTerminal(t, args, { columns: 80, env });
    assert.match(usual, /LEASED +SCHEDULED +IN\/S +DONE\/S +WAIT +RUN +FAILING[^ …]/);
  },
);

test("keys end top, and the terminal is as it was", needsTerminal, async (t) => {
  const cli = await setup(t);
  const args = ["top", "--interval", "1h", "--endpoint", cli.endpoint];
  const asked = /1 queue, 0 waiting/;
  for (const [type, expected] of [
    ["q", 0],
    ["Q", 0],
    ["\x1b", 0],
    ["\x03", 130],
  ] as const) {
    const { code, stdout } = await onTerminal(t, args, { type, asked, afterwards: "stty -a" });
    assert.equal(code, expected, JSON.stringify(type));
    const [, after = ""] = stdout.split("\x1b[?25h\x1b[?1049l");
    assert.match(after, / icanon /);
    assert.match(after, /(^|\s)isig /);
  }
  // Nor is it kept by what ends in another way.
  const { stdout } = await onTerminal(t, ["top", "none", "--endpoint", cli.endpoint], {
    afterwards: "stty -a",
  });
  assert.match(stdout, /Error: no such queue 'none'.*\[\?1049l|\[\?1049l.*Error: no such queue/s);
  assert.match(stdout, / icanon /);
});

test(
  "top that is suspended gives the terminal back, and draws again when it goes on",
  needsTerminal,
  async (t) => {
    const cli = await setup(t);
    const command = `'${process.execPath}' '${COMMAND}' top --interval 1h --endpoint ${cli.endpoint}`;
    // The shell has jobs of its own: it shows what the terminal is, and lets the job go on.
    const child = spawn(
      "script",
      ["-qec", `bash -ic '${command.replaceAll("'", '"')}; stty -a; fg'`, "/dev/null"],
      {
        env: { ...BASE_ENVIRONMENT, TERM: "xterm", PS1: "" },
      },
    );
    t.after(() => child.kill("SIGKILL"));
    await said(child.stdout, /1 queue, 0 waiting/);
    const ended = finish(child);
    child.stdin.write("\x1a");
    let text = "";
    child.stdout.on("data", (chunk) => (text += chunk));
    while (!/ icanon [\s\S]*\[\?1049h/.test(text)) await once(child.stdout, "data");
    child.stdin.write("q");
    assert.equal((await ended).code, 0);
  },
);

test(
  "names and references are whole in a pipe, and cut in the middle on a terminal",
  needsTerminal,
  async (t) => {
    const cli = await setup(t);
    const kind = `kind-${"k".repeat(40)}-end`;
    const reference = `order-${"🙂é漢".repeat(30)}-0001`;
    const name = `queue-${"n".repeat(120)}-end`;
    await cli.server.createQueue(name);
    await cli.server.ok("queue.produce", {
      queue_name: name,
      request_timeout: "1m",
      items: [{ utf8: "one", kind, reference }],
    });
    const lists = [
      ["items", "list", name],
      ["lease", name, "--timeout", "5s"],
    ];
    for (const args of [...lists, ["list"], ["top", "--once"]]) {
      const whole = await cli.ok(args);
      for (const text of args.includes(name) ? [kind, reference] : [name]) {
        assert.ok(whole.includes(text), `${args.join(" ")}: ${whole}`);
      }
      if (args[0] === "lease") await cli.ok(["reload", name]);
    }
    const on = (args: readonly string[]) =>
      onTerminal(t, [...args, "--endpoint", cli.endpoint], {
        env: { NO_COLOR: "1" },
        columns: 100,
      });
    const { stdout: items } = await on(["items", "list", name]);
    assert.match(items, / kind-k{5}…k{5}-end {2}order-🙂é漢🙂é…🙂é漢🙂é漢-0001 {2}one/u);
    const { stdout: live } = await on(["top", "-n", "2", "--interval", "1ms"]);
    assert.match(live, /queue-?n*…n+-end +0 +1/);
    const { stdout: once } = await on(["top", "--once"]);
    assert.match(once, /queue-?n*…n+-end +0 +1/);
  },
);

test(
  "on a terminal a bench tells how far it is, and takes the line away",
  needsTerminal,
  async (t) => {
    const cli = await setup(t);
    const args = ["bench", "--duration", "300ms", "--endpoint", cli.endpoint];
    const { stdout } = await onTerminal(t, args);
    const [, ...drawn] = stdout.split("\r\x1b[K");
    assert.match(drawn[0]!, /^[█░]{24} \d+% {2}[\d,]+ items/);
    assert.ok(drawn.at(-1)!.startsWith("\x1b[1m"), "the result stands where the bar was");
  },
);
