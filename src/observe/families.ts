// All metrics that there are: name, type and what each means. The exposition is made with these names, and
// docs/METRICS.md has a row for each; tests compare the three. Times are in seconds, sizes in bytes.

export type MetricType = "counter" | "gauge" | "histogram" | "summary";

/** A metric, or several series of it, told apart by labels. */
export interface Family {
  readonly type: MetricType;
  readonly help: string;
  readonly labels?: readonly string[];
}

const counter = (help: string, ...labels: string[]): Family => ({ type: "counter", help, labels });
const gauge = (help: string, ...labels: string[]): Family => ({ type: "gauge", help, labels });
const histogram = (help: string, ...labels: string[]): Family => ({
  type: "histogram",
  help,
  labels,
});

/** What is counted of items, by the end of its name. */
const COUNTED = {
  produced: "Items taken in from producers, or imported.",
  received: "Items taken in from other queues, dead letters among them.",
  leased: "Leases of items.",
  completed: "Items completed.",
  retried: "Items given back after an attempt, to be tried again.",
  released: "Items given back without counting the attempt.",
  extended: "Extensions of leases.",
  lease_ends: "Leases that ended by themselves.",
  cancelled: "Items cancelled.",
  deduplicated: "Items produced that were there already.",
  deleted: "Items deleted by queue.clear or items.delete.",
  moved: "Items given to other queues, dead letters among them.",
} as const;

export type CountedName = keyof typeof COUNTED;
export const COUNTED_NAMES = Object.keys(COUNTED) as readonly CountedName[];

const DEAD = "Items that died, wherever they went, by why: attempts, expired, rejected.";

const QUEUE = ["namespace", "queue"];

const ofItems = Object.fromEntries(
  COUNTED_NAMES.map((name) => [`querator_items_${name}_total`, counter(COUNTED[name])]),
);
const ofQueueItems = Object.fromEntries(
  COUNTED_NAMES.map((name) => [
    `querator_queue_items_${name}_total`,
    counter(COUNTED[name], ...QUEUE),
  ]),
);

/** Of the server as a whole: at /metrics. */
export const SERVER_FAMILIES: Readonly<Record<string, Family>> = {
  querator_build_info: gauge("Always 1; the version is in the label.", "version"),
  querator_serving: gauge("1 if this server serves the queues, 0 on standby or while it stops."),
  querator_threads: gauge("Threads that serve requests."),
  querator_queues: gauge("Queues."),
  querator_partitions: gauge("Partitions of queues."),
  querator_partitions_failing: gauge("Partitions whose storage fails."),
  querator_items_waiting: gauge("Items that wait to be leased."),
  querator_items_leased: gauge("Items that are leased."),
  querator_items_scheduled: gauge("Items that wait for their time."),
  querator_items_held: gauge("Items that their group holds back."),
  querator_items_kept: gauge("Ended items of which is kept what became of them."),
  querator_items_dead: gauge("Items in queues that are the dead queue of another."),
  querator_items_ready: gauge("Waiting items that are held in memory."),
  querator_ready_bytes: gauge("Bytes of waiting items that are held in memory."),
  querator_oldest_item_age_seconds: gauge(
    "Age of the item that is leased next: of all queues the highest, 0 if none waits.",
  ),
  querator_consumers_waiting: gauge("Lease requests that wait for items."),
  querator_requests_in_flight: gauge(
    "Requests of producers and consumers that are not answered, waiting leases among them.",
  ),
  ...ofItems,
  querator_items_dead_total: counter(DEAD, "reason"),
  querator_item_wait_seconds: histogram("How long items could have been leased before they were."),
  querator_item_run_seconds: histogram(
    "How long leases were held that consumers have ended by complete, retry or reject.",
  ),
  querator_turn_seconds: histogram("How long turns of queues took, commits included."),
  querator_commit_seconds: histogram("How long commits took, with their sync.", "storage"),
  querator_commit_changes: histogram(
    "Changes of a commit: items added or moved, leases, and ranges removed.",
    "storage",
  ),
  querator_commit_failures_total: counter("Commits that failed.", "storage"),
  querator_sync_seconds: histogram(
    "How long the disk of a SQLite storage took to have what was committed: commits that sync (fsync), or syncs now and then.",
    "storage",
  ),
  querator_storage_bytes: gauge(
    "Size of the files of a SQLite storage: data, and wal, its write-ahead log.",
    "storage",
    "file",
  ),
  querator_storage_disk_free_bytes: gauge(
    "Bytes that are free where a SQLite storage lies.",
    "storage",
  ),
  querator_postgres_round_trips_total: counter(
    "Batches of statements that were sent to PostgreSQL, each answered at once.",
    "storage",
  ),
  querator_postgres_epoch: gauge(
    "Grows by one whenever a server takes the data in PostgreSQL over.",
    "storage",
  ),
  querator_http_connections: gauge("Connections that are open."),
  querator_http_requests_total: counter(
    "Requests, by what they called, and the status of the reply.",
    "method",
    "code",
  ),
  querator_http_request_seconds: histogram(
    "How long requests took until they were answered; those that wait for items or for an end as long as they waited.",
    "method",
    "code",
  ),
  querator_errors_total: counter(
    "Requests that were refused or failed, by the code of the error.",
    "code",
  ),
  querator_event_loop_lag_seconds: histogram(
    "How late timers of a thread came: five times a second.",
    "thread",
  ),
  querator_event_loop_busy_seconds_total: counter(
    "Time in which a thread had something to do.",
    "thread",
  ),
  querator_heap_bytes: gauge("Bytes of the JavaScript heap of a thread in use.", "thread"),
  process_resident_memory_bytes: gauge("Resident memory."),
  process_cpu_seconds_total: counter("CPU time, of the process and in the kernel for it."),
  process_start_time_seconds: gauge("When the process has started, since 1970."),
};

