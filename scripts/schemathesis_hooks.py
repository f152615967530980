"""What `npm run schemathesis` does to generated requests before they are sent: most of those that
could be about any queue become about the queue `jobs`, and ids become those of leased items, so that
they reach the logic of the queue. What does not fit its schema is left as it is. At the end it says
how often each call was answered with which status, and fails if one was never answered with 200."""

import atexit
import collections
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
# These are about whether there is a queue, and how it is set; the one that others need stays as it is.
REGISTRY = {
    f"/{version}/queues.{verb}"
    for version in ("v1", "v2")
    for verb in ("create", "update", "delete", "list")
}
SETTINGS = {"lease_timeout": "1m", "expire_timeout": "24h", "requested_partitions": 1}

answers = collections.defaultdict(collections.Counter)


def post(call, **request):
    data = json.dumps(request).encode()
    url = f"{ADDRESS}/v1/{call}"
    sent = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(sent, timeout=10) as response:
        return json.load(response)


def ensure_queue(name):
    known = post("queues.list", pivot=name, limit=1).get("items", [])
    if not known or known[0]["queue_name"] != name:
        post("queues.create", queue_name=name, **SETTINGS)


def produce():
    item = {"utf8": "made by the hooks"}
    post("queue.produce", queue_name="jobs", request_timeout="10s", items=[item])


def leased_id():
    produce()
    lease = {"queue_name": "jobs", "request_timeout": "10s", "client_id": "hooks"}
    return post("queue.lease", **lease, batch_size=1)["items"][0]["id"]


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
    if isinstance(holder[key], str) and ID.fullmatch(holder[key]):
        holder[key] = leased_id()


ensure_queue("jobs")


@schemathesis.hook
def before_call(context, case, kwargs):
    if not isinstance(case.body, dict):
        return
    body = case.body = away_from_edges(case.body)
    name = body.get("queue_name")
    if case.path in REGISTRY:
        if case.path.endswith(("/queues.delete", "/queues.update")) and name == "jobs":
            body["queue_name"] = "others"
            ensure_queue("others")
        settle(body)
        return
    # One in four stays, by its name.
    if isinstance(name, str) and NAME.fullmatch(name) and sum(name.encode()) % 4 > 0:
        body["queue_name"] = name = "jobs"
    # Nothing is to wait for minutes.
    is_lease = case.path.endswith("/queue.lease")
    if case.path.startswith("/v2/") and is_lease:
        body.setdefault("request_timeout", "10ms")
    timeout = body.get("request_timeout")
    if isinstance(timeout, str) and DURATION.fullmatch(timeout):
        body["request_timeout"] = "10ms" if is_lease else "5s"
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


@schemathesis.hook
def after_call(context, case, response):
    answers[case.path][response.status_code] += 1


@atexit.register
def tell():
    for path, statuses in answers.items():
        counts = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
        sys.stderr.write(f"{path:30} {counts}\n")
    if any(statuses[200] == 0 for statuses in answers.values()):
        sys.stderr.write("Error: a call was never answered with 200\n")
        sys.stderr.flush()
        os._exit(1)
