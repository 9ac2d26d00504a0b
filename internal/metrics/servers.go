// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/queuescaler/queuescaler/internal/queue"
)

// servers exports the queue servers in use, as they are when they are asked for: a server that nobody reads has no series.
type servers struct {
	stats func() []queue.ServerStats

	up, connections, subscribers, queues, latency, polls, errors *prometheus.Desc
}

// RegisterServers exports what stats tells of the queue servers.
func RegisterServers(r prometheus.Registerer, stats func() []queue.ServerStats) {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prefix+"queue_server_"+name, help, []string{"kind", "server"}, nil)
	}
	r.MustRegister(&servers{
		stats:       stats,
		up:          desc("up", "1 while the last poll of the server succeeded, else 0."),
		connections: desc("connections", "Connections to the server."),
		subscribers: desc("queuescalers", "QueueScalers that read from the server."),
		queues:      desc("queues", "Queues that are read from the server."),
		latency:     desc("poll_latency_seconds", "How long the last batch took."),
		polls:       desc("polls_total", "Batches that were read from the server."),
		errors:      desc("poll_errors_total", "Batches and connection attempts that failed."),
	})
}

// Describe implements prometheus.Collector.
func (s *servers) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.up, s.connections, s.subscribers, s.queues, s.latency, s.polls, s.errors} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (s *servers) Collect(out chan<- prometheus.Metric) {
	for _, server := range s.stats() {
		send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64) {
			out <- prometheus.MustNewConstMetric(d, kind, value, server.Kind, server.Host)
		}
		send(s.up, prometheus.GaugeValue, flag(server.Up))
		send(s.connections, prometheus.GaugeValue, float64(server.Connections))
		send(s.subscribers, prometheus.GaugeValue, float64(server.Subscribers))
		send(s.queues, prometheus.GaugeValue, float64(server.Queues))
		send(s.latency, prometheus.GaugeValue, server.Latency.Seconds())
		send(s.polls, prometheus.CounterValue, float64(server.Polls))
		send(s.errors, prometheus.CounterValue, float64(server.Errors))
	}
}
