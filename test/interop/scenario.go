// One scenario with Go's net/http, as the public Go client speaks: Protobuf out, encoded by hand here, and
// JSON in, decoded strictly. Create, produce, lease, complete, retry, errors.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// A message under construction; each method appends one field.
type message []byte

func (m message) varint(value uint64) message {
	for ; value >= 0x80; value >>= 7 {
		m = append(m, byte(value)|0x80)
	}
	return append(m, byte(value))
}

func (m message) number(field int, value uint64) message {
	return m.varint(uint64(field) << 3).varint(value)
}

func (m message) bytes(field int, value []byte) message {
	m = m[:len(m):len(m)] // what is built on it again must not share its end
	return append(m.varint(uint64(field)<<3|2).varint(uint64(len(value))), value...)
}

func (m message) text(field int, value string) message { return m.bytes(field, []byte(value)) }

type reply struct {
	Code     int    `json:"code"`
	CodeText string `json:"code_text"`
	Message  string `json:"message"`
}

type item struct {
	Encoding      string `json:"encoding"`
	Kind          string `json:"kind"`
	Reference     string `json:"reference"`
	ID            string `json:"id"`
	Attempts      int    `json:"attempts"`
	LeaseDeadline string `json:"lease_deadline"`
	Bytes         []byte `json:"bytes"`
}

type lease struct {
	QueueName string `json:"queue_name"`
	Partition int    `json:"partition"`
	Items     []item `json:"items"`
}

func check(ok bool, what string, seen any) {
	if !ok {
		fmt.Printf("%s: %+v\n", what, seen)
		os.Exit(1)
	}
}

func version(path string) string {
	if strings.HasPrefix(path, "v2/") {
		return "/" + path
	}
	return "/v1/" + path
}

// Sends a message without an Accept header, and decodes the reply into a struct that must fit it.
func call(path string, request message, into any) int {
	response, err := http.Post(os.Args[1]+version(path), "application/protobuf", bytes.NewReader(request))
	check(err == nil, "http", err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	check(err == nil, "body", err)
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	err = decoder.Decode(into)
	check(err == nil, path+" answered "+string(body), err)
	return response.StatusCode
}

func takeOne() item {
	var leased lease
	request := message{}.text(1, "interop").number(2, 1).text(3, "go").text(4, "5s")
	status := call("queue.lease", request, &leased)
	check(status == 200 && len(leased.Items) == 1, "lease", leased)
	return leased.Items[0]
}

func main() {
	var done reply
	settings := message{}.text(1, "interop").text(6, "1m").text(7, "24h").number(9, 1)
	check(call("queues.create", settings, &done) == 200 && done.Code == 200, "create", done)

	payload := []byte{0, 255, 'x'}
	one := message{}.text(1, "raw").text(2, "a").text(3, "r").bytes(5, payload)
	produce := message{}.text(1, "interop").text(2, "5s").bytes(3, one)
	check(call("queue.produce", produce, &done) == 200, "produce", done)

	first := takeOne()
	check(bytes.Equal(first.Bytes, payload), "payload", first)
	check(first.Encoding == "raw" && first.Kind == "a" && first.Reference == "r", "texts", first)
	check(first.Attempts == 1 && first.LeaseDeadline != "", "attempts", first)
	retry := message{}.text(1, "interop").bytes(3, message{}.text(1, first.ID))
	check(call("queue.retry", retry, &done) == 200, "retry", done)

	second := takeOne()
	check(second.Attempts == 2, "second lease", second)
	complete := message{}.text(1, "interop").text(3, "5s").text(4, second.ID)
	check(call("queue.complete", complete, &done) == 200, "complete", done)

	var failed reply
	status := call("queue.complete", complete, &failed)
	expected := "invalid storage id; '" + second.ID + "' does not exist"
	check(status == 400 && failed.Code == 400 && failed.Message == expected, "error", failed)
	status = call("queue.stats", message{}.text(1, "nowhere"), &failed)
	expected = "queue does not exist; no such queue named 'nowhere'"
	check(status == 400 && failed.Message == expected, "error", failed)
	underV2(payload)
	fmt.Println("ok")
}

type result struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	OK     bool   `json:"ok"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

type results struct {
	Results []result `json:"results"`
	Failed  int      `json:"failed"`
}

type leased struct {
	ID            string            `json:"id"`
	LeaseID       string            `json:"lease_id"`
	Fence         int64             `json:"fence"`
	LeaseDeadline string            `json:"lease_deadline"`
	Attempts      int               `json:"attempts"`
	Headers       map[string]string `json:"headers"`
	JSON          json.RawMessage   `json:"json"`
	Bytes         []byte            `json:"bytes"`
	CreatedAt     string            `json:"created_at"`
}

// The same under /v2: a lease id is all that ends a lease, and JSON comes back as it was written.
func underV2(payload []byte) {
	var queue map[string]any
	name := message{}.text(1, "interop2")
	check(call("v2/queues.create", name, &queue) == 200, "create", queue)

	written := `{"a": 1.0}`
	document := message{}.text(1, written).bytes(4, message{}.text(1, "h").text(2, "v"))
	raw := message{}.bytes(3, payload)
	var produced results
	status := call("v2/queue.produce", name.bytes(3, document).bytes(3, raw), &produced)
	check(status == 200 && len(produced.Results) == 2, "produce", produced)

	var got struct {
		Items []leased `json:"items"`
	}
	status = call("v2/queue.lease", name.number(2, 2).text(3, "go"), &got)
	check(status == 200 && len(got.Items) == 2, "lease", got)
	first, second := got.Items[0], got.Items[1]
	check(string(first.JSON) == written && first.Headers["h"] == "v", "json", first)
	check(bytes.Equal(second.Bytes, payload) && second.Fence > 0, "bytes", second)
	check(first.ID == produced.Results[0].ID, "id", first)

	var ended results
	both := message{}.text(1, "interop2")
	for _, each := range got.Items {
		both = both.bytes(4, message{}.text(1, each.LeaseID))
	}
	check(call("v2/queue.complete", both, &ended) == 200 && ended.Failed == 0, "complete", ended)
	var again results
	check(call("v2/queue.complete", both, &again) == 200 && again.Failed == 2, "again", again)
	check(again.Results[0].Code == "lease_ended", "again", again)

	var problem map[string]any
	status = call("v2/queue.stats", message{}.text(1, "nowhere"), &problem)
	check(status == 404 && problem["code"] == "queue_not_found", "error", problem)
}
