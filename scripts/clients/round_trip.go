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

	created, err := client.QueuesCreateWithResponse(ctx, nil, QueuesCreateRequest{
		QueueName: queue, LeaseTimeout: "1m", ExpireTimeout: "24h", RequestedPartitions: 1,
	})
	check(err)
	must(created.JSON200 != nil, created.Body)

	payload := []byte("hello")
	kind := "mail"
	produced, err := client.QueueProduceWithResponse(ctx, nil, QueueProduceRequest{
		QueueName: queue, RequestTimeout: "10s",
		Items: []QueueProduceItem{{Bytes: &payload, Kind: &kind}},
	})
	check(err)
	must(produced.JSON200 != nil, produced.Body)

	leased, err := client.QueueLeaseWithResponse(ctx, nil, QueueLeaseRequest{
		QueueName: queue, RequestTimeout: "10s", ClientId: "round trip", BatchSize: 1,
	})
	check(err)
	must(leased.JSON200 != nil, leased.Body)
	item := leased.JSON200.Items[0]
	must(string(*item.Bytes) == "hello" && *item.Kind == "mail", leased.Body)

	completed, err := client.QueueCompleteWithResponse(ctx, nil, QueueCompleteRequest{
		QueueName: queue, RequestTimeout: "10s", Partition: leased.JSON200.Partition,
		Ids: []string{item.Id},
	})
	check(err)
	must(completed.JSON200 != nil, completed.Body)

	refused, err := client.QueueStatsWithResponse(ctx, nil, QueueStatsRequest{QueueName: "nowhere"})
	check(err)
	must(refused.JSON400 != nil && strings.Contains(refused.JSON400.Message, "'nowhere'"), refused.Body)
	goRoundUnderV2(ctx, client, queue+"-jobs")
}

func goRoundUnderV2(ctx context.Context, client *ClientWithResponses, queue string) {
	keep, key, text := "1h", "one", "hello"
	created, err := client.QueuesCreateV2WithResponse(ctx, nil, QueuesCreateRequestV2{
		QueueName: queue, KeepCompleted: &keep,
	})
	check(err)
	must(created.JSON200 != nil, created.Body)

	produced, err := client.QueueProduceV2WithResponse(ctx, nil, QueueProduceRequestV2{
		QueueName: queue, Items: []QueueProduceItemV2{{Utf8: &text, UniqueKey: &key}},
	})
	check(err)
	must(produced.JSON200 != nil && *produced.JSON200.Results[0].Status == "created", produced.Body)

	leased, err := client.QueueLeaseV2WithResponse(ctx, nil, QueueLeaseRequestV2{QueueName: queue})
	check(err)
	must(leased.JSON200 != nil && len(leased.JSON200.Items) == 1, leased.Body)
	item := leased.JSON200.Items[0]
	must(*item.Utf8 == text && item.Id == *produced.JSON200.Results[0].Id, leased.Body)

	longer := "5m"
	extended, err := client.QueueExtendV2WithResponse(ctx, nil, QueueExtendRequestV2{
		QueueName: queue, Leases: []QueueExtendLeaseV2{{LeaseId: item.LeaseId, For: &longer}},
	})
	check(err)
	must(extended.JSON200 != nil && *extended.JSON200.Results[0].Ok, extended.Body)

	completed, err := client.QueueCompleteV2WithResponse(ctx, nil, QueueCompleteRequestV2{
		QueueName: queue, Leases: []QueueCompleteLeaseV2{{LeaseId: item.LeaseId}},
	})
	check(err)
	must(completed.JSON200 != nil && *completed.JSON200.Results[0].Ok, completed.Body)

	ended, err := client.ItemWaitV2WithResponse(ctx, nil, ItemWaitRequestV2{QueueName: &queue, Id: item.Id})
	check(err)
	must(ended.JSON200 != nil && ended.JSON200.State == "completed", ended.Body)

	nobody, err := client.ItemGetV2WithResponse(ctx, nil, ItemGetRequestV2{
		QueueName: &queue, Id: strings.Repeat("0", 27),
	})
	check(err)
	must(nobody.StatusCode() == 404, nobody.Body)
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
