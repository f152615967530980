// To which namespace a connection belongs: that of the key which was shown on it last, if that is for one. A namespace
// may have no more of them than its quota says.

import type { Socket } from "node:net";
import type { Principal } from "../auth/principal.ts";
import type { QueueError } from "../errors.ts";
import type { Account } from "../quotas.ts";
import type { Authority } from "./edge.ts";

const homes = new WeakMap<Socket, Account>();

/** A connection is somebody's from now on; else why it may not be, and then it stays whose it was. */
export function belong(
  socket: Socket,
  { scope }: Principal,
  auth: Authority,
): QueueError | undefined {
  const before = homes.get(socket);
  if (scope === "" && before === undefined) return undefined;
  const account = scope === "" ? undefined : auth.accountOf(scope);
  if (account === before) return undefined;
  // Nobody would hear of its end.
  if (socket.destroyed) return undefined;
  const refused = account?.take("connections", 1);
  if (refused !== undefined) return refused;
  before?.add("connections", -1);
  if (account === undefined) homes.delete(socket);
  else homes.set(socket, account);
  socket.off("close", leave);
  socket.once("close", leave);
  return undefined;
}

function leave(this: Socket): void {
  homes.get(this)?.add("connections", -1);
  homes.delete(this);
}
