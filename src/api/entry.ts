// Where a request comes in, once it is decoded: whether its caller may do what it asks, and which queues its
// names mean. That is settled before anything is looked up, so that who may not see a queue learns
// nothing of it, not even whether it is there. From here on a name is a full one (registry/names.ts).

import type { DescMessage } from "@bufbuild/protobuf";
import { isRead, type Permission } from "../auth/permissions.ts";
import { ANYONE, denied, type Principal } from "../auth/principal.ts";
import { refused } from "../auth/state.ts";
import type { Decoded } from "../codec/message.ts";
import { QueueError, queueError } from "../errors.ts";
import type { Exchange } from "../http/edge.ts";
import {
  checkLookupName,
  checkNamespace,
  fullName,
  namespaceOf,
  SYSTEM_NAMESPACE,
} from "../registry/names.ts";
import { deedOf, noteDenied } from "./audited.ts";
import type { Row } from "./endpoint.ts";
import type { Service } from "./service.ts";

/** What a request may have that names queues; each is made a full name. */
interface Names {
  queueName?: string;
  queueNames?: string[];
  to?: string;
  produce?: { queueName: string; items?: readonly unknown[] }[];
  readonly items?: readonly unknown[];
}

/**
 * Lets a request in: throws a QueueError if it may not be done, or names a queue as none can be called. Afterwards
 * its names are full ones; answers the namespace that it is about.
 */
export function enter<Request extends DescMessage>(
  row: Row<Request>,
  request: Decoded<Request>,
  exchange: Exchange,
  service: Service,
): string {
  service.checkRunning();
  row.check?.(request);
  const { principal } = exchange;
  const names = request as Names;
  // A server without authentication and namespaces, as most are: every name is a full one already.
  const isPlain =
    principal === ANYONE && exchange.namespace === "" && !service.queues.hasNamespaces();
  if (isPlain) {
    checkNames(names, row);
    const meant = row.namespaceOf?.(request) || SYSTEM_NAMESPACE;
    if (service.auth.accounts.isAnyLimited) {
      spend(row, names, { namespace: meant, principal }, service);
    }
    // The first queue of a namespace is made when none has any.
    if (meant !== SYSTEM_NAMESPACE) makeFull(names, meant);
    return isOfAll(row, request, exchange) ? "" : meant;
  }
  // It may have been taken away while the body was on its way.
  if (principal.isEnded) throw refused("api key does not exist");
  if (isOfAll(row, request, exchange)) {
    if (namespacesSeen([...permissionsOf(row, names)], principal)?.length === 0) throw denied();
    return "";
  }
  const given = row.namespaceOf?.(request) || exchange.namespace;
  const namespace = given || defaultOf(row, principal) || homeOf(names, row, principal, service);
  if (exchange.namespace !== "") checkNamespace(namespace);
  const wanted = row.isOfServer === true ? SYSTEM_NAMESPACE : namespace;
  for (const permission of permissionsOf(row, names)) {
    if (mayIn(wanted, permission, principal, row)) continue;
    noteDenied(row, request, deedOf(row, exchange, wanted), service);
    throw denied();
  }
  if (service.auth.accounts.isAnyLimited) spend(row, names, { namespace, principal }, service);
  checkNames(names, row);
  if (row.isOfItem === true && names.queueName === "") {
    nameGiver(names, row, namespace, exchange, service);
    return namespace;
  }
  if (namespace !== SYSTEM_NAMESPACE) makeFull(names, namespace);
  return namespace;
}

// Whether a request is about whatever its caller may see.
function isOfAll<Request extends DescMessage>(
  row: Row<Request>,
  request: Decoded<Request>,
  { namespace, principal }: Exchange,
): boolean {
  if (row.isOfAll !== true || principal.scope !== "") return false;
  return namespace === "" && (row.namespaceOf?.(request) ?? "") === "";
}

/** The namespaces in which somebody may do all of this; undefined if that are all there are. */
export function namespacesSeen(
  needs: readonly Permission[],
  principal: Principal,
): readonly string[] | undefined {
  const may = (namespace: string): boolean => needs.every((each) => principal.may(each, namespace));
  if (may(SYSTEM_NAMESPACE)) return undefined;
  return [...principal.grants.keys()].filter(may);
}

// Counts a call, and the items that it brings, among what its namespace may do in a second: that of its key, which was
// counted before its body was read, or else the one that it is about.
function spend(
  row: Row<DescMessage>,
  { items = [], produce = [] }: Names,
  { namespace, principal }: { readonly namespace: string; readonly principal: Principal },
  { auth, clock }: Service,
): void {
  const account = auth.accounts.limited(namespace);
  if (account === undefined) return;
  const steady = clock.steady();
  if (principal.scope !== namespace && row.isFree !== true) {
    throwIf(account.takeRate("requestsPerSecond", 1, steady));
  }
  if (row.permission === "queue.lease") throwIf(account.checkRate("itemsPerSecond", steady));
  const followers = produce.reduce((sum, each) => sum + (each.items?.length ?? 0), 0);
  const count = (row.permission === "queue.produce" ? items.length : 0) + followers;
  throwIf(account.takeRate("itemsPerSecond", count, steady));
}

