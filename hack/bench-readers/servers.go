// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	natsjs "github.com/queuescaler/queuescaler/internal/queue/nats"
	postgresq "github.com/queuescaler/queuescaler/internal/queue/postgresql"
	"github.com/queuescaler/queuescaler/internal/queue/rabbitmq"
	redisq "github.com/queuescaler/queuescaler/internal/queue/redis"
	"github.com/queuescaler/queuescaler/test/servers"
)

// target is a kind of server to measure.
type target struct {
	kind string
	open queue.Open
	// start starts one with so many queues, of 0 to messagesMost messages.
	start func(ctx context.Context, queues int) (*running, error)
	// request says what is counted; begins is how one begins on the connection, where the server does not count them.
	request string
	begins  []byte
	// settle is left out after the first readings: RabbitMQ's statistics come late, and are dated by how they change.
	settle time.Duration
}

const (
	messagesMost = 6
	settle       = 2 * time.Second
)

var targets = map[string]target{
	"redis":      {queue.KindRedis, redisq.Open, startRedis, "a command", nil, settle},
	"nats":       {queue.KindNATS, natsjs.Open, startNATS, "a message", nil, settle},
	"rabbitmq":   {queue.KindRabbitMQ, rabbitmq.Open, startManagement, "an HTTP request", []byte("GET "), 20 * time.Second},
	"amqp":       {queue.KindRabbitMQ, rabbitmq.Open, startAMQP, "an AMQP method", []byte{1}, settle},
	"postgresql": {queue.KindPostgreSQL, postgresq.Open, startPostgreSQL, "a transaction", nil, settle},
}

func names() []string { return []string{"redis", "nats", "rabbitmq", "amqp", "postgresql"} }

// running is a server that runs.
type running struct {
	source             func(i int) capacityv1alpha1.QueueSource
	username, password string
	// requests counts those that the server had, all clients together; nil where begins counts.
	requests func(context.Context) (int64, error)
	close    func()
}

// credentials are a server's with the Secret's.
func credentials(url string) capacityv1alpha1.Server {
	return capacityv1alpha1.Server{URL: url, Auth: capacityv1alpha1.Auth{SecretRef: capacityv1alpha1.SecretReference{Name: "reader"}}}
}

func startRedis(ctx context.Context, queues int) (*running, error) {
	r, err := servers.NewRedis(servers.RedisOptions{})
	if err != nil {
		return nil, err
	}
	client := redis.NewClient(&redis.Options{Addr: r.Address()})
	s := &running{
		source: func(i int) capacityv1alpha1.QueueSource {
			return capacityv1alpha1.QueueSource{Redis: capacityv1alpha1.RedisSource{
				Server: capacityv1alpha1.Server{URL: r.URL()}, List: capacityv1alpha1.RedisKeys{Keys: []string{fmt.Sprint("jobs:", i)}}}}
		},
		requests: func(ctx context.Context) (int64, error) { return redisCommands(ctx, client) },
		close: func() {
			_ = client.Close()
			r.Close()
		},
	}
	if err := r.Start(); err != nil {
		s.close()
		return nil, err
	}
	pipe := client.Pipeline()
	for i := range queues {
		for range i % (messagesMost + 1) {
			pipe.RPush(ctx, fmt.Sprint("jobs:", i), "m")
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func redisCommands(ctx context.Context, client *redis.Client) (int64, error) {
	text, err := client.Info(ctx, "stats").Result()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if number, ok := strings.CutPrefix(strings.TrimSpace(line), "total_commands_processed:"); ok {
			return strconv.ParseInt(number, 10, 64)
		}
	}
	return 0, errors.New("no total_commands_processed in INFO stats")
}

func startManagement(ctx context.Context, queues int) (*running, error) {
	return startRabbitMQ(ctx, queues, (*servers.RabbitMQ).URL)
}

func startAMQP(ctx context.Context, queues int) (*running, error) {
	return startRabbitMQ(ctx, queues, func(r *servers.RabbitMQ) string { return "amqp://" + r.AMQPAddress() })
}

func startRabbitMQ(ctx context.Context, queues int, url func(*servers.RabbitMQ) string) (*running, error) {
	r, err := servers.NewRabbitMQ(servers.RabbitMQOptions{})
	if err != nil {
		return nil, err
	}
	if err := r.Start(); err != nil {
		r.Close()
		return nil, err
	}
	producer, err := amqp.Dial(r.AMQP())
	if err == nil {
		err = fillRabbitMQ(ctx, producer, queues)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return &running{
		source: func(i int) capacityv1alpha1.QueueSource {
			return capacityv1alpha1.QueueSource{RabbitMQ: capacityv1alpha1.RabbitMQSource{Server: credentials(url(r)), Queue: fmt.Sprint("jobs-", i)}}
		},
		username: "guest", password: "guest",
		close: func() {
			_ = producer.Close() // what is counted of a channel is dropped with it
			r.Close()
		},
	}, nil
}

func fillRabbitMQ(ctx context.Context, producer *amqp.Connection, queues int) error {
	ch, err := producer.Channel()
	if err != nil {
		return err
	}
	for i := range queues {
		name := fmt.Sprint("jobs-", i)
		if _, err := ch.QueueDeclare(name, false, false, false, false, nil); err != nil {
			return err
		}
		for range i % (messagesMost + 1) {
			if err := ch.PublishWithContext(ctx, "", name, false, false, amqp.Publishing{Body: []byte("m")}); err != nil {
				return err
			}
		}
	}
	return nil
}

func startPostgreSQL(ctx context.Context, queues int) (*running, error) {
	p, err := servers.NewPostgreSQL(servers.PostgreSQLOptions{})
	if err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		p.Close()
		return nil, err
	}
	admin, err := pgconn.Connect(ctx, p.AdminURL("postgres"))
	if err == nil {
		_, err = admin.Exec(ctx, fmt.Sprintf("CREATE ROLE reader LOGIN PASSWORD 'bench'; CREATE TABLE jobs (queue int); CREATE INDEX ON jobs (queue); GRANT SELECT ON jobs TO reader; "+
			"INSERT INTO jobs SELECT q FROM generate_series(0, %d) q, generate_series(1, %d) n WHERE n <= q %% %d; ANALYZE jobs", queues-1, messagesMost, messagesMost+1)).ReadAll()
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return &running{
		source: func(i int) capacityv1alpha1.QueueSource {
			return capacityv1alpha1.QueueSource{PostgreSQL: capacityv1alpha1.PostgreSQLSource{
				Server: credentials(p.URL()), Query: fmt.Sprint("SELECT count(*) AS depth FROM jobs WHERE queue = ", i)}}
		},
		username: "reader", password: "bench",
		requests: func(ctx context.Context) (int64, error) { return transactions(ctx, admin) },
		close: func() {
			_ = admin.Close(context.Background())
			p.Close()
		},
	}, nil
}

// transactions are all that ended, as sessions have told: each at most once a second.
func transactions(ctx context.Context, admin *pgconn.PgConn) (int64, error) {
	results, err := admin.Exec(ctx, "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'postgres'").ReadAll()
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(results[0].Rows[0][0]), 10, 64)
}
