"""A round trip with the client that openapi-python-client makes of the OpenAPI document: the address
is the argument, the client lies beside this file (scripts/generate-clients.ts)."""

import base64
import sys

from querator_api import Client
from querator_api.api.queue import queue_complete, queue_lease, queue_produce, queue_stats
from querator_api.api.queues import queues_create
from querator_api.models import (
    ErrorReply,
    QueueCompleteRequest,
    QueueLeaseReply,
    QueueLeaseRequest,
    QueueProduceItem,
    QueueProduceRequest,
    QueuesCreateRequest,
    QueueStatsRequest,
    Reply,
)

client = Client(base_url=sys.argv[1])
queue = "openapi-python-client"

created = queues_create.sync(
    client=client,
    body=QueuesCreateRequest(
        queue_name=queue, lease_timeout="1m", expire_timeout="24h", requested_partitions=1
    ),
)
assert isinstance(created, Reply) and created.code == 200, created

produced = queue_produce.sync(
    client=client,
    body=QueueProduceRequest(
        queue_name=queue,
        request_timeout="10s",
        items=[QueueProduceItem(utf8="hello", kind="mail")],
    ),
)
assert isinstance(produced, Reply), produced

leased = queue_lease.sync(
    client=client,
    body=QueueLeaseRequest(
        queue_name=queue, request_timeout="10s", client_id="round trip", batch_size=1
    ),
)
assert isinstance(leased, QueueLeaseReply), leased
item = leased.items[0]
assert isinstance(item.bytes_, str) and base64.b64decode(item.bytes_) == b"hello", item
assert item.kind == "mail" and item.lease_deadline.tzinfo is not None, item

completed = queue_complete.sync(
    client=client,
    body=QueueCompleteRequest(
        queue_name=queue, request_timeout="10s", partition=leased.partition, ids=[item.id]
    ),
)
assert isinstance(completed, Reply), completed

refused = queue_stats.sync(client=client, body=QueueStatsRequest(queue_name="nowhere"))
assert isinstance(refused, ErrorReply) and "'nowhere'" in refused.message, refused
