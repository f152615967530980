// What is kept of namespaces, users, keys, roles and bindings, and under which names it lies among the records of
// queues: with a sign before them that no queue's name can have. So one storage and one order of changes
// serve all, and who has none of them has nothing stored for them.

import type { Storage, StoredRecord } from "../storage/storage.ts";
import type {
  BindingRecord,
  KeyRecord,
  NamespaceRecord,
  RoleRecord,
  UserRecord,
} from "./service.ts";

/** A key with its digest, by which it is found. */
export interface StoredKey extends KeyRecord {
  readonly digest: string;
}

/** What was done once and is never to be done again. */
export interface Mark {
  readonly id: string;
  readonly at: number;
}

/** The kinds of records, each with what tells one from another. */
export interface RecordKinds {
  readonly namespace: NamespaceRecord;
  readonly user: UserRecord;
  readonly key: StoredKey;
  readonly role: RoleRecord;
  readonly binding: BindingRecord;
  readonly mark: Mark;
}

export type RecordKind = keyof RecordKinds;
export const RECORD_KINDS = [
  "namespace",
  "user",
  "key",
  "role",
  "binding",
  "mark",
] as const satisfies readonly RecordKind[];

/** One record as it is now; without a value it is gone. */
export type Change = {
  readonly [K in RecordKind]: {
    readonly kind: K;
    readonly id: string;
    readonly value: RecordKinds[K] | undefined;
  };
}[RecordKind];

// No queue's name, and no namespace, has this sign.
const SIGN = "~";

/** Whether a record among those of queues is one of these. */
export function isAuthRecord(name: string): boolean {
  return name.startsWith(SIGN);
}

function isKind(kind: string | undefined): kind is RecordKind {
  return RECORD_KINDS.some((each) => each === kind);
}

function storedName({ kind, id }: Pick<Change, "kind" | "id">): string {
  return `${SIGN}${kind}${SIGN}${id}`;
}

/** Other records that are written and removed in the same write. */
export interface AlsoWritten {
  readonly puts: readonly StoredRecord[];
  /** Their names. */
  readonly gone: readonly string[];
}

/** A record that is there. */
export function present<K extends RecordKind>(kind: K, value: RecordKinds[K]): Change {
  const id = "id" in value ? value.id : value.name;
  return { kind, id, value } as Change;
}

/** One that is to be gone. */
export function absent(kind: RecordKind, id: string): Change {
  return { kind, id, value: undefined };
}

/** All that a storage of records holds of these. */
export async function readAuthRecords(storage: Storage): Promise<readonly Change[]> {
  return authRecordsAmong(await storage.listQueues());
}

/** Those among stored records that are of these. */
export function authRecordsAmong(all: readonly StoredRecord[]): readonly Change[] {
  return all.flatMap(({ name, record }) => {
    const [, kind, ...id] = isAuthRecord(name) ? name.split(SIGN) : [];
    if (!isKind(kind)) return [];
    return [{ kind, id: id.join(SIGN), value: JSON.parse(record) } as Change];
  });
}

/** Writes records, and takes away those that are gone, with what else is to be written: all of it, or nothing. */
export async function writeAuthRecords(
  storage: Storage,
  changes: readonly Change[],
  also: AlsoWritten,
): Promise<void> {
  const puts = changes.flatMap((change): StoredRecord[] =>
    change.value === undefined
      ? []
      : [{ name: storedName(change), record: JSON.stringify(change.value) }],
  );
  const gone = changes.filter(({ value }) => value === undefined).map(storedName);
  await storage.putQueues([...puts, ...also.puts], [...gone, ...also.gone]);
}