/** Counts a call of a key that is for one namespace, before anything is done for it. */
export function spendCall(
  { isFree }: Pick<Row<DescMessage>, "isFree">,
  { principal: { scope } }: Exchange,
  { auth, clock }: Service,
): void {
  if (scope === "" || isFree === true) return;
  throwIf(auth.accounts.limited(scope)?.takeRate("requestsPerSecond", 1, clock.steady()));
}

function throwIf(error: QueueError | undefined): void {
  if (error !== undefined) throw error;
}

// By the contract of /v1 a key of one namespace may also do what its user may do in `_system`. Under /v2 it is for its
// namespace and for nothing else.
function mayIn(
  namespace: string,
  permission: Permission,
  principal: Principal,
  { path }: Pick<Row<DescMessage>, "path">,
): boolean {
  const { scope } = principal;
  if (scope !== "" && scope !== namespace && path.startsWith("/v2/")) return false;
  return principal.may(permission, namespace);
}

/** Whether a call takes no notice of how often it is done. */
export function readsOnly({ permission }: Pick<Row<DescMessage>, "permission">): boolean {
  return isRead(permission);
}

// What is produced with a complete has to be allowed as well.
function* permissionsOf(
  { permission, alsoNeeds }: Row<DescMessage>,
  { produce }: Names,
): Iterable<Permission> {
  yield permission;
  if (alsoNeeds !== undefined) yield alsoNeeds;
  if (produce !== undefined && produce.length > 0) yield "queue.produce";
}

// A call of /v1 that could name a namespace means `_system` if it does not, whatever its key is for.
function defaultOf({ namespaceOf, path }: Row<DescMessage>, { scope }: Principal): string {
  return namespaceOf !== undefined && path.startsWith("/v1/") ? SYSTEM_NAMESPACE : scope;
}

// Who says no namespace means the queue of this name in `_system`, or else in the only namespace that has one: clients
// of /v1 can say no more than a name. What the caller may not see counts for nothing, and so tells nothing.
function homeOf(
  { queueName: name }: Names,
  row: Row<DescMessage>,
  principal: Principal,
  { queues }: Service,
): string {
  // One that is to be made is nowhere yet.
  const isThere = name !== undefined && name !== "" && row.permission !== "queue.create";
  if (!isThere || !queues.hasNamespaces()) return SYSTEM_NAMESPACE;
  return queues.namespaceOf(name, (namespace) => mayIn(namespace, row.permission, principal, row));
}

function checkNames(names: Names, { isOfItem, checkName }: Row<DescMessage>): void {
  const { queueName, queueNames, to, produce } = names;
  if (queueName !== undefined && !(queueName === "" && isOptional(names, isOfItem))) {
    (checkName ?? checkLookupName)(queueName);
  }
  if (queueNames !== undefined) {
    for (const [i, name] of queueNames.entries()) checkOther(`queue_names[${i}]`, name);
  }
  if (to !== undefined && to !== "") checkOther("to", to);
  if (produce === undefined || produce.length === 0) return;
  for (const [i, { queueName: name }] of produce.entries()) {
    if (name !== "") checkOther(`produce[${i}].queue_name`, name);
  }
}

function isOptional({ queueNames }: Names, isOfItem = false): boolean {
  return isOfItem || (queueNames !== undefined && queueNames.length > 0);
}

// A queue that is named beside the one that a request is for: errors name its field.
function checkOther(field: string, name: string): void {
  try {
    checkLookupName(name);
  } catch (error) {
    if (!(error instanceof QueueError)) throw error;
    const { kind, message, code, details, detail } = error;
    throw new QueueError(kind, message, { code, details, detail, field });
  }
}

// An item that is asked for by its id alone is in the queue that has given the id, wherever that is. One in a
// namespace that the caller may not see is not there.
function nameGiver(
  names: Names & { readonly id?: string },
  row: Row<DescMessage>,
  namespace: string,
  { principal }: Exchange,
  { queues }: Service,
): void {
  const id = names.id ?? "";
  const giver = id === "" ? undefined : queues.giverOf(id);
  if (giver === undefined) return;
  const there = namespaceOf(giver);
  if (there !== namespace && !mayIn(there, row.permission, principal, row)) {
    throw queueError("item_not_found", { id });
  }
  names.queueName = giver;
}

function makeFull(names: Names, namespace: string): void {
  const { queueName, queueNames, to, produce } = names;
  if (queueName !== undefined && queueName !== "") names.queueName = fullName(namespace, queueName);
  if (queueNames !== undefined) {
    names.queueNames = queueNames.map((name) => fullName(namespace, name));
  }
  if (to !== undefined && to !== "") names.to = fullName(namespace, to);
  if (produce === undefined) return;
  names.produce = produce.map(({ queueName: name, ...rest }) => ({
    ...rest,
    queueName: name === "" ? "" : fullName(namespace, name),
  }));
}
