"""A round trip with the Python client that openapi-generator makes of the OpenAPI document, at the
address that it took from there; the client lies beside this file (scripts/generate-clients.ts)."""

import base64
import datetime
import sys

from querator_api import ApiClient, ApiException, Configuration
from querator_api.api import ItemApi, QueueApi, QueuesApi
from querator_api.models import (
    ItemGetRequestV2,
    ItemWaitRequestV2,
    QueueCompleteLeaseV2,
    QueueCompleteRequest,
    QueueCompleteRequestV2,
    QueueExtendLeaseV2,
    QueueExtendRequestV2,
    QueueLeaseRequestV2,
    QueueProduceItemV2,
    QueueProduceRequestV2,
    QueuesCreateRequestV2,
    QueueLeaseRequest,
    QueueProduceItem,
    QueueProduceRequest,
    QueueRetryItem,
    QueueRetryRequest,
    QueuesCreateRequest,
    QueueStatsRequest,
)

configuration = Configuration()
assert configuration.host == sys.argv[1], configuration.host
client = ApiClient(configuration)
queues, jobs = QueuesApi(client), QueueApi(client)
queue = "openapi-generator"

queues.queues_create(
    QueuesCreateRequest(
        queue_name=queue, lease_timeout="1m", expire_timeout="24h", requested_partitions=1
    )
)
soon = datetime.datetime.now(datetime.timezone.utc)
jobs.queue_produce(
    QueueProduceRequest(
        queue_name=queue,
        request_timeout="10s",
        items=[QueueProduceItem(utf8="hello", kind="mail", enqueue_at=soon)],
    )
)


def lease():
    return jobs.queue_lease(
        QueueLeaseRequest(
            queue_name=queue, request_timeout="10s", client_id="round trip", batch_size=1
        )
    )


again = lease()
retry_at = datetime.datetime.now(datetime.timezone.utc)
jobs.queue_retry(
    QueueRetryRequest(
        queue_name=queue,
        partition=again.partition or 0,
        items=[QueueRetryItem(id=again.items[0].id, retry_at=retry_at)],
    )
)
leased = lease()
item = leased.items[0]
assert item.attempts == 2 and item.kind == "mail", item
assert base64.b64decode(str(item.bytes)) == b"hello", item
jobs.queue_complete(
    QueueCompleteRequest(
        queue_name=queue,
        request_timeout="10s",
        partition=leased.partition or 0,
        ids=[item.id],
    )
)
try:
    jobs.queue_stats(QueueStatsRequest(queue_name="nowhere"))
    raise AssertionError("a queue that does not exist has no stats")
except ApiException as error:
    assert error.status == 400 and "'nowhere'" in str(error.data), error

# --- under /v2 ---

work = f"{queue}-jobs"
items = ItemApi(client)
queues.queues_create_v2(QueuesCreateRequestV2(queue_name=work, keep_completed="1h"))
written = jobs.queue_produce_v2(
    QueueProduceRequestV2(
        queue_name=work, items=[QueueProduceItemV2(utf8="hello", unique_key="one")]
    )
)
assert written.results[0].status == "created", written
held = jobs.queue_lease_v2(QueueLeaseRequestV2(queue_name=work)).items or []
job = held[0]
assert job.id == written.results[0].id and job.utf8 == "hello", job
extended = jobs.queue_extend_v2(
    QueueExtendRequestV2.from_dict(
        {"queue_name": work, "leases": [{"lease_id": job.lease_id, "for": "5m"}]}
    )
    or QueueExtendRequestV2(queue_name=work, leases=[QueueExtendLeaseV2(lease_id=job.lease_id)])
)
assert extended.results[0].ok, extended
done = jobs.queue_complete_v2(
    QueueCompleteRequestV2(
        queue_name=work, leases=[QueueCompleteLeaseV2(lease_id=job.lease_id, result=["ok"])]
    )
)
assert done.results[0].ok, done
ended = items.item_wait_v2(ItemWaitRequestV2(queue_name=work, id=job.id))
assert ended.state == "completed" and ended.result == ["ok"], ended
try:
    items.item_get_v2(ItemGetRequestV2(queue_name=work, id="0" * 27))
    raise AssertionError("an item that does not exist was found")
except ApiException as error:
    assert error.status == 404 and "item_not_found" in str(error.body), error
