// A round trip with the client that oapi-codegen makes of the OpenAPI document: `go run . ADDRESS`,
// with the client beside it (scripts/generate-clients.ts).

package main

import (
	"context"
	"log"
	"os"
	"strings"
)

func main() {
	ctx := context.Background()
	client, err := NewClientWithResponses(os.Args[1])
	check(err)
	queue := "oapi-codegen"

	created, err := client.QueuesCreateWithResponse(ctx, QueuesCreateRequest{
		QueueName: queue, LeaseTimeout: "1m", ExpireTimeout: "24h", RequestedPartitions: 1,
	})
	check(err)
	must(created.JSON200 != nil, created.Body)

	payload := []byte("hello")
	kind := "mail"
	produced, err := client.QueueProduceWithResponse(ctx, QueueProduceRequest{
		QueueName: queue, RequestTimeout: "10s",
		Items: []QueueProduceItem{{Bytes: &payload, Kind: &kind}},
	})
	check(err)
	must(produced.JSON200 != nil, produced.Body)

	leased, err := client.QueueLeaseWithResponse(ctx, QueueLeaseRequest{
		QueueName: queue, RequestTimeout: "10s", ClientId: "round trip", BatchSize: 1,
	})
	check(err)
	must(leased.JSON200 != nil, leased.Body)
	item := leased.JSON200.Items[0]
	must(string(*item.Bytes) == "hello" && *item.Kind == "mail", leased.Body)

	completed, err := client.QueueCompleteWithResponse(ctx, QueueCompleteRequest{
		QueueName: queue, RequestTimeout: "10s", Partition: leased.JSON200.Partition,
		Ids: []string{item.Id},
	})
	check(err)
	must(completed.JSON200 != nil, completed.Body)

	refused, err := client.QueueStatsWithResponse(ctx, QueueStatsRequest{QueueName: "nowhere"})
	check(err)
	must(refused.JSON400 != nil && strings.Contains(refused.JSON400.Message, "'nowhere'"), refused.Body)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func must(holds bool, body []byte) {
	if !holds {
		log.Fatalf("not what was expected: %s", body)
	}
}
