// The pages about items: what lies in a queue, what died, and what is moved back.

import type { Page } from "../page.ts";

export const itemPages: readonly Page[] = [];
