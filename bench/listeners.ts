// Those who listen to events, a process of its own with the lowest priority, so that what they cost is not taken for
// what the server does for them. They take all that is sent and read none of it. Takes the address and their number as
// arguments; sends "ready" over IPC once all are told something, and what they were sent when it is asked.

import { connect } from "node:net";
import { setPriority } from "node:os";

setPriority(19);
const url = new URL(process.argv[2]!);
const count = Number(process.argv[3]);
// One for all: nobody looks into it.
const buffer = Buffer.alloc(262_144);
let bytes = 0;
let gaps = 0;
let told = 0;

for (let i = 0; i < count; i++) {
  let isTold = false;
  const socket = connect({
    port: Number(url.port),
    host: url.hostname,
    onread: {
      buffer,
      callback: (length) => {
        bytes += length;
        if (buffer.subarray(0, length).includes("\nevent: gap\n")) gaps++;
        if (isTold) return true;
        isTold = true;
        if (++told === count) process.send!("ready");
        return true;
      },
    },
  });
  socket.on("error", () => undefined);
  socket.write(`GET /v2/events HTTP/1.1\r\nHost: ${url.host}\r\n\r\n`);
}
process.on("message", () => process.send!({ bytes, gaps }));
process.on("disconnect", () => process.exit(0));
