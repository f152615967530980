// A list in Redis for the load generator: the least that a queue can be. Whoever pops an item has it,
// and if he dies it is gone: no leases, no time-outs, no attempts. So it shows what another program
// makes of the same disk, not what it offers.

import { Redis } from "ioredis";
import type { Target } from "./target.ts";

const POLL_MS = 2;

/** A Redis that listens on a socket. Every client has a connection of its own, as those of the server have. */
export async function redisList(socket: string, batch: number): Promise<Target> {
  return {
    completesLate: false,
    async createQueue() {},
    async producer() {
      const redis = new Redis(socket);
      return {
        async produce(queue, payloads) {
          await redis.rpush(queue, ...payloads);
          return true;
        },
        close: () => redis.disconnect(),
      };
    },
    async consumer(queue) {
      const redis = new Redis(socket);
      return {
        async lease() {
          const heads = await redis.lpop(queue, batch);
          if (heads !== null) return { heads, complete: async () => true };
          return new Promise((resolve) => setTimeout(() => resolve("none"), POLL_MS));
        },
        close: () => redis.disconnect(),
      };
    },
    async close() {},
  };
}
