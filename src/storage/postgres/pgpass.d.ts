// The library comes without types.
declare module "pgpass" {
  export interface ConnectionFacts {
    readonly host: string;
    readonly port: number;
    readonly database: string;
    readonly user: string;
  }
  /** Looks a password up in PGPASSFILE or ~/.pgpass; undefined if there is none. */
  export default function pgpass(
    facts: ConnectionFacts,
    done: (password: string | undefined) => void,
  ): void;
}
