// Stands between a server and its database as a network does that fails without saying so: what the
// database answers can be held back, on all connections, while they stay open.

import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import type { TestContext } from "node:test";

export class StallingRelay {
  readonly #server: Server;
  readonly #answers = new Set<Socket>();
  #isHeld = false;

  private constructor(target: number) {
    this.#server = createServer((client) => {
      const database = connect(target, "127.0.0.1");
      client.pipe(database);
      database.on("data", (data) => client.write(data));
      if (this.#isHeld) database.pause();
      this.#answers.add(database);
      for (const [socket, other] of [
        [client, database],
        [database, client],
      ] as const) {
        socket.setNoDelay(true);
        socket.on("error", () => undefined); // "close" follows
        socket.on("close", () => {
          this.#answers.delete(database);
          other.destroy();
        });
      }
    });
  }

  /** Relays to a port of this machine until the test ends. */
  static async start(t: TestContext, target: number): Promise<StallingRelay> {
    const relay = new StallingRelay(target);
    relay.#server.listen(0, "127.0.0.1");
    await once(relay.#server, "listening");
    t.after(() => {
      relay.#server.close();
      for (const socket of relay.#answers) socket.destroy();
    });
    return relay;
  }

  /** The same database by way of this relay. */
  through(url: string): string {
    const own = new URL(url);
    own.port = String((this.#server.address() as { port: number }).port);
    return own.href;
  }

  /** From now on no answer comes through, on new connections neither. */
  hold(): void {
    this.#isHeld = true;
    for (const socket of this.#answers) socket.pause();
  }

  /** Lets answers through again, also those that were held. */
  letGo(): void {
    this.#isHeld = false;
    for (const socket of this.#answers) socket.resume();
  }
}
