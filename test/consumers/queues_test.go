// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package consumers

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/queuescaler/queuescaler/test/servers"
)

func natsJetStream(t *testing.T) queue {
	url := servers.StartNATS(t, servers.NATSOptions{}).URL()
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "work", Subjects: []string{"work"}})
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
		Durable: "work", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 5 * patience,
	})
	if err != nil {
		t.Fatal(err)
	}
	info := func(t *testing.T) *jetstream.ConsumerInfo {
		info, err := consumer.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	program := build(t, "natsjetstream")
	return queue{
		send: func(t *testing.T, urls []string) {
			for _, url := range urls {
				sent, err := js.Publish(t.Context(), "work", []byte(url))
				if err != nil {
					t.Fatal(err)
				}
				servers.AwaitCounted(t, consumer, sent)
			}
		},
		waiting:  func(t *testing.T) int { return int(info(t).NumPending) },
		inFlight: func(t *testing.T) int { return info(t).NumAckPending },
		asked:    func(t *testing.T) int { i := info(t); return i.NumWaiting + int(i.Delivered.Consumer) },
		command: func(_ *testing.T, roleFile, listen string) *exec.Cmd {
			return exec.Command(program, "-url", url, "-role-file", roleFile, "-listen", listen)
		},
	}
}

func redisStream(t *testing.T) queue {
	client, address := connectRedis(t)
	if err := client.XGroupCreateMkStream(t.Context(), "work", "work", "0").Err(); err != nil {
		t.Fatal(err)
	}
	group := func(t *testing.T) redis.XInfoGroup {
		groups, err := client.XInfoGroups(t.Context(), "work").Result()
		if err != nil {
			t.Fatal(err)
		}
		return groups[0]
	}
	program := build(t, "redisstream")
	return queue{
		send: func(t *testing.T, urls []string) {
			for _, url := range urls {
				add := client.XAdd(t.Context(), &redis.XAddArgs{Stream: "work", Values: []string{"url", url}})
				if err := add.Err(); err != nil {
					t.Fatal(err)
				}
			}
		},
		waiting:  func(t *testing.T) int { return int(group(t).Lag) },
		inFlight: func(t *testing.T) int { return int(group(t).Pending) },
		asked:    func(t *testing.T) int { return calls(t, client, "xreadgroup") },
		command: func(_ *testing.T, roleFile, listen string) *exec.Cmd {
			return exec.Command(program, "-address", address, "-role-file", roleFile, "-listen", listen)
		},
	}
}

func redisList(t *testing.T) queue {
	client, address := connectRedis(t)
	program := build(t, "redislist")
	return queue{
		send: func(t *testing.T, urls []string) {
			if err := client.LPush(t.Context(), "work", urls).Err(); err != nil {
				t.Fatal(err)
			}
		},
		waiting:  lengths(client.LLen, "work"),
		inFlight: lengths(client.LLen, "work:processing"),
		asked:    func(t *testing.T) int { return calls(t, client, "blmove") },
		command: func(_ *testing.T, roleFile, listen string) *exec.Cmd {
			return exec.Command(program, "-address", address, "-role-file", roleFile, "-listen", listen)
		},
	}
}

func bullMQ(t *testing.T) queue {
	const remedy = "`make test-needs` installs it (Node.js 18 or newer with npm)"
	node := need(t, "node", remedy)
	if _, err := os.Stat("bullmq/node_modules/bullmq"); err != nil {
		t.Fatalf("this test needs the npm package bullmq, and it is not installed: %s", remedy)
	}
	client, address := connectRedis(t)
	return queue{
		send: func(t *testing.T, urls []string) {
			output(t, exec.Command(node, append([]string{"bullmq/send.js", address, "work"}, urls...)...))
		},
		waiting:  lengths(client.LLen, "bull:work:wait"),
		inFlight: lengths(client.LLen, "bull:work:active"),
		// The commands of the script that takes a job, and the wait for one.
		asked: func(t *testing.T) int { return calls(t, client, "rpoplpush", "lmove", "bzpopmin") },
		command: func(_ *testing.T, roleFile, listen string) *exec.Cmd {
			return exec.Command(node, "bullmq/worker.js", "--redis", address, "--role-file", roleFile, "--listen", listen)
		},
	}
}

func celery(t *testing.T) queue {
	client, address := connectRedis(t)
	return celeryOn(t, client, address)
}

func celeryOn(t *testing.T, client *redis.Client, address string) queue {
	python := pythonWithCelery(t)
	command := func(arguments ...string) *exec.Cmd {
		cmd := exec.Command(python, arguments...)
		cmd.Dir = "celery"
		cmd.Env = environment("PYTHONDONTWRITEBYTECODE=1", "BROKER=redis://"+address+"/0")
		return cmd
	}
	return queue{
		send: func(t *testing.T, urls []string) {
			output(t, command(append([]string{"send.py"}, urls...)...))
		},
		waiting:  lengths(client.LLen, "celery"),
		inFlight: lengths(client.HLen, "unacked"),
		asked:    func(t *testing.T) int { return calls(t, client, "brpop") },
		command: func(_ *testing.T, roleFile, listen string) *exec.Cmd {
			// Without mingle, which awaits the replies of other workers by the command that is counted above.
			cmd := command("-m", "celery", "-A", "app", "worker", "--concurrency", "1", "--loglevel", "INFO", "--without-mingle")
			cmd.Env = append(cmd.Env, "ROLE_FILE="+roleFile, "LISTEN="+listen)
			return cmd
		},
	}
}

// pythonWithCelery returns a Python that has celery and redis: the first on the path, or the system's own.
func pythonWithCelery(t *testing.T) string {
	t.Helper()
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(python, "-c", "import celery, redis").Run() == nil {
			return python
		}
	}
	t.Fatal("this test needs Python with the packages celery and redis, and they are not installed: " +
		"`make test-needs` installs them (python3-celery and python3-redis of Debian or Ubuntu)")
	return ""
}

func connectRedis(t *testing.T) (client *redis.Client, address string) {
	t.Helper()
	address = servers.StartRedis(t, servers.RedisOptions{}).Address()
	client = redis.NewClient(&redis.Options{Addr: address})
	t.Cleanup(func() { _ = client.Close() })
	return client, address
}

// lengths returns a function that asks for the length of key.
func lengths(length func(context.Context, string) *redis.IntCmd, key string) func(*testing.T) int {
	return func(t *testing.T) int {
		n, err := length(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		return int(n)
	}
}

// calls returns how often the server was sent any of the commands, by clients and by scripts.
func calls(t *testing.T, client *redis.Client, commands ...string) int {
	t.Helper()
	stats, err := client.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, command := range commands {
		_, after, found := strings.Cut(stats, "cmdstat_"+command+":calls=")
		if !found {
			continue
		}
		number, _, _ := strings.Cut(after, ",")
		n, err := strconv.Atoi(number)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}
