// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package simulate

import "testing"

// Syncs are 15 s apart; each row goes on from the number of the one before.
func TestHPA(t *testing.T) {
	type sync struct {
		length int64
		want   int32
	}
	for _, c := range []struct {
		name  string
		start int32
		syncs []sync
	}{
		{"within the tolerance nothing changes", 10, []sync{{1090, 10}, {910, 10}}},
		{"beyond it, it does", 10, []sync{{1110, 12}}},
		{"at most four pods or 100 % in 15 s", 2, []sync{{10000, 6}, {10000, 12}, {10000, 24}, {10000, 48}, {10000, 60}}},
		{"down only once nothing of the last 300 s asked for more", 10, append([]sync{{2000, 20}}, func() (s []sync) {
			for range 19 {
				s = append(s, sync{500, 20})
			}
			return append(s, sync{500, 5})
		}()...)},
		{"between the least and the most", 10, []sync{{100000, 20}, {100000, 40}, {100000, 60}, {100000, 60}}},
		{"an empty queue asks for the least, after the window", 4, append(func() (s []sync) {
			for range 19 {
				s = append(s, sync{400, 4})
			}
			return s
		}(), sync{0, 4})},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, replicas := &HPA{Target: 100}, c.start
			for i, s := range c.syncs {
				got := h.next(i*hpaSync, s.length, replicas, replicas, 2, 60)
				if got != s.want {
					t.Fatalf("sync %d, %d messages at %d replicas: %d, want %d", i, s.length, replicas, got, s.want)
				}
				replicas = got
			}
		})
	}
}
