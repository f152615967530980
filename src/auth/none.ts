// What there is to administer on a server without authentication: nothing but the namespace that all have.

import { queueError } from "../errors.ts";
import { SYSTEM_NAMESPACE } from "./permissions.ts";
import type { AuthService } from "./service.ts";

export const NO_AUTH: AuthService = {
  checkNamespace(namespace) {
    if (namespace !== SYSTEM_NAMESPACE) throw queueError("namespace_not_found", { namespace });
  },
};
