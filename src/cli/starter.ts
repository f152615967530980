// Who started this process, where its end must reach it: npm and its like, which start a command through
// a shell and pass a signal on to that shell only, and the old Node that has started a newer one. What lies
// in between may end as well. Who is started in the background, in a session of its own, or by anything else
// (a shell, systemd, a container) is ended by signals alone.

import { readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";

const LOOK_MS = 500;
// Between a command and the npm that started it are a shell and a program or two, and that again for each
// npm that was started by another.
const GENERATIONS_MAX = 32;

const RUNNERS = /^(npm|npx|pnpm|pnpx|yarn|yarnpkg|bun|bunx|corepack)(-cli)?(\.[cm]?js)?$/;
const SHELLS = /^(ba|da|a|z|k|fi)?sh$|^busybox$/;
// Of a shell that has put us into the background on purpose.
const IN_BACKGROUND = /[^&]&\s*$|\b(nohup|setsid|daemonize|start-stop-daemon)\b/;

/** The variable in which `bin/querator.js` says who it is to the Node that it starts. */
const STARTED_BY = "QUERATOR_STARTED_BY";

interface Process {
  readonly pid: number;
  readonly name: string;
  readonly parent: number;
  readonly session: number;
}

/**
 * Calls `ended` once, with what to tell, if the program that started this one ends before it. Keeps no
 * process alive. Answers how to stop that.
 */
export function onStarterEnd(ended: (reason: string) => void): () => void {
  const starters = startersOf(process.env);
  if (starters.length === 0) return () => undefined;
  const timer = setInterval(() => {
    if (areThere(starters)) return;
    clearInterval(timer);
    ended("what started it has ended");
  }, LOOK_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** Those whose end must reach this process: its parent, the parent of that, and so on. */
function startersOf(env: NodeJS.ProcessEnv): readonly number[] {
  const wrapper = Number(env[STARTED_BY]);
  const hasRunner = Object.keys(env).some((name) => /^npm_(execpath|command|lifecycle)/.test(name));
  if (!hasRunner && process.ppid !== wrapper) return [];
  const own = look(process.pid);
  // Where the system does not show processes in this way only the parent is known.
  if (own === undefined) return process.ppid > 1 ? [process.ppid] : [];
  const above: number[] = [];
  let counted = 0;
  for (let pid = process.ppid; pid > 0 && above.length < GENERATIONS_MAX; ) {
    const each = look(pid);
    if (each === undefined || each.session !== own.session) break;
    above.push(pid);
    const command = commandOf(pid);
    if (pid === wrapper) counted = above.length;
    else if (SHELLS.test(each.name)) {
      if (IN_BACKGROUND.test(command.join(" "))) break;
    } else if (isRunner(command)) {
      if (isCutOff(pid)) break;
      counted = above.length; // perhaps one that another has started: a script that calls npx
    }
    pid = each.parent;
  }
  return above.slice(0, counted);
}

function areThere(starters: readonly number[]): boolean {
  // A process whose parent has ended gets another.
  if (process.ppid !== starters[0]) return false;
  return starters.slice(1).every((pid, i) => look(starters[i]!)?.parent === pid);
}

// By how it was called, or by the title that it has given itself: `npm start`.
function isRunner([first = "", second = ""]: readonly string[]): boolean {
  const program = basename(first.split(" ")[0]!);
  return RUNNERS.test(program) || (/^node/.test(program) && RUNNERS.test(basename(second)));
}

// A shell gives what it puts into the background nothing to read; npm passes on what it has.
function isCutOff(runner: number): boolean {
  const mine = inputOf(process.pid);
  const its = inputOf(runner);
  return mine === "/dev/null" && its !== undefined && its !== mine;
}

function inputOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/fd/0`);
  } catch {
    return undefined;
  }
}

function commandOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").filter(Boolean);
  } catch {
    return [];
  }
}

function look(pid: number): Process | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name is in brackets, and may hold some itself.
    const end = text.lastIndexOf(")");
    const [, parent, , session] = text.slice(end + 2).split(" ");
    const name = text.slice(text.indexOf("(") + 1, end);
    return { pid, name, parent: Number(parent), session: Number(session) };
  } catch {
    return undefined;
  }
}

/**
 * Whether a hang-up of the terminal is to be survived, as `nohup` has it. Node forgets what it was told to
 * ignore, so it is told by the traces that are left.
 */
export function isHangUpIgnored(env: NodeJS.ProcessEnv): boolean {
  if (basename(env._ ?? "") === "nohup") return true;
  try {
    if ([1, 2].some((fd) => basename(readlinkSync(`/proc/self/fd/${fd}`)) === "nohup.out"))
      return true;
    const status = readFileSync(`/proc/${process.ppid}/status`, "utf8");
    // The lowest bit is that of SIGHUP.
    return (Number.parseInt(/SigIgn:\s*(\w+)/.exec(status)?.[1]?.slice(-1) ?? "0", 16) & 1) === 1;
  } catch {
    return false;
  }
}
