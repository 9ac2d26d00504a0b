// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package rabbitmq

import (
	"encoding/binary"
	"strings"
	"testing"
)

// frameOf is a frame with this payload.
func frameOf(kind byte, channel uint16, payload string) string {
	head := binary.BigEndian.AppendUint16([]byte{kind}, channel)
	return string(binary.BigEndian.AppendUint32(head, uint32(len(payload)))) + payload + "\xce"
}

func TestFrames(t *testing.T) {
	const declared, delivered = "\x00\x32\x00\x0b\x01q\x00\x00\x00\x07\x00\x00\x00\x00", "\x00\x3c\x00\x3c"
	heartbeat := frameOf(8, 0, "")
	for _, c := range []struct {
		name, bytes string
		ok          bool
		methods     int
	}{
		{"nothing", "", true, 0},
		{"a declared queue", frameOf(1, 3, declared), true, 1},
		{"heartbeats between", heartbeat + frameOf(1, 3, declared) + heartbeat + frameOf(1, 4, declared), true, 2},
		{"half a frame", frameOf(1, 3, declared)[:9], true, 0},
		{"the largest", frameOf(1, 0, "\x00\x0a\x00\x0a"+strings.Repeat("x", 4084)), true, 1},
		{"too large", frameOf(1, 0, "\x00\x0a\x00\x0a"+strings.Repeat("x", 4085)), false, 0},
		{"declares to be huge", "\x01\x00\x00\xff\xff\xff\xff", false, 0},
		{"too small", frameOf(1, 0, "\x00\x0a\x00"), false, 0},
		{"a heartbeat with something in it", frameOf(8, 0, "x"), false, 0},
		{"a message", frameOf(1, 3, delivered), false, 1},
		{"a header of a message", frameOf(2, 3, "\x00\x3c\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00"), false, 0},
		{"a body", frameOf(3, 3, "m"), false, 0},
		{"no end", strings.TrimSuffix(frameOf(1, 3, declared), "\xce") + "\x00", false, 1},
		{"another protocol", "HTTP/1.1 400 Bad Request\r\n\r\n", false, 0},
		{"another version", "AMQP\x00\x01\x00\x00", false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var whole, bytes frames
			ok, each := whole.scan([]byte(c.bytes)), true
			for i := 0; i < len(c.bytes) && each; i++ {
				each = bytes.scan([]byte{c.bytes[i]})
			}
			if ok != c.ok || each != c.ok || whole.methods != c.methods {
				t.Errorf("%v at once and %v by bytes, with %d methods; want %v, %d", ok, each, whole.methods, c.ok, c.methods)
			}
		})
	}
}

// However it is cut into pieces, a conversation is judged alike, and its frames are no larger than what was asked for.
func FuzzFrames(f *testing.F) {
	for _, seed := range []string{
		frameOf(1, 0, "\x00\x0a\x00\x0a\x00\x09\x00\x00\x00\x00\x00\x00\x05PLAIN\x00\x00\x00\x05en_US"),
		frameOf(1, 0, "\x00\x0a\x00\x1e\x07\xff\x00\x02\x00\x00\x00\x3c") + frameOf(8, 0, ""),
		frameOf(1, 1, "\x00\x32\x00\x0b\x04jobs\x00\x00\x00\x07\x00\x00\x00\x01"),
		frameOf(1, 1, "\x00\x14\x00\x28\x01\x94\x09NOT_FOUND\x00\x32\x00\x0a"),
		frameOf(3, 1, "m"), "AMQP\x00\x00\x09\x01", "\x01\x00\x00\xff\xff\xff\xff", "",
	} {
		f.Add([]byte(seed), 3)
	}
	f.Fuzz(func(t *testing.T, bytes []byte, cut int) {
		cut = min(max(cut, 0), len(bytes))
		var whole, pieces frames
		ok := whole.scan(bytes)
		if both := pieces.scan(bytes[:cut]) && pieces.scan(bytes[cut:]); both != ok {
			t.Errorf("%v in pieces, %v at once", both, ok)
		}
		if whole.left > frameMost || len(whole.head) > frameHead+methodHead {
			t.Errorf("%d bytes to come, %d remembered", whole.left, len(whole.head))
		}
	})
}
