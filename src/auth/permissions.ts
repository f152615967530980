// What a caller may be allowed to do, and the roles that are there from the beginning. A permission is
// granted by a role that is bound to a user in a namespace; one that is bound in `_system` counts in all.

/** All permissions, by what they are about. There is none that stands for several. */
export const PERMISSIONS = [
  "namespace.create",
  "namespace.delete",
  "namespace.list",
  "namespace.update",
  "queue.create",
  "queue.delete",
  "queue.update",
  "queue.list",
  "queue.produce",
  "queue.lease",
  "queue.complete",
  "queue.retry",
  "queue.stats",
  "queue.clear",
  "queue.pause",
  "queue.redrive",
  "item.read",
  "item.cancel",
  "schedule.create",
  "schedule.update",
  "schedule.delete",
  "schedule.list",
  "events.read",
  "user.create",
  "user.delete",
  "user.list",
  "apikey.create",
  "apikey.delete",
  "apikey.list",
  "role.create",
  "role.update",
  "role.delete",
  "role.list",
  "rolebinding.create",
  "rolebinding.delete",
  "rolebinding.list",
  "audit.read",
  "system.health",
  "system.metrics",
  "system.debug",
  "metrics.read",
] as const;

export type Permission = (typeof PERMISSIONS)[number];

/** The namespace of all that belongs to no other, and of what is about the whole server. */
export const SYSTEM_NAMESPACE = "_system";

const KNOWN: ReadonlySet<string> = new Set(PERMISSIONS);

export function isPermission(name: string): name is Permission {
  return KNOWN.has(name);
}

const READS: ReadonlySet<Permission> = new Set(
  PERMISSIONS.filter((name) => /\.(list|read|stats|health|metrics|debug)$/.test(name)),
);

/** Whether what it allows changes nothing. */
export function isRead(permission: Permission): boolean {
  return READS.has(permission);
}

const PRODUCES: readonly Permission[] = ["queue.produce", "item.read", "item.cancel"];
const CONSUMES: readonly Permission[] = [
  "queue.lease",
  "queue.complete",
  "queue.retry",
  "queue.produce",
  "item.read",
];
const VIEWS: readonly Permission[] = [
  "queue.list",
  "queue.stats",
  "item.read",
  "schedule.list",
  "events.read",
  "metrics.read",
];
const OPERATES: readonly Permission[] = [
  ...VIEWS,
  "item.cancel",
  "queue.pause",
  "queue.redrive",
  "queue.retry",
  "queue.clear",
  "queue.update",
  "schedule.update",
  "system.debug",
];

const startsWith =
  (...starts: readonly string[]) =>
  (name: Permission): boolean =>
    starts.some((start) => name.startsWith(start));

/** The roles that every server has in `_system`; their permissions are those of this version. */
export const STANDARD_ROLES: Readonly<Record<string, readonly Permission[]>> = {
  Admin: PERMISSIONS,
  // All of a namespace, keys of it included; who gives a key can give no more than what they have.
  NamespaceOwner: PERMISSIONS.filter(
    startsWith(
      "queue.",
      "item.",
      "schedule.",
      "events.",
      "metrics.",
      "role.",
      "rolebinding.",
      "apikey.",
      "audit.",
      "system.",
    ),
  ),
  Operator: OPERATES,
  Producer: PRODUCES,
  Consumer: CONSUMES,
  Viewer: VIEWS,
  PublicViewer: ["system.health", "system.metrics"],
};
