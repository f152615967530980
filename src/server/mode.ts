// What a server does at present, as one value: nothing about it is told by flags beside each other.

import { plainError } from "../errors.ts";

export type Mode =
  /** Storages are opened; it does not listen yet. */
  | { readonly name: "starting" }
  | { readonly name: "serving" }
  /** Another server owns the data, or it cannot be taken: why. Requests are refused, and it is tried again. */
  | { readonly name: "standby"; readonly reason: string }
  /** It takes no more work. There is no way back. */
  | { readonly name: "stopping" };

export class ServerMode {
  #mode: Mode = { name: "starting" };

  get name(): Mode["name"] {
    return this.#mode.name;
  }

  /** Why it is on standby; undefined if it is not. */
  get reason(): string | undefined {
    return this.#mode.name === "standby" ? this.#mode.reason : undefined;
  }

  /** Goes over to another mode; a server that stops stays with that. */
  become(mode: Mode): void {
    if (this.#mode.name !== "stopping") this.#mode = mode;
  }

  /** Throws the answer that every request gets unless queues are served. */
  checkServing(): void {
    const { name } = this;
    if (name === "serving") return;
    if (name === "stopping") throw plainError("shutting_down");
    throw plainError("standby");
  }
}