/** Of queues by themselves: at /metrics/queues, and at /metrics of those that the configuration names. */
export const QUEUE_FAMILIES: Readonly<Record<string, Family>> = {
  querator_queue_items_waiting: gauge("Items that wait to be leased.", ...QUEUE),
  querator_queue_items_leased: gauge("Items that are leased.", ...QUEUE),
  querator_queue_items_scheduled: gauge("Items that wait for their time.", ...QUEUE),
  querator_queue_items_held: gauge("Items that their group holds back.", ...QUEUE),
  querator_queue_items_ready: gauge("Waiting items that are held in memory.", ...QUEUE),
  querator_queue_oldest_item_age_seconds: gauge(
    "Age of the item that is leased next; 0 if none waits.",
    ...QUEUE,
  ),
  querator_queue_consumers_waiting: gauge("Lease requests that wait for items.", ...QUEUE),
  querator_queue_consumers_needed: gauge(
    "Consumers, each with one item at a time, that keep up with what comes, and work off within a minute what waits.",
    ...QUEUE,
  ),
  querator_queue_partitions_failing: gauge("Partitions whose storage fails.", ...QUEUE),
  ...ofQueueItems,
  querator_queue_items_dead_total: counter(DEAD, ...QUEUE, "reason"),
  querator_queue_wait_seconds: {
    type: "summary",
    help: "How long items could have been leased before they were: quantiles of the last five minutes.",
    labels: QUEUE,
  },
  querator_queue_run_seconds: {
    type: "summary",
    help: "How long leases were held that consumers have ended: quantiles of the last five minutes.",
    labels: QUEUE,
  },
};

/** That some queues were left out. */
export const LEFT_OUT_FAMILIES: Readonly<Record<string, Family>> = {
  querator_queues_left_out: gauge("Queues that this answer has left out, as it may not be longer."),
};

/** All of them. */
export const FAMILIES: Readonly<Record<string, Family>> = {
  ...SERVER_FAMILIES,
  ...QUEUE_FAMILIES,
  ...LEFT_OUT_FAMILIES,
};
