"""A round trip with the client that openapi-python-client makes of the OpenAPI document: the address
is the argument, the client lies beside this file (scripts/generate-clients.ts)."""

import base64
import sys

from querator_api import Client
from querator_api.api.item import item_get_v2, item_wait_v2
from querator_api.api.queue import (
    queue_complete,
    queue_complete_v2,
    queue_extend_v2,
    queue_lease,
    queue_lease_v2,
    queue_produce,
    queue_produce_v2,
    queue_stats,
)
from querator_api.api.queues import queues_create, queues_create_v2
from querator_api.models import (
    ErrorReply,
    ItemGetRequestV2,
    ItemV2,
    ItemWaitRequestV2,
    Problem,
    QueueCompleteLeaseV2,
    QueueCompleteRequest,
    QueueCompleteRequestV2,
    QueueExtendLeaseV2,
    QueueExtendRequestV2,
    QueueInfoV2,
    QueueLeaseReplyV2,
    QueueLeaseRequestV2,
    QueueProduceItemV2,
    QueueProduceReplyV2,
    QueueProduceRequestV2,
    QueuesCreateRequestV2,
    ResultsReplyV2,
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

# --- under /v2 ---

jobs = f"{queue}-jobs"
made = queues_create_v2.sync(
    client=client, body=QueuesCreateRequestV2(queue_name=jobs, keep_completed="1h")
)
assert isinstance(made, QueueInfoV2), made
written = queue_produce_v2.sync(
    client=client,
    body=QueueProduceRequestV2(
        queue_name=jobs, items=[QueueProduceItemV2(json={"n": 1}, unique_key="one")]
    ),
)
assert isinstance(written, QueueProduceReplyV2) and written.results[0].status == "created", written
held = queue_lease_v2.sync(client=client, body=QueueLeaseRequestV2(queue_name=jobs))
assert isinstance(held, QueueLeaseReplyV2) and isinstance(held.items, list), held
job = held.items[0]
assert job.id == written.results[0].id and job.json == {"n": 1}, job
extended = queue_extend_v2.sync(
    client=client,
    body=QueueExtendRequestV2(
        queue_name=jobs, leases=[QueueExtendLeaseV2(lease_id=job.lease_id, for_="5m")]
    ),
)
assert isinstance(extended, ResultsReplyV2) and extended.results[0].ok, extended
done = queue_complete_v2.sync(
    client=client,
    body=QueueCompleteRequestV2(
        queue_name=jobs, leases=[QueueCompleteLeaseV2(lease_id=job.lease_id, result=["ok"])]
    ),
)
assert isinstance(done, ResultsReplyV2) and done.results[0].ok, done
ended = item_wait_v2.sync(client=client, body=ItemWaitRequestV2(queue_name=jobs, id=job.id))
assert isinstance(ended, ItemV2) and ended.state == "completed" and ended.result == ["ok"], ended
nobody = item_get_v2.sync(client=client, body=ItemGetRequestV2(queue_name=jobs, id="0" * 27))
assert isinstance(nobody, Problem) and nobody.code == "item_not_found", nobody
