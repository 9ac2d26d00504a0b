// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package rabbitmq

import (
	"encoding/json"
	"strconv"

	"github.com/queuescaler/queuescaler/internal/queue"
)

// columns are all that is asked of a queue: no argument, consumer or message of it.
const columns = "name,type,messages_ready,messages_unacknowledged," +
	"message_stats.publish,message_stats.ack,message_stats.deliver_no_ack,message_stats.get_no_ack,message_stats.redeliver,message_stats.deliver_get"

// page is a part of the list of a virtual host's queues.
type page struct {
	Pages int    `json:"page_count"`
	Items []item `json:"items"`
}

// item is a queue in the list.
type item struct {
	Name string `json:"name"`
	Type string `json:"type"`
	statistics
}

// statistics are what is told of a queue.
type statistics struct {
	Ready    count    `json:"messages_ready"`
	Unacked  count    `json:"messages_unacknowledged"`
	Messages counters `json:"message_stats"`
}

// counters of a queue. The server leaves out those that nothing was counted in, and all of them where it keeps none.
type counters struct {
	Publish      count `json:"publish"`
	Ack          count `json:"ack"`
	DeliverNoAck count `json:"deliver_no_ack"`
	GetNoAck     count `json:"get_no_ack"`
	Redeliver    count `json:"redeliver"`
	// DeliverGet are all deliveries, with and without acknowledgement.
	DeliverGet count `json:"deliver_get"`
}

// count is a number of messages, if it was told: what is no such number is not told.
type count struct {
	n    int64
	told bool
}

// UnmarshalJSON is json.Unmarshaler's.
func (c *count) UnmarshalJSON(data []byte) error {
	n, err := strconv.ParseInt(string(data), 10, 64)
	if *c = (count{}); err == nil && n >= 0 && n <= queue.CountMost {
		*c = count{n, true}
	}
	return nil
}

// value is nil where the count was not told.
func (c count) value() *int64 {
	if !c.told {
		return nil
	}
	return &c.n
}

// completed adds up all ways in which a message leaves the queue to a consumer for good.
func (c counters) completed() *int64 {
	var sum count
	for _, way := range []count{c.Ack, c.DeliverNoAck, c.GetNoAck} {
		sum.n += way.n
		sum.told = sum.told || way.told
	}
	return sum.value()
}

// parsePage reads the reply to a request for queues.
func parsePage(body []byte) (p page, ok bool) {
	var told struct {
		Items *[]item `json:"items"`
		Pages int     `json:"page_count"`
	}
	if json.Unmarshal(body, &told) != nil || told.Items == nil {
		return page{}, false
	}
	return page{told.Pages, *told.Items}, true
}

// parseWhoami is true for what the management API says of a user.
func parseWhoami(body []byte) bool {
	var told struct {
		Name *string `json:"name"`
	}
	return json.Unmarshal(body, &told) == nil && told.Name != nil
}
