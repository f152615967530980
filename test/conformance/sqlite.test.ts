import { openSqliteStorage } from "../../src/storage/sqlite/sqlite.ts";
import { testStorage } from "./storage.ts";

testStorage("sqlite", (dir) => openSqliteStorage({ name: "sqlite-0", dir }), { durable: true });
