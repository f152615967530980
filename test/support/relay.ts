// Stands between a server and its database, as the address does that clients of a replicated database
// are given: connections go to the one database that it points to now, and break when it points
// elsewhere.

import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

export class Relay {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #target: number | undefined;
  #joined = 0;

  private constructor(target: number) {
    this.#target = target;
    this.#server = createServer((socket) => this.#join(socket));
    this.#server.unref();
  }

  /** Begins to relay to a port of this machine. */
  static async start(target: number): Promise<Relay> {
    const relay = new Relay(target);
    relay.#server.listen(0, "127.0.0.1");
    await once(relay.#server, "listening");
    return relay;
  }

  /** How many connections there have been. */
  get joined(): number {
    return this.#joined;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  /** The same database by way of this relay. */
  through(url: string): string {
    const own = new URL(url);
    own.port = String(this.port);
    return own.href;
  }

  /** Breaks all connections, and takes new ones elsewhere; to nobody if no port is given. */
  pointTo(target: number | undefined): void {
    this.#target = target;
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.pointTo(undefined);
    this.#server.close();
  }

  #join(client: Socket): void {
    if (this.#target === undefined) {
      client.destroy();
      return;
    }
    this.#joined++;
    const database = connect(this.#target, "127.0.0.1");
    for (const [socket, other] of [
      [client, database],
      [database, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => undefined); // "close" follows
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
  }
}
