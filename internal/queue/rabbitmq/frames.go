// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package rabbitmq

import "encoding/binary"

const (
	// frameMost is the largest frame that is asked for: the least that AMQP allows.
	frameMost = 4096
	// A frame begins with its type, its channel and the size of its payload; a method's payload begins with two numbers for what it is.
	frameHead, methodHead = 7, 4
	frameMethod           = 1
	frameHeartbeat        = 8
	frameEnd              = 0xCE
)

// answers are the methods that a server may send to a client that only declares queues passively: class and method of each.
var answers = map[[2]uint16]bool{
	{10, 10}: true, {10, 20}: true, {10, 30}: true, {10, 41}: true, {10, 50}: true, {10, 51}: true, {10, 60}: true, {10, 61}: true, // connection
	{20, 11}: true, {20, 40}: true, {20, 41}: true, // channel
	{50, 11}: true, // queue
}

// frames looks at what a server sends before the client library does, which would take any message, and believes what it declares.
type frames struct {
	// head holds the first bytes of a frame; left is how many bytes come after them, its end included.
	head []byte
	left int
	// methods counts those that began.
	methods int
}

// scan is false where the bytes are no frames of such a conversation.
func (f *frames) scan(bytes []byte) bool {
	for len(bytes) > 0 {
		if f.left > 1 {
			n := min(f.left-1, len(bytes))
			f.left, bytes = f.left-n, bytes[n:]
			continue
		}
		next := bytes[0]
		bytes = bytes[1:]
		if f.left == 1 {
			if next != frameEnd {
				return false
			}
			f.left, f.head = 0, f.head[:0]
			continue
		}
		f.head = append(f.head, next)
		if !f.begin() {
			return false
		}
	}
	return true
}

// begin looks at the first bytes of a frame, and goes on to the rest once they are all there.
func (f *frames) begin() bool {
	kind := f.head[0]
	if kind != frameMethod && kind != frameHeartbeat {
		return false
	}
	if len(f.head) < frameHead {
		return true
	}
	size := int64(binary.BigEndian.Uint32(f.head[3:]))
	if kind == frameHeartbeat {
		f.left = 1
		return size == 0
	}
	if size < methodHead || size > frameMost-frameHead-1 {
		return false
	}
	if len(f.head) < frameHead+methodHead {
		return true
	}
	f.methods++
	f.left = int(size) - methodHead + 1
	return answers[[2]uint16{binary.BigEndian.Uint16(f.head[frameHead:]), binary.BigEndian.Uint16(f.head[frameHead+2:])}]
}
