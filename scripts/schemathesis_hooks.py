"""What `npm run schemathesis` does to generated requests before they are sent: most of those that
could be about any queue become about the queue `jobs`, or `dead`, its dead queue, and ids become those of
items, leases and redrives that there are, so that they reach the logic of the queue. What does not fit its
schema is left as it is. At the end it says how often each call was answered with which status, and fails
if one was never asked for, or never answered with 200."""

import atexit
import collections
import itertools
import json
import os
import re
import sys
import urllib.request

import schemathesis

ADDRESS = os.environ["QUERATOR_ADDRESS"]
DURATION = re.compile(r"\+?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)")
IDS_MAX = 3
ID = re.compile(r"[0-9A-Za-z]{27}")
NAME = re.compile(r"[^~\s\u0085]{1,512}")
# These are about whether there is a queue, and how it is set; those that others need stay as they are.
REGISTRY = {
    f"/{version}/queues.{verb}"
    for version in ("v1", "v2")
    for verb in ("create", "update", "delete", "list", "info", "apply")
}
OURS = ("jobs", "dead")
OF_DEAD = {
    f"/v2/{call}"
    for call in (
        "queue.dead_groups",
        "queue.redrive",
        "redrives.list",
        "redrives.info",
        "redrives.cancel",
    )
}
SETTINGS = {"lease_timeout": "1m", "expire_timeout": "24h", "requested_partitions": 1}

answers = collections.defaultdict(collections.Counter)


def post(call, version="v1", **request):
    data = json.dumps(request).encode()
    url = f"{ADDRESS}/{version}/{call}"
    sent = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(sent, timeout=10) as response:
        return json.load(response)


def ensure_queue(name, **settings):
    known = post("queues.list", pivot=name, limit=1).get("items", [])
    if not known or known[0]["queue_name"] != name:
        post("queues.create", "v2", queue_name=name, **SETTINGS, **settings)


def produce():
    """Puts an item into the queue; answers its id."""
    item = {"utf8": "made by the hooks"}
    return post("queue.produce", "v2", queue_name="jobs", items=[item])["results"][0]["id"]


def lease():
    """Leases an item, perhaps one that was there before."""
    produce()
    lease = {"queue_name": "jobs", "request_timeout": "10s", "client": "hooks"}
    return post("queue.lease", "v2", **lease, batch_size=1)["items"][0]


def leased_id():
    return lease()["lease_id"]


def ended(call):
    """Leases an item and ends it by this call; answers its id."""
    item = lease()
    post(call, "v2", queue_name="jobs", leases=[{"lease_id": item["lease_id"]}])
    return item["id"]


def any_item(choice):
    """The id of an item in one of the states that there are."""
    return (
        produce,
        lambda: lease()["id"],
        lambda: ended("queue.reject"),
        lambda: ended("queue.complete"),
    )[choice % 4]()


def redrive():
    """Begins a redrive, which has nothing to end for but time; answers its id."""
    # A queue has few that run at a time.
    for each in post("redrives.list", "v2", queue_name="dead").get("redrives", []):
        if each["state"] == "running":
            post("redrives.cancel", "v2", queue_name="dead", id=each["id"])
    for _ in range(2):
        ended("queue.reject")
    return post("queue.redrive", "v2", queue_name="dead", to="jobs", rate=1, limit=2)["id"]


# A time that an offset takes out of the years 1 to 9999 is refused, which no schema can say.
EDGE = re.compile(r"(0001|9999)(-\d\d-\d\d[Tt].*[+-]\d\d:\d\d)")


def away_from_edges(value):
    if isinstance(value, dict):
        return {name: away_from_edges(each) for name, each in value.items()}
    if isinstance(value, list):
        return [away_from_edges(each) for each in value]
    return EDGE.sub(r"2001\2", value) if isinstance(value, str) else value


def settle(body):
    """Makes settings that fit their schema fit each other."""
    for field in ("lease_timeout", "expire_timeout"):
        text = body.get(field)
        if isinstance(text, str) and len(text) <= 15 and DURATION.fullmatch(text):
            body[field] = SETTINGS[field]
    if isinstance(body.get("dead_queue"), str) and NAME.fullmatch(body["dead_queue"]):
        body["dead_queue"] = ""


def list_of(body, name):
    return body[name] if isinstance(body.get(name), list) else []


def replace_id(holder, key):
    if is_id(holder[key]):
        holder[key] = leased_id()


def settle_timeout(body, ask):
    """Nothing is to wait for minutes, or for as long as a server does that was not told."""
    timeout = body.get("request_timeout")
    if timeout in (None, "") or (isinstance(timeout, str) and DURATION.fullmatch(timeout)):
        body["request_timeout"] = ask


def settle_key(case):
    """One in four keys stays, and is mostly that of another request."""
    headers = case.headers or {}
    key = headers.get("Idempotency-Key")
    if isinstance(key, str) and re.fullmatch(r"[!-~]{1,200}", key) and most():
        headers["Idempotency-Key"] = f"{key}-{next(numbers)}"


