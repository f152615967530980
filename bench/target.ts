// What the load generator needs of a queue, whoever makes it, and ours over HTTP. The others are in
// rivals.ts. A target counts nothing and checks nothing: that is done in load.ts, alike for all.

import { HttpClient } from "./http-client.ts";
import { nextOf, WIRE_FORMATS } from "./wire-format.ts";

/** Items that were leased, in their order. */
export interface Leased {
  /** The first 36 characters of each payload, and perhaps more. */
  readonly heads: readonly string[];
  /** Ends them; answers whether that was accepted. */
  complete(): Promise<boolean>;
}

export interface Producer {
  /** Answers whether the items were accepted. */
  produce(queue: string, payloads: readonly string[]): Promise<boolean>;
  close(): void;
}

export interface Consumer {
  /** Leases up to a batch; answers "none" if there was nothing. */
  lease(): Promise<Leased | "none" | "failed">;
  close(): void;
}

export interface Target {
  /** Whether `complete` answers before items are completed; `close` then waits for it. */
  readonly completesLate: boolean;
  createQueue(name: string): Promise<void>;
  producer(): Promise<Producer>;
  consumer(queue: string, index: number): Promise<Consumer>;
  close(): Promise<void>;
}

/** A server that speaks our protocol; every request shows the key, if there is one. */
export function openHttp(
  address: string,
  batch: number,
  format: keyof typeof WIRE_FORMATS = "json",
  key?: string,
): Target {
  const url = new URL(address);
  const wire = WIRE_FORMATS[format];
  return {
    completesLate: false,
    async createQueue(name) {
      const client = await HttpClient.open(url, key);
      const settings = `"lease_timeout":"5m","expire_timeout":"24h","requested_partitions":1${wire.settings}`;
      for (const each of wire.hasNext ? [name, nextOf(name)] : [name]) {
        const body = `{"queue_name":"${each}",${settings}}`;
        const reply = await client.post(`/${wire.version}/queues.create`, body);
        if (reply.status !== 200) throw new Error(`queues.create: ${reply.body.toString()}`);
      }
      client.close();
    },
    async producer() {
      const client = await HttpClient.open(url, key);
      return {
        async produce(queue, payloads) {
          const body = wire.produce(queue, payloads);
          return (await client.post(`/${wire.version}/queue.produce`, body)).status === 200;
        },
        close: () => client.close(),
      };
    },
    async consumer(queue, index) {
      const client = await HttpClient.open(url, key);
      const ask = wire.lease(queue, `c${index}`, batch);
      return {
        async lease() {
          const { status, body } = await client.post(`/${wire.version}/queue.lease`, ask);
          if (status === 454 || status === 453) return "none";
          if (status !== 200) return "failed";
          const { partition, items } = wire.leased(body);
          if (items.length === 0) return "none";
          return {
            heads: items.map(({ head }) => head),
            async complete() {
              const ids = items.map(({ id }) => id);
              if (wire.meanwhile !== undefined) {
                const [call, asked] = wire.meanwhile(queue, ids);
                const done = await client.post(`/${wire.version}/${call}`, asked);
                if (done.status !== 200) return false;
              }
              const request = wire.complete(queue, partition, ids);
              return (await client.post(`/${wire.version}/queue.complete`, request)).status === 200;
            },
          };
        },
        close: () => client.close(),
      };
    },
    async close() {},
  };
}
