// What those who listen to events cost the loop: the same load on one server, by turns with 100 listeners and with none,
// in windows so short that noise hits both. Beside items a second, which say little on a machine that others use, the
// CPU of the server for each item.

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { BATCH, type CountedServer, median, SINGLE } from "./measure.ts";
import { fixed, OURS, print, type TableRun, whole } from "./table-run.ts";

const LISTENERS = 100;

/** Somebody who takes all that is sent as fast as it comes, and reads none of it. */
async function listen(
  url: URL,
): Promise<{ readonly socket: Socket; readonly bytes: () => number }> {
  const socket = connect(Number(url.port), url.hostname);
  let bytes = 0;
  socket.on("data", (chunk) => {
    bytes += chunk.length;
  });
  socket.on("error", () => undefined);
  socket.write(`GET /v2/events HTTP/1.1\r\nHost: ${url.host}\r\n\r\n`);
  await once(socket, "data");
  return { socket, bytes: () => bytes };
}

interface Seen {
  readonly items: number;
  readonly cpu: number;
  readonly sent: number;
}

async function window(run: TableRun, server: CountedServer, load: object, listeners: number) {
  const all = await Promise.all(
    Array.from({ length: listeners }, () => listen(new URL(server.url))),
  );
  const { load: result, did } = await run.under(server, { ...SINGLE, ...load }, OURS);
  const sent = all.reduce((sum, { bytes }) => sum + bytes(), 0);
  for (const { socket } of all) socket.destroy();
  const { itemsPerSecond, completed } = result;
  return { items: itemsPerSecond, cpu: (did.cpuMs * 1_000) / completed, sent: sent / completed };
}

/** As many windows as there are runs, of each kind, after one of each that does not count. */
export async function events(run: TableRun): Promise<void> {
  for (const place of run.options.storages) {
    const rows: unknown[][] = [];
    for (const [name, load] of [
      ["single items", SINGLE],
      ["batches of 100", BATCH],
    ] as const) {
      await run.withServer(
        {},
        async (server) => {
          const seen: Record<number, Seen[]> = { 0: [], [LISTENERS]: [] };
          for (let i = 0; i <= run.options.runs; i++) {
            // Who comes first has it easier, or not.
            const order = i % 2 === 0 ? [0, LISTENERS] : [LISTENERS, 0];
            for (const listeners of order) {
              const one = await window(run, server, load, listeners);
              if (i > 0) seen[listeners]!.push(one);
            }
          }
          const [without, heard] = [seen[0]!, seen[LISTENERS]!];
          const of = (all: readonly Seen[], what: keyof Seen): number =>
            median(all.map((each) => each[what]));
          // Of windows that were measured one after the other.
          const ratio = (what: keyof Seen): number =>
            median(heard.map((each, i) => each[what] / without[i]![what]));
          rows.push([
            name,
            whole(of(without, "items")),
            whole(of(heard, "items")),
            fixed(ratio("items"), 3),
            fixed(of(without, "cpu"), 1),
            fixed(of(heard, "cpu"), 1),
            fixed(ratio("cpu"), 3),
            whole(of(heard, "sent")),
          ]);
        },
        place,
      );
    }
    print(
      `From produce to complete with ${LISTENERS} listeners to all events, on ${place}:`,
      [
        "",
        "items/s, nobody listens",
        "items/s",
        "ratio",
        "CPU µs an item, nobody listens",
        "CPU µs an item",
        "ratio",
        "bytes sent to all an item",
      ],
      rows,
    );
  }
}
