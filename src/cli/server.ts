// `querator server`: starts the server, and stops it when the process is told to end.

import { type Command, InvalidArgumentError, Option } from "commander";
import { SystemClock } from "../clock.ts";
import {
  AUTHS,
  CLIENT_AUTHS,
  LOG_FORMATS,
  LOG_LEVELS,
  SYNCS,
  TLS_VERSIONS,
  UIS,
} from "../config/choices.ts";
import type { ServerOptions } from "../config/config.ts";
import { ConfigError } from "../config/section.ts";
import type { RunningServer } from "../server/server.ts";
import { keepItemsYoung } from "./heap.ts";
import { goOnWithoutOutput } from "./output.ts";
import { onEndSignal } from "./signals.ts";

/** How long a stop may take before the process ends all the same. */
const STOP_MS_MAX = 9_500;

export function addServerCommand(program: Command): void {
  program
    .command("server")
    .description("run a server")
    .option(
      "--address <host:port>",
      "where to listen, or unix:/PATH; port 0 takes a free one (default: localhost:2319)",
    )
    .option("--socket-mode <mode>", "who may use a Unix socket (default: 0660)")
    .option(
      "--admin-address <host:port>",
      "one more address, without TLS: the state of the server, its metrics, and with the dashboard all of /v2",
    )
    .option("--tls-cert <file>", "speak TLS, with this certificate and those above it")
    .option("--tls-key <file>", "the key of the certificate")
    .addOption(
      new Option("--tls-min-version <version>", "the oldest TLS (default: 1.2)").choices(
        TLS_VERSIONS,
      ),
    )
    .option("--tls-client-ca <file>", "authorities whose certificates clients show")
    .addOption(
      new Option(
        "--tls-client-auth <how>",
        "whether clients must show one (default: required)",
      ).choices(CLIENT_AUTHS),
    )
    .option("--data-dir <dir>", "where to keep data (default: ./querator-data)")
    .option("--memory", "keep everything in memory, nothing on disk")
    .option(
      "--postgres <url>",
      "keep data in PostgreSQL: a URL, or env for DATABASE_URL or PGHOST and the like",
    )
    .option("--config <file>", "a YAML file; see docs/CONFIGURATION.md")
    .addOption(new Option("--log-level <level>", "what to log (default: info)").choices(LOG_LEVELS))
    .addOption(
      new Option("--log-format <format>", "how to log (default: color)").choices(LOG_FORMATS),
    )
    .addOption(
      new Option(
        "--sync <when>",
        "when commits are on disk: full, before they are answered; interval, soon after (default: full)",
      ).choices(SYNCS),
    )
    .option("--sync-interval <time>", "how soon, with --sync interval (default: 1s)")
    .option(
      "--threads <n>",
      "threads that serve requests, queues spread over them (default: 1)",
      wholeNumber,
    )
    .option("--keep-alive-timeout <time>", "how long idle connections are kept (default: 75s)")
    .option(
      "--allowed-origins <list>",
      "origins whose pages may use the server from a browser, with commas; * for all (default: none)",
    )
    .option(
      "--metrics-queues <list>",
      "queues of which GET /metrics tells by themselves, with commas between them",
    )
    .addOption(
      new Option(
        "--ui <how>",
        "the dashboard at /ui; read-only: nothing can be changed from there (default: on)",
      ).choices(UIS),
    )
    .option(
      "--allowed-hosts <list>",
      "more names that it answers to while it listens on this machine only; * for any (default: none)",
    )
    .addOption(
      new Option(
        "--auth <how>",
        "keys: callers show a key; none: everybody may do everything, also beyond this machine (default: none, on this machine only)",
      ).choices(AUTHS),
    )
    .option(
      "--bootstrap-key-file <file>",
      "what the first key is to be, with --auth keys (default: one that is made, and written to a file)",
    )
    .option("--dev", "add endpoints for tests: virtual time, held queues; never in production")
    .addHelpText(
      "after",
      `
Each option is also read from the environment: QUERATOR_ADDRESS, QUERATOR_SOCKET_MODE,
QUERATOR_ADMIN_ADDRESS, QUERATOR_TLS_CERT, QUERATOR_TLS_KEY, QUERATOR_TLS_MIN_VERSION,
QUERATOR_TLS_CLIENT_CA, QUERATOR_TLS_CLIENT_AUTH, QUERATOR_DATA_DIR,
QUERATOR_MEMORY, QUERATOR_POSTGRES, QUERATOR_CONFIG, QUERATOR_LOG_LEVEL, QUERATOR_LOG_FORMAT, QUERATOR_SYNC, QUERATOR_SYNC_INTERVAL,
QUERATOR_THREADS, QUERATOR_KEEP_ALIVE_TIMEOUT, QUERATOR_ALLOWED_ORIGINS, QUERATOR_ALLOWED_HOSTS, QUERATOR_UI,
QUERATOR_AUTH, QUERATOR_BOOTSTRAP_KEY_FILE, QUERATOR_DEV; QUERATOR_BOOTSTRAP_KEY and QUERATOR_POSTGRES_FILE as well.
Flags win over the environment, the environment over the file.

Examples:
  querator server                                     durable, in ./querator-data
  querator server --address :8080 --auth keys --data-dir /var/lib/querator
  querator server --memory --dev                      for the tests of your own program
  querator server --config querator.yaml --log-format json`,
    )
    .action(async (options: ServerOptions) => {
      await runServer(options);
    });
}

function wholeNumber(text: string): number {
  if (/^\d+$/.test(text)) return Number(text);
  throw new InvalidArgumentError("use a whole number");
}

// What is called an option where a server is embedded is a flag here.
function asFlag(message: string): string {
  return message.replace(
    /^options: (\w+)/,
    (_, name: string) => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
  );
}

async function runServer(options: ServerOptions): Promise<void> {
  keepItemsYoung();
  // Whatever hangs, the process ends.
  let timer: NodeJS.Timeout | undefined;
  const endInTime = (): void => {
    timer ??= setTimeout(() => {
      process.stderr.write("Error: the server did not stop in time\n");
      process.exit(1);
    }, STOP_MS_MAX);
  };
  // While the server starts there is nothing to stop yet.
  let asked: string | undefined;
  let stop = (reason: string): void => {
    asked = reason;
    endInTime();
  };
  let reload: RunningServer["reload"];
  const forgetSignals = onEndSignal(new SystemClock(), {
    first: (_, reason) => stop(reason),
    again: () => process.exit(1),
    hangUp: () => reload?.() !== undefined,
  });
  // Loaded here, for the other commands start sooner without it.
  const { startServer } = await import("../server/server.ts");
  let server: RunningServer;
  try {
    server = await startServer(options);
  } catch (error) {
    forgetSignals();
    clearTimeout(timer);
    throw error instanceof ConfigError ? new ConfigError(asFlag(error.message)) : error;
  }
  goOnWithoutOutput();
  ({ reload } = server);
  void server.died.then(() => process.exit(1)); // it has logged why
  stop = (reason) => {
    endInTime();
    server.stop(reason).then(
      () => process.exit(0),
      (error: unknown) => {
        process.stderr.write(`Error: ${(error as Error).message}\n`);
        process.exit(1);
      },
    );
  };
  if (asked !== undefined) stop(asked);
}
