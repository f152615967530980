import { after } from "node:test";
import { openPostgresStorage } from "../../src/storage/postgres/postgres.ts";
import { type Postgres, startPostgres } from "../support/postgres.ts";
import { testStorage } from "./storage.ts";

let server: Promise<Postgres> | undefined;
const external = process.env.QUERATOR_TEST_POSTGRES;
after(async () => (await server)?.stop());

async function url(): Promise<string> {
  if (external !== undefined) return external;
  server ??= startPostgres();
  return (await server).url;
}

// A schema for each directory that the suite names.
testStorage(
  "postgres",
  async (dir) => {
    const schema = `t_${dir.replaceAll(/[^a-zA-Z0-9]/g, "_").slice(-40)}`;
    return openPostgresStorage({
      name: "postgres-0",
      target: { connectionString: await url() },
      schema,
      connectionsMax: 3,
    });
  },
  { durable: true },
);
