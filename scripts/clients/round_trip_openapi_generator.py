"""A round trip with the Python client that openapi-generator makes of the OpenAPI document, at the
address that it took from there; the client lies beside this file (scripts/generate-clients.ts)."""

import base64
import datetime
import sys

from querator_api import ApiClient, ApiException, Configuration
from querator_api.api import QueueApi, QueuesApi
from querator_api.models import (
    QueueCompleteRequest,
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
