// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package natsjs

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

var source = capacityv1alpha1.NATSJetStreamSource{Stream: "S", Consumer: "C"}

func ptr(n int64) *int64 { return &n }

func TestReading(t *testing.T) {
	now := time.Unix(1, 0)
	const told = `"delivered":{"consumer_seq":12,"stream_seq":10},"num_ack_pending":3,"num_pending":5,"num_redelivered":2`
	for _, c := range []struct {
		name, reply string
		want        queue.Reading
	}{
		{"unfiltered", `{` + told + `}`, queue.Reading{Depth: 5, InFlight: ptr(3), ArrivedTotal: ptr(15), CompletedTotal: ptr(7), RedeliveredTotal: ptr(2)}},
		{"filter that takes all", `{"config":{"filter_subject":">"},` + told + `}`, queue.Reading{Depth: 5, InFlight: ptr(3), ArrivedTotal: ptr(15), CompletedTotal: ptr(7), RedeliveredTotal: ptr(2)}},
		{"filtered", `{"config":{"filter_subject":"a.*"},` + told + `}`, queue.Reading{Depth: 5, InFlight: ptr(3), ArrivedTotal: ptr(17), CompletedTotal: ptr(9)}},
		{"several filters", `{"config":{"filter_subjects":["a","b"]},` + told + `}`, queue.Reading{Depth: 5, InFlight: ptr(3), ArrivedTotal: ptr(17), CompletedTotal: ptr(9)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			reply, failure := parseConsumer([]byte(c.reply), &source)
			if failure != nil {
				t.Fatal(failure)
			}
			c.want.Time = now
			if diff := cmp.Diff(c.want, reply.reading(15, now)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// seeds are replies and what goes wrong with them.
var consumerSeeds = map[string]string{
	`{"delivered":{"consumer_seq":12,"stream_seq":10},"num_ack_pending":3,"num_pending":5}`: "",
	`{"error":{"code":404,"err_code":10014,"description":"consumer not found"}}`:            capacityv1alpha1.ReasonQueueMissing,
	`{"error":{"code":404,"err_code":10059,"description":"stream not found"}}`:              capacityv1alpha1.ReasonQueueMissing,
	`{"error":{"code":503,"err_code":10076,"description":"x"}}`:                             capacityv1alpha1.ReasonQueueUnavailable,
	`{"error":{"code":503,"err_code":10008,"description":"hunter2"}}`:                       capacityv1alpha1.ReasonQueueUnavailable,
	`{}`:   capacityv1alpha1.ReasonQueueReplyInvalid,
	`null`: capacityv1alpha1.ReasonQueueReplyInvalid,
	`[1]`:  capacityv1alpha1.ReasonQueueReplyInvalid,
	``:     capacityv1alpha1.ReasonQueueReplyInvalid,
	`{"delivered":{"consumer_seq":1},"num_ack_pending":3,"num_pending":5}`:                                   capacityv1alpha1.ReasonQueueReplyInvalid,
	`{"delivered":{"consumer_seq":1,"stream_seq":-1},"num_ack_pending":3,"num_pending":5}`:                   capacityv1alpha1.ReasonQueueReplyInvalid,
	`{"delivered":{"consumer_seq":1,"stream_seq":18446744073709551615},"num_ack_pending":3,"num_pending":5}`: capacityv1alpha1.ReasonQueueReplyInvalid,
	`{"delivered":{"consumer_seq":1,"stream_seq":1},"num_ack_pending":3,"num_pending":9223372036854775807}`:  capacityv1alpha1.ReasonQueueReplyInvalid,
}

func reason(f *queue.Failure) string {
	if f == nil {
		return ""
	}
	return f.Reason
}

func TestParseConsumer(t *testing.T) {
	for reply, want := range consumerSeeds {
		_, failure := parseConsumer([]byte(reply), &source)
		if got := reason(failure); got != want {
			t.Errorf("%s: reason %q, want %q", reply, got, want)
		}
		if failure != nil && strings.Contains(failure.What+failure.Remedy, "hunter2") {
			t.Errorf("%s is repeated in %q", reply, failure.What)
		}
	}
}

// Whatever is replied, there is either a failure or a reading in range.
func FuzzConsumerReply(f *testing.F) {
	for reply := range consumerSeeds {
		f.Add([]byte(reply), int64(15))
	}
	f.Fuzz(func(t *testing.T, data []byte, last int64) {
		reply, failure := parseConsumer(data, &source)
		if failure != nil {
			return
		}
		r := reply.reading(last, time.Unix(1, 0))
		if r.Depth < 0 || *r.InFlight < 0 || r.ArrivedTotal == nil || r.CompletedTotal == nil {
			t.Errorf("%s makes %+v", data, r)
		}
	})
}

func FuzzStreamReply(f *testing.F) {
	for _, reply := range []string{`{"state":{"last_seq":5}}`, `{"state":{"last_seq":-5}}`, `{"state":null}`, `{"error":{"err_code":10059}}`, `{"error":5}`, `x`} {
		f.Add([]byte(reply))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if last, failure := parseStream(data, &source); failure == nil && last < 0 {
			t.Errorf("%s makes sequence %d", data, last)
		}
	})
}

var scanSeeds = map[string]bool{
	"INFO {}\r\nPING\r\n+OK\r\nPONG\r\n-ERR 'x'\r\n":   true,
	"MSG a.b 1 5\r\nhello\r\nMSG a 1 r 0\r\n\r\n":      true,
	"HMSG a 1 4 6\r\nabcdef\r\nhmsg a 1 r 0 0\r\n\r\n": true,
	"PING\n":                           false,
	"MSG a 1 5\r\nhelloXX":             false,
	"MSG a 1 5\r\nhello\n":             false,
	"MSG a 1 5\r9\r\n":                 false,
	"MSG a 1 9223372036854775807\r\n":  false,
	"MSG a 1 1048577\r\n":              false,
	"MSG a 1 -1\r\n":                   false,
	"MSG a 1\r\n":                      false,
	"HMSG a 1 9 6\r\n":                 false,
	"\r\n":                             false,
	"HTTP/1.1 400\r\n":                 false,
	strings.Repeat("x", lineMost+1):    false,
	"INFO " + strings.Repeat("x", 500): true,
}

func TestScan(t *testing.T) {
	for text, want := range scanSeeds {
		if got := new(scanner).scan([]byte(text)); got != want {
			t.Errorf("%.60q: %v, want %v", text, got, want)
		}
	}
}

// How the bytes are cut into reads changes nothing, and what is kept between them is bounded.
func FuzzScan(f *testing.F) {
	for text := range scanSeeds {
		f.Add([]byte(text), uint8(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, cut uint8) {
		whole := new(scanner).scan(append([]byte(nil), data...))
		pieces, ok := new(scanner), true
		for rest := data; ok && len(rest) > 0; {
			n := min(int(cut%16)+1, len(rest))
			ok = pieces.scan(rest[:n])
			rest = rest[n:]
		}
		if ok != whole {
			t.Errorf("%q: %v at once, %v in pieces", data, whole, ok)
		}
		if ok && (len(pieces.line) > lineMost+16 || pieces.skip > payloadMost+2 || pieces.skip < 0) {
			t.Errorf("%d bytes of a line and %d to skip", len(pieces.line), pieces.skip)
		}
	})
}
