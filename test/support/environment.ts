// What a process that a test starts gets of the test's own environment: nothing that changes what it does.

/** Where programs are found, and where what Node has made of sources is kept from one process to the next. */
export const BASE_ENVIRONMENT: Readonly<Record<string, string | undefined>> = {
  PATH: process.env.PATH,
  NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
};
