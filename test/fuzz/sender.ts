// Sends inputs to the server and waits as long as each may take: its own time-out and a generous
// bound. One that is allowed to wait for minutes is given up after a moment, as by a client that
// goes away; whether the server then forgets it is seen in its statistics.

import { decodeJson } from "../../src/codec/json.ts";
import { decodeProtobuf } from "../../src/codec/protobuf.ts";
import { parseDuration } from "../../src/duration.ts";
import { type Outcome, RawConnection } from "../support/raw-connection.ts";
import { bytesOf, formatOf, headerOf, type Input } from "./input.ts";

/** How long an answer may take beyond the time that the request itself allows. */
const BOUND_MS = 15_000;
/** How long a request may be worth waiting for. */
const PATIENCE_MS = 500;
const LOOK_MS = 100;
/** What is hardly HTTP is mostly refused at once, or waits for more. */
const RAW_MS = 60;

/** Keeps connections to one server. */
export class Sender {
  readonly #port: number;
  readonly #idle: RawConnection[] = [];

  constructor(port: number) {
    this.#port = port;
  }

  /** Undefined if it was given up, which is no fault. */
  async send(input: Input): Promise<Outcome | undefined> {
    const connection = this.#take() ?? (await RawConnection.open(this.#port));
    const own = input.raw === undefined ? ownTimeoutMs(input) : 0;
    const patient = own <= PATIENCE_MS && input.raw === undefined;
    const waitMs = patient ? own + BOUND_MS : input.raw === undefined ? LOOK_MS : RAW_MS;
    const bodiless = input.method === "HEAD";
    const outcome = await connection.send(bytesOf(input), { waitMs, bodiless });
    // After bytes that are hardly HTTP nobody knows where the next request begins.
    if (connection.isOpen && input.raw === undefined) this.#idle.push(connection);
    else connection.destroy();
    return outcome.kind === "silent" && !patient && input.raw === undefined ? undefined : outcome;
  }

  /** Sends many at once, at most `width` at a time; answers in the order of the inputs. */
  async sendAll(
    inputs: readonly Input[],
    width: number,
  ): Promise<readonly (Outcome | undefined)[]> {
    const outcomes: (Outcome | undefined)[] = new Array(inputs.length);
    let next = 0;
    const work = async (): Promise<void> => {
      while (next < inputs.length) {
        const at = next++;
        outcomes[at] = await this.send(inputs[at]!);
      }
    };
    await Promise.all(Array.from({ length: width }, work));
    return outcomes;
  }

  close(): void {
    for (const connection of this.#idle.splice(0)) connection.destroy();
  }

  #take(): RawConnection | undefined {
    for (;;) {
      const connection = this.#idle.pop();
      if (connection === undefined || connection.isOpen) return connection;
    }
  }
}

// The time-out that a request brings along, in milliseconds; 0 if it has none that is valid. The
// server's own decoders serve here: they decide no more than how long to wait.
function ownTimeoutMs(input: Input): number {
  const { request } = input.endpoint;
  if (!request.fields.some((field) => field.localName === "requestTimeout")) return 0;
  const format = formatOf(headerOf(input, "content-type"));
  try {
    const decode = format === "protobuf" ? decodeProtobuf : decodeJson;
    const message = decode(request, input.body) as unknown as { requestTimeout: string };
    // Under /v2 there is one if none is given.
    const isDefault = message.requestTimeout === "" && input.path.startsWith("/v2/");
    return Math.max(parseDuration(isDefault ? "30s" : message.requestTimeout) / 1000, 0);
  } catch {
    return 0;
  }
}
