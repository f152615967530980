// The pages about who may do what, and about the server itself.

import type { Page } from "../page.ts";

export const accessPages: readonly Page[] = [];
