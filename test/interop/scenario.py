# One scenario with Python's standard library: create, produce, lease, complete, retry, errors.
import base64
import json
import sys
import urllib.error
import urllib.request

base = sys.argv[1]


def call(path, version="v1", **request):
    body = json.dumps(request).encode()
    headers = {"Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{base}/{version}/{path}", body, headers)) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def lease(size):
    return call("queue.lease", queue_name="interop", client_id="py", batch_size=size, request_timeout="5s")


settings = dict(queue_name="interop", lease_timeout="1m", expire_timeout="24h", requested_partitions=1)
assert call("queues.create", **settings) == (200, {"code": 200})
items = [{"utf8": "text", "kind": "a"}, {"bytes": base64.b64encode(b"\x00\xff").decode()}]
assert call("queue.produce", queue_name="interop", request_timeout="5s", items=items)[0] == 200
status, reply = lease(10)
assert status == 200 and [base64.b64decode(i["bytes"]) for i in reply["items"]] == [b"text", b"\x00\xff"]
first, second = reply["items"]
assert first["kind"] == "a" and first["attempts"] == 1
assert call("queue.complete", queue_name="interop", request_timeout="5s", ids=[first["id"]])[0] == 200
assert call("queue.retry", queue_name="interop", items=[{"id": second["id"]}])[0] == 200
again = lease(1)[1]["items"][0]
assert again["attempts"] == 2
assert call("queue.complete", queue_name="interop", request_timeout="5s", ids=[again["id"]])[0] == 200
status, reply = call("queue.complete", queue_name="interop", request_timeout="5s", ids=[again["id"]])
assert (status, reply["code"], reply["code_text"]) == (400, 400, "Bad Request")
assert reply["message"] == f"invalid storage id; '{again['id']}' does not exist"
assert call("queue.stats", queue_name="nowhere")[1]["message"] == "queue does not exist; no such queue named 'nowhere'"


# The same under /v2.
def call2(path, **request):
    return call(path, "v2", queue_name="interop2", **request)


assert call2("queues.create")[1]["lease_timeout"] == "1m0s"
items = [{"json": {"ü": [1, None]}, "kind": "a"}, {"utf8": "text"}, {"bytes": "AP8=", "headers": {"h": "v"}}]
status, reply = call2("queue.produce", items=items)
assert status == 200 and [result["status"] for result in reply["results"]] == ["created"] * 3
ids = [result["id"] for result in reply["results"]]
status, reply = call2("queue.lease", batch_size=10, client="py")
leased = reply["items"]
assert status == 200 and [item["id"] for item in leased] == ids
for item, given in zip(leased, items):
    assert {name: item[name] for name in given} == given and item["attempts"] == 1
leases = [{"lease_id": item["lease_id"]} for item in leased]
assert call2("queue.retry", leases=leases[:1]) == (200, {"results": [{"ok": True}]})
status, reply = call2("queue.extend", leases=[{**leases[1], "for": "5m"}])
assert reply["results"][0]["lease_deadline"] > leased[1]["lease_deadline"]
status, reply = call2("queue.complete", leases=leases)
assert [result.get("ok") or result["code"] for result in reply["results"]] == ["lease_ended", True, True]
again = call2("queue.lease")[1]["items"][0]
assert again["fence"] > leased[0]["fence"] and again["attempts"] == 2
status, reply = call2("queue.complete", leases=[{"lease_id": "x"}], all_or_none=True)
assert (status, reply["code"], reply["results"][0]["code"]) == (409, "some_refused", "invalid_field")
status, reply = call2("queue.produce", items=[{"kidn": "a"}])
assert (status, reply["code"], reply["field"]) == (400, "unknown_field", "items[0].kidn")
print("ok")
