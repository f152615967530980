import { MemoryStorage } from "../../src/storage/memory.ts";
import { testStorage } from "./storage.ts";

testStorage("memory", async () => new MemoryStorage({ name: "mem-0" }), { durable: false });
