// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package prometheusq

import (
	"context"
	"net"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	success = `{"status":"success","data":{"resultType":`
	vector  = success + `"vector","result":[`
)

var replies = []struct{ name, body, reason, says string }{
	{"vector", vector + `{"metric":{"a":"b"},"value":[1790000000.5,"7"]}]}}`, "", ""},
	{"scalar", success + `"scalar","result":[1790000000.5,"7"]}}`, "", ""},
	{"empty", vector + `]}}`, capacityv1alpha1.ReasonQueueMissing, "an empty result"},
	{"two", vector + `{"metric":{},"value":[1,"7"]},{"metric":{"a":"b"},"value":[1,"7"]}]}}`, capacityv1alpha1.ReasonQueueReplyInvalid, "more than one element"},
	{"NaN", vector + `{"metric":{},"value":[1,"NaN"]}]}}`, capacityv1alpha1.ReasonQueueReplyInvalid, "NaN"},
	{"infinite", vector + `{"metric":{},"value":[1,"+Inf"]}]}}`, capacityv1alpha1.ReasonQueueReplyInvalid, "infinite"},
	{"negative", vector + `{"metric":{},"value":[1,"-7"]}]}}`, capacityv1alpha1.ReasonQueueReplyInvalid, "negative"},
	{"absurd", vector + `{"metric":{},"value":[1,"1e300"]}]}}`, capacityv1alpha1.ReasonQueueReplyInvalid, "more than a queue holds"},
	{"no value", vector + `{"metric":{}}]}}`, capacityv1alpha1.ReasonQueueReplyInvalid, "no number"},
	{"null", vector + `null]}}`, capacityv1alpha1.ReasonQueueReplyInvalid, "no number"},
	{"histogram", vector + `{"metric":{},"histogram":[1,{"count":"1","sum":"1","buckets":[]}]}]}}`, capacityv1alpha1.ReasonQueueReplyInvalid, "no number"},
	{"matrix", success + `"matrix","result":[]}}`, capacityv1alpha1.ReasonQueueReplyInvalid, "no instant vector"},
	{"string", success + `"string","result":[1,"7"]}}`, capacityv1alpha1.ReasonQueueReplyInvalid, "no instant vector"},
	{"another type", success + `"garbage","result":[]}}`, capacityv1alpha1.ReasonQueueReplyInvalid, "makes no sense"},
	{"another form", success + `"vector","result":7}}`, capacityv1alpha1.ReasonQueueReplyInvalid, "makes no sense"},
	{"an error", `{"status":"error","error":"garbage"}`, capacityv1alpha1.ReasonQueueReplyInvalid, "makes no sense"},
	{"no JSON", "<html>garbage", capacityv1alpha1.ReasonQueueReplyInvalid, "makes no sense"},
}

func TestParse(t *testing.T) {
	for _, c := range replies {
		value, at, failure := parse([]byte(c.body), "depthQuery", queue.CountMost)
		switch {
		case c.reason == "" && (failure != nil || value != 7 || at.UnixMilli() != 1790000000500):
			t.Errorf("%s: %v at %v, %v", c.name, value, at, failure)
		case c.reason == "":
		case failure == nil || failure.Reason != c.reason || !strings.Contains(failure.What, c.says) || failure.Remedy == "" || strings.Contains(failure.What, "garbage"):
			t.Errorf("%s: %+v, want %s: %s", c.name, failure, c.reason, c.says)
		}
	}
}

// A connection that cannot be made in time is the server's failure, and no slow query's.
func TestSilentServerIsNoSlowQuery(t *testing.T) {
	r := &reader{http: queue.NewHTTPClient(queue.ConnectOptions{
		Endpoint: queue.Endpoint{Kind: queue.KindPrometheus, Scheme: "http", Host: "prometheus.example", Port: "9090"},
		Dial:     func(context.Context) (net.Conn, error) { return nil, os.ErrDeadlineExceeded },
	})}
	if _, failure, everywhere := r.ask(t.Context(), "up"); failure == nil || failure.Reason != capacityv1alpha1.ReasonQueueTimeout || !everywhere {
		t.Errorf("%v, everywhere %v; want the server to be silent", failure, everywhere)
	}
}

// Whatever a server replies, it ends in a number in range or a failure.
func FuzzParse(f *testing.F) {
	for _, c := range replies {
		f.Add([]byte(c.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		value, _, failure := parse(body, "depthQuery", queue.CountMost)
		if failure == nil && !(value >= 0 && value <= queue.CountMost) {
			t.Errorf("%q makes %v", body, value)
		}
	})
}
