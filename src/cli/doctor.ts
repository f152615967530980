// `querator doctor`: looks at the storages of a server, which may be running, and at who may come in, and says
// what is wrong or will be, and what to do. Exit code 1 if there is anything.

import { type Command, InvalidArgumentError, Option } from "commander";
import { MILLISECOND } from "../clock.ts";
import { AUTHS, CLIENT_AUTHS, TLS_VERSIONS } from "../config/choices.ts";
import { DurationError, parseDuration } from "../duration.ts";

interface DoctorOptions {
  readonly address?: string;
  readonly socketMode?: string;
  readonly adminAddress?: string;
  readonly auth?: (typeof AUTHS)[number];
  readonly dataDir?: string;
  readonly postgres?: string;
  readonly config?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsMinVersion?: (typeof TLS_VERSIONS)[number];
  readonly tlsClientCa?: string;
  readonly tlsClientAuth?: (typeof CLIENT_AUTHS)[number];
  /** Milliseconds. */
  readonly old?: number;
}

export function addDoctorCommand(program: Command): void {
  program
    .command("doctor")
    .description("look for what is wrong with a server, or will be, and what it leaves open")
    .option("--data-dir <dir>", "the data directory of the server (default: ./querator-data)")
    .option(
      "--postgres <url>",
      "the PostgreSQL: a URL, or env for DATABASE_URL or PGHOST and the like",
    )
    .option("--config <file>", "the YAML file of the server")
    .option("--address <host:port>", "where the server listens (default: localhost:2319)")
    .option("--socket-mode <mode>", "who may use its Unix socket")
    .option("--admin-address <host:port>", "where else it tells its state")
    .addOption(new Option("--auth <how>", "what the server asks callers for").choices(AUTHS))
    .option("--tls-cert <file>", "the certificate of the server")
    .option("--tls-key <file>", "the key of the certificate")
    .addOption(
      new Option("--tls-min-version <version>", "the oldest TLS that it speaks").choices(
        TLS_VERSIONS,
      ),
    )
    .option("--tls-client-ca <file>", "the authorities of its clients")
    .addOption(
      new Option("--tls-client-auth <how>", "whether they must show a certificate").choices(
        CLIENT_AUTHS,
      ),
    )
    .option(
      "--old <time>",
      "from what age on an open transaction is too old (default: 5m)",
      readAge,
    )
    .addHelpText(
      "after",
      `
Examples:
  querator doctor --data-dir /var/lib/querator
  querator doctor --address :2319 --auth keys --tls-cert tls.crt --tls-key tls.key
  querator doctor --postgres env --old 1m`,
    )
    .action(async ({ old, ...options }: DoctorOptions) => {
      // Loaded here, for the other commands start sooner without it.
      const { examineServer } = await import("./examination.ts");
      process.exitCode = (await examineServer(options, old)) ? 0 : 1;
    });
}

function readAge(text: string): number {
  try {
    const age = parseDuration(text) / MILLISECOND;
    if (age >= 0) return age;
  } catch (error) {
    if (!(error instanceof DurationError)) throw error;
  }
  throw new InvalidArgumentError("use a time such as 5m");
}
