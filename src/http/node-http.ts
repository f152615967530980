// What is used of node:http when the program runs, taken by `require`: an import reads all that the module
// exports, and one of that, its WebSocket, loads all of fetch, which nothing here needs. Half of what a
// server had to load in Node before it could start.

import type * as Http from "node:http";
import { createRequire } from "node:module";

const http = createRequire(import.meta.url)("node:http") as typeof Http;

export const { Server, STATUS_CODES } = http;
