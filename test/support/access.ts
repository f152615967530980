// What calls on namespaces, users, keys, roles and bindings need to be there, so that their examples can be done.

import type { Json } from "./openapi.ts";
import type { TestServer } from "./server.ts";

/** The calls on these. */
export const ON_ACCESS = /^\/v\d\/(namespaces|users|apikeys|keys|roles|rolebindings|bindings)\./;

const SYSTEM = "_system";
const STANDARD = "is_standard";

/** A request of such a call, of what there is: made here, in place of what was there before. */
export async function withAccess(server: TestServer, path: string, request: Json): Promise<Json> {
  if (!ON_ACCESS.test(path)) return request;
  const [noun = "", verb = ""] = path.replace(/^\/v\d\//, "").split(".");
  await clear(server);
  const made = { ...request };
  const isOfNamespace = noun === "namespaces";
  if (!(isOfNamespace && verb === "create")) await makeNamespace(server, "acme");
  if (isOfNamespace && verb !== "create" && "name" in request) {
    await makeNamespace(server, request.name);
  }
  if (request.namespace) await makeNamespace(server, request.namespace);
  if (noun === "users" && verb === "create") return made;
  const { id: user_id } = await server.ok("/v2/users.create", { username: "jane" });
  if (noun === "users" && "id" in request) made.id = user_id;
  if ("user_id" in request && verb !== "list") made.user_id = user_id;
  if (/keys$/.test(noun) && "id" in request) {
    made.id = (await server.ok("/v2/keys.create", { user_id })).info.id;
  }
  const namespace = request.namespace || SYSTEM;
  const isBound = /bindings$/.test(noun);
  const name = isBound ? request.role_name : request.name;
  if ((noun === "roles" && verb !== "create") || isBound) {
    if (name) await server.call("/v2/roles.create", { namespace, name });
  }
  if (isBound && verb === "delete") {
    await server.call("/v2/bindings.create", { namespace, role_name: name, user_id });
  }
  return made;
}

async function makeNamespace(server: TestServer, name: string): Promise<void> {
  await server.call("/v2/namespaces.create", { name });
}

async function clear(server: TestServer): Promise<void> {
  const { namespaces } = await server.ok("/v2/namespaces.list", {});
  for (const { name: namespace } of namespaces) {
    const { bindings = [] } = await server.ok("/v2/bindings.list", { namespace });
    for (const { role_name, user_id } of bindings) {
      await server.ok("/v2/bindings.delete", { namespace, role_name, user_id });
    }
    const { roles = [] } = await server.ok("/v2/roles.list", { namespace });
    for (const role of roles) {
      if (role[STANDARD] !== true) {
        await server.ok("/v2/roles.delete", { namespace, name: role.name });
      }
    }
    if (namespace !== SYSTEM) await server.ok("/v2/namespaces.delete", { name: namespace });
  }
  const { users = [] } = await server.ok("/v2/users.list", {});
  for (const { id } of users) await server.ok("/v2/users.delete", { id });
}