def is_name(value):
    return isinstance(value, str) and NAME.fullmatch(value)


def most():
    """Three times in four."""
    return next(numbers) % 4 > 0


def settle_v2(case, body):
    """What only calls under /v2 name: items, redrives and other queues."""
    if case.path.startswith("/v2/item.") and is_id(body.get("id")) and most():
        # Only what is not leased can be updated.
        body["id"] = produce() if case.path.endswith(".update") else any_item(ord(body["id"][-1]))
    if case.path in ("/v2/redrives.info", "/v2/redrives.cancel"):
        if isinstance(body.get("id"), str) and body["id"] != "" and most():
            body["id"] = redrive()
    if case.path == "/v2/queue.redrive":
        for i in range(min(len(list_of(body, "ids")), IDS_MAX)):
            if is_id(body["ids"][i]):
                body["ids"][i] = ended("queue.reject")
        if is_name(body.get("to")) and most():
            body["to"] = "jobs"
    if case.path == "/v2/queue.stats":
        names = list_of(body, "queue_names")
        for i, name in enumerate(names):
            if is_name(name) and most():
                names[i] = OURS[i % 2]
    for each in list_of(body, "produce"):
        if isinstance(each, dict) and is_name(each.get("queue_name")) and most():
            each["queue_name"] = "dead"


def settle_leases(case, body):
    """What is no lease id is told under 200, beside what became of the others, unless it is all or nothing."""
    leases = list_of(body, "leases")
    are_ids = all(isinstance(each, dict) and is_id(each.get("lease_id")) for each in leases)
    if case.path.startswith("/v2/") and not are_ids and body.get("all_or_none") in (None, False):
        body["all_or_none"] = True


def is_id(value):
    return isinstance(value, str) and ID.fullmatch(value)


def spare(holder):
    """Leaves the queues as they are that others need."""
    if isinstance(holder, dict) and holder.get("queue_name") in OURS:
        holder["queue_name"] = "others"


numbers = itertools.count()
ensure_queue("dead")
ensure_queue("jobs", dead_queue="dead", keep_completed="1h")


@schemathesis.hook
def before_call(context, case, kwargs):
    if not isinstance(case.body, dict):
        return
    body = case.body = away_from_edges(case.body)
    settle_key(case)
    name = body.get("queue_name")
    if case.path in REGISTRY:
        if case.path.endswith(("/queues.delete", "/queues.update")) and name in OURS:
            body["queue_name"] = "others"
            ensure_queue("others")
        if case.path.endswith("/queues.create") and is_name(name) and most():
            body["queue_name"] = f"made-{next(numbers)}"
        if case.path == "/v2/queues.apply":
            for each in list_of(body, "queues"):
                spare(each)
                if isinstance(each, dict):
                    settle(each)
        settle(body)
        return
    ours = "dead" if case.path in OF_DEAD else "jobs"
    if is_name(name) and most():
        body["queue_name"] = name = ours
    is_lease = case.path.endswith("/queue.lease")
    if is_lease or case.path == "/v2/item.wait":
        if case.path.startswith("/v2/") or body.get("request_timeout") not in (None, ""):
            settle_timeout(body, "10ms")
    elif body.get("request_timeout") not in (None, ""):
        settle_timeout(body, "5s")
    if case.path.startswith("/v2/") and name in ("", None, ours):
        settle_v2(case, body)
    if name != "jobs":
        return
    if is_lease:
        produce()
    if isinstance(body.get("partition"), int) and body["partition"] >= 0:
        body["partition"] = 0
    for i in range(min(len(list_of(body, "ids")), IDS_MAX)):
        replace_id(body["ids"], i)
    if case.path == "/v1/queue.retry":
        for item in list_of(body, "items")[:IDS_MAX]:
            if isinstance(item, dict) and "id" in item:
                replace_id(item, "id")
    for lease in list_of(body, "leases")[:IDS_MAX]:
        if isinstance(lease, dict) and "lease_id" in lease:
            replace_id(lease, "lease_id")
    settle_leases(case, body)


@schemathesis.hook
def after_call(context, case, response):
    answers[case.path][response.status_code] += 1


@atexit.register
def tell():
    for path, statuses in sorted(answers.items()):
        counts = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
        sys.stderr.write(f"{path:30} {counts}\n")
    with open("openapi.json", encoding="utf-8") as document:
        never = set(json.load(document)["paths"]) - set(answers)
    requests = sum(sum(statuses.values()) for statuses in answers.values())
    sys.stderr.write(f"{requests} requests of {len(answers)} calls\n")
    refused = {path for path, statuses in answers.items() if statuses[200] == 0}
    for path in sorted(never | refused):
        what = "never asked for" if path in never else "never answered with 200"
        sys.stderr.write(f"Error: {path} was {what}\n")
    if never or refused:
        sys.stderr.flush()
        os._exit(1)
