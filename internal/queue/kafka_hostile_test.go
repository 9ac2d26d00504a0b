// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/test/servers"
)

// greetKafka answers which requests there are, at their oldest versions, and every other request with reply, again and again if endless.
// A reply of nil is none.
func greetKafka(reply func(key int16) []byte, endless bool) func(net.Conn) {
	return func(conn net.Conn) {
		for {
			var size [4]byte
			if _, err := io.ReadFull(conn, size[:]); err != nil {
				return
			}
			request := make([]byte, binary.BigEndian.Uint32(size[:]))
			if _, err := io.ReadFull(conn, request); err != nil {
				return
			}
			key := int16(binary.BigEndian.Uint16(request))
			var body []byte
			if key == kmsg.ApiVersions.Int16() {
				body = kafkaVersions(int16(binary.BigEndian.Uint16(request[2:])))
			} else if body = reply(key); body == nil {
				continue
			}
			frame := kafkaFrame(request[4:8], body)
			for _, err := conn.Write(frame); err == nil && endless && key != kmsg.ApiVersions.Int16(); {
				_, err = conn.Write(frame)
			}
		}
	}
}

func kafkaFrame(correlation, body []byte) []byte {
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))
	return append(append(frame, correlation...), body...)
}

func kafkaVersions(version int16) []byte {
	reply := kmsg.NewPtrApiVersionsResponse()
	reply.Version = version
	for _, k := range []kmsg.Key{kmsg.ApiVersions, kmsg.Metadata, kmsg.ListOffsets, kmsg.OffsetFetch, kmsg.FindCoordinator, kmsg.DescribeGroups} {
		reply.ApiKeys = append(reply.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: k.Int16(), MaxVersion: 1})
	}
	return reply.AppendTo(nil)
}

// kafkaMetadata tells of one topic, jobs, led by the broker at address.
func kafkaMetadata(address string) []byte {
	host, port, _ := net.SplitHostPort(address)
	number := must(net.LookupPort("tcp", port))
	reply := kmsg.NewPtrMetadataResponse()
	reply.Version = 1
	reply.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 1, Host: host, Port: int32(number)}}
	topic := kmsg.NewMetadataResponseTopic()
	topic.Topic = kmsg.StringPtr("jobs")
	topic.Partitions = []kmsg.MetadataResponseTopicPartition{{Partition: 0, Leader: 1}}
	reply.Topics = []kmsg.MetadataResponseTopic{topic}
	return reply.AppendTo(nil)
}

func TestHostileKafka(t *testing.T) {
	good := servers.StartRedis(t, servers.RedisOptions{})
	noise := bytes.Repeat([]byte("\x00\xff\x17garbage\n"), 100)
	always := func(body []byte) func(int16) []byte { return func(int16) []byte { return body } }
	afterMetadata := func(address *string, body []byte) func(int16) []byte {
		return func(key int16) []byte {
			if key == kmsg.Metadata.Int16() {
				return kafkaMetadata(*address)
			}
			return body
		}
	}
	const invalid, timeout = capacityv1alpha1.ReasonQueueReplyInvalid, capacityv1alpha1.ReasonQueueTimeout
	var own string
	imds := "169.254.169.254:80"
	for _, c := range []struct {
		name    string
		serve   func(net.Conn)
		reasons string
	}{
		{"silent", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }, timeout},
		{"garbage", func(conn net.Conn) {
			for {
				if _, err := conn.Write(noise); err != nil {
					return
				}
			}
		}, invalid},
		{"closes", func(net.Conn) {}, capacityv1alpha1.ReasonQueueUnavailable},
		{"HTTP", func(conn net.Conn) { _, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n") }, invalid},
		{"huge frame", func(conn net.Conn) {
			_, _ = conn.Write([]byte("\x7f\xff\xff\xff\x00"))
			_, _ = io.Copy(io.Discard, conn)
		}, invalid},
		{"large frame", func(conn net.Conn) {
			_, _ = conn.Write([]byte("\x40\x00\x00\x00\x00"))
			_, _ = io.Copy(io.Discard, conn)
		}, invalid},
		{"garbage description", greetKafka(always(noise), false), invalid},
		{"endless descriptions", greetKafka(always(noise), true), invalid},
		{"silent after greeting", greetKafka(always(nil), false), timeout},
		{"huge array", greetKafka(always([]byte("\x7f\xff\xff\xff")), false), invalid},
		{"garbage offsets", greetKafka(afterMetadata(&own, noise), false), invalid},
		{"endless offsets", greetKafka(afterMetadata(&own, noise), true), invalid},
		{"silent about offsets", greetKafka(afterMetadata(&own, nil), false), timeout},
		// The cluster tells of a broker at a link-local address, which is not connected to.
		{"broker at a link-local address", greetKafka(afterMetadata(&imds, nil), false), capacityv1alpha1.ReasonAddressRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			own = hostile(t, c.serve)
			newHarness(t).withstands(good, groupQueue("kafka://"+own, "jobs", "workers"), c.reasons, "HTTP")
		})
	}
}
