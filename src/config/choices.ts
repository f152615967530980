// The values of options that are one of a few words. A file of its own, so that the command line can show
// them without loading what reads a configuration.

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export const LOG_FORMATS = ["text", "json", "color"] as const;
export const SYNCS = ["full", "interval"] as const;
export const AUTHS = ["none", "keys"] as const;
export const TLS_VERSIONS = ["1.2", "1.3"] as const;
/** Whether there is a dashboard, and whether it may change anything. */
export const UIS = ["on", "read-only", "off"] as const;
export const CLIENT_AUTHS = ["required", "optional"] as const;
