# One scenario with Python's standard library: create, produce, lease, complete, retry, errors.
import base64
import json
import sys
import urllib.error
import urllib.request

base = sys.argv[1]


def call(path, **request):
    body = json.dumps(request).encode()
    headers = {"Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{base}/v1/{path}", body, headers)) as reply:
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
print("ok")
