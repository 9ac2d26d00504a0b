// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package simulate

// fifo holds messages in the order in which they arrived, by the second of their arrival.
type fifo struct {
	// counts of each second that are still there; head is the first one with any.
	counts []int64
	head   int
	length int64
}

// push adds n messages that arrive in second t. Seconds only grow.
func (q *fifo) push(t int, n int64) {
	for len(q.counts) <= t {
		q.counts = append(q.counts, 0)
	}
	q.counts[t] += n
	q.length += n
}

// pop takes the n oldest, and says how many of them had arrived before second t.
func (q *fifo) pop(n int64, t int) (before int64) {
	n = min(n, q.length)
	q.length -= n
	for n > 0 {
		taken := min(n, q.counts[q.head])
		q.counts[q.head] -= taken
		n -= taken
		if q.head < t {
			before += taken
		}
		if q.counts[q.head] == 0 {
			q.head++
		}
	}
	return before
}

// oldest is the second in which the oldest message arrived; -1 if there is none.
func (q *fifo) oldest() int {
	if q.length == 0 {
		return -1
	}
	for q.counts[q.head] == 0 {
		q.head++
	}
	return q.head
}

// before counts the messages that arrived before second t.
func (q *fifo) before(t int) (n int64) {
	for i := q.head; i < min(t, len(q.counts)); i++ {
		n += q.counts[i]
	}
	return n
}
