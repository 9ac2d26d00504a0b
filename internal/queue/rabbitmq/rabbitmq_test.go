// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package rabbitmq_test

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/queue/rabbitmq"
	"github.com/queuescaler/queuescaler/test/servers"
)

// server is shared by the tests of this package: it takes seconds to start.
var server *servers.RabbitMQ

func TestMain(m *testing.M) { goleak.VerifyTestMain(tests{m}) }

// tests are those of this package, with their server.
type tests struct{ *testing.M }

// Run is testing.M's.
func (m tests) Run() int {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		return m.M.Run() // parsers need no server, and each worker would start one
	}
	var err error
	if server, err = servers.NewRabbitMQ(servers.RabbitMQOptions{}); err == nil {
		defer server.Close()
		err = server.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.M.Run()
}

// patience is how long the server's statistics are waited for: they are up to 10 s late.
const patience = 40 * time.Second

func manage(t *testing.T, method, path, body string) {
	t.Helper()
	if err := server.Manage(method, path, body); err != nil {
		t.Fatal(err)
	}
}

// connect returns a reader as a user with these credentials.
func connect(t *testing.T, username, password string) queue.Reader {
	t.Helper()
	host, port, _ := net.SplitHostPort(server.Address())
	reader, failure := rabbitmq.Open(t.Context(), queue.ConnectOptions{
		Endpoint: queue.Endpoint{Kind: queue.KindRabbitMQ, Host: host, Port: port}, Username: username, Password: password, Now: time.Now,
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", server.Address())
		},
	})
	if failure != nil {
		t.Fatal(failure)
	}
	t.Cleanup(reader.Close)
	return reader
}

// channel is a channel of a client.
func channel(t *testing.T, vhost string) *amqp.Channel {
	t.Helper()
	client, err := amqp.Dial(server.AMQP() + vhost)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	ch, err := client.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func declare(t *testing.T, ch *amqp.Channel, name, kind string) {
	t.Helper()
	if _, err := ch.QueueDeclare(name, true, false, false, false, amqp.Table{"x-queue-type": kind}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = ch.QueueDelete(name, false, false, false) })
}

// send sends messages, and does not wait for the server.
func send(t *testing.T, ch *amqp.Channel, name string, messages int) {
	t.Helper()
	for range messages {
		if err := ch.PublishWithContext(t.Context(), "", name, false, false, amqp.Publishing{Body: []byte("m")}); err != nil {
			t.Fatal(err)
		}
	}
}

// publish sends messages, and returns when the server has them: it answers a later request on the channel after them.
func publish(t *testing.T, ch *amqp.Channel, name string, messages int) {
	t.Helper()
	send(t, ch, name, messages)
	if _, err := ch.QueueDeclarePassive(name, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
}

type result struct {
	queue.Reading
	failure *queue.Failure
}

func source(vhost, name string) capacityv1alpha1.RabbitMQSource {
	return capacityv1alpha1.RabbitMQSource{Server: capacityv1alpha1.Server{URL: server.URL()}, VHost: vhost, Queue: name}
}

func read(t *testing.T, reader queue.Reader, sources ...capacityv1alpha1.RabbitMQSource) []result {
	t.Helper()
	queues := make([]*capacityv1alpha1.Queue, len(sources))
	for i, s := range sources {
		queues[i] = &capacityv1alpha1.Queue{QueueSource: capacityv1alpha1.QueueSource{RabbitMQ: s}}
	}
	results, calls := make([]result, len(sources)), make([]int, len(sources))
	failure := reader.Read(t.Context(), queues, func(i int, r queue.Reading, f *queue.Failure) {
		results[i], calls[i] = result{r, f}, calls[i]+1
	})
	if failure != nil {
		t.Fatal(failure)
	}
	for i, n := range calls {
		if n != 1 {
			t.Fatalf("%d results for queue %d", n, i)
		}
	}
	return results
}

// awaitReading reads until holds.
func awaitReading(t *testing.T, reader queue.Reader, s capacityv1alpha1.RabbitMQSource, what string, holds func(result) bool) result {
	t.Helper()
	var got result
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if got = read(t, reader, s)[0]; holds(got) {
			return got
		}
	}
	t.Fatalf("not within %v: %s; it is %s", patience, what, show(got))
	return got
}

func show(r result) string {
	text := func(n *int64) string {
		if n == nil {
			return "untold"
		}
		return fmt.Sprint(*n)
	}
	return fmt.Sprintf("depth %d, in flight %s, arrived %s, completed %s, redelivered %s, failure %v",
		r.Depth, text(r.InFlight), text(r.ArrivedTotal), text(r.CompletedTotal), text(r.RedeliveredTotal), r.failure)
}

func is(n *int64, want int64) bool { return n != nil && *n == want }

// The lengths of a classic queue are those of now, though its statistics are not.
func TestClassicQueueIsReadAtOnce(t *testing.T) {
	reader, ch := connect(t, "guest", "guest"), channel(t, "")
	declare(t, ch, "now", "classic")
	for i := 1; i <= 5; i++ {
		publish(t, ch, "now", 10)
		if got := read(t, reader, source("", "now"))[0]; got.failure != nil || got.Depth != int64(10*i) || !is(got.InFlight, 0) {
			t.Fatalf("%s, want depth %d at once", show(got), 10*i)
		}
	}
	if _, err := ch.Consume("now", "", false, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	got := awaitReading(t, reader, source("", "now"), "all in flight", func(r result) bool { return is(r.InFlight, 50) })
	if got.Depth != 0 {
		t.Errorf("%s, want no backlog", show(got))
	}
}

// Counters agree with what was sent and consumed, to the message.
func TestCountersAgree(t *testing.T) {
	t.Parallel()
	messages := 100_000
	if testing.Short() {
		messages = 2_000
	}
	for _, kind := range []string{"classic", "quorum"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			reader := connect(t, "guest", "guest")
			ch, name := channel(t, ""), "counted-"+kind
			sent := messages / map[string]int{"classic": 1, "quorum": 10}[kind]
			declare(t, ch, name, kind)
			consumer := channel(t, "")
			if err := consumer.Qos(1000, 0, false); err != nil {
				t.Fatal(err)
			}
			deliveries, err := consumer.Consume(name, "", false, false, false, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() {
				for i := 1; i <= sent; i++ {
					d := <-deliveries
					if i%100 == 0 {
						if err := d.Ack(true); err != nil {
							done <- err
							return
						}
					}
				}
				done <- nil
			}()
			send(t, ch, name, sent)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			awaitReading(t, reader, source("", name), fmt.Sprint(sent, " arrived and completed"), func(r result) bool {
				return r.failure == nil && r.Depth == 0 && is(r.InFlight, 0) && is(r.ArrivedTotal, int64(sent)) && is(r.CompletedTotal, int64(sent)) && is(r.RedeliveredTotal, 0)
			})
		})
	}
}

// What was taken without acknowledgement is completed, what was returned is delivered again.
func TestRedeliveryAndNoAck(t *testing.T) {
	t.Parallel()
	reader, ch := connect(t, "guest", "guest"), channel(t, "")
	declare(t, ch, "ways", "classic")
	publish(t, ch, "ways", 10)
	d, ok, err := ch.Get("ways", false)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if err := d.Nack(false, true); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if _, _, err := ch.Get("ways", true); err != nil {
			t.Fatal(err)
		}
	}
	awaitReading(t, reader, source("", "ways"), "6 left, 4 completed, 1 again", func(r result) bool {
		return r.failure == nil && r.Depth == 6 && is(r.InFlight, 0) && is(r.ArrivedTotal, 10) && is(r.CompletedTotal, 4) && is(r.RedeliveredTotal, 1)
	})
}

// A queue that is made again counts anew; until something is counted, nothing is told.
func TestDeletedAndMadeAgain(t *testing.T) {
	t.Parallel()
	reader, ch := connect(t, "guest", "guest"), channel(t, "")
	declare(t, ch, "again", "classic")
	publish(t, ch, "again", 20)
	awaitReading(t, reader, source("", "again"), "20 arrived", func(r result) bool { return is(r.ArrivedTotal, 20) })
	if _, err := ch.QueueDelete("again", false, false, false); err != nil {
		t.Fatal(err)
	}
	if got := read(t, reader, source("", "again"))[0]; got.failure == nil || got.failure.Reason != capacityv1alpha1.ReasonQueueMissing {
		t.Errorf("deleted: %s", show(got))
	}
	declare(t, ch, "again", "classic")
	publish(t, ch, "again", 3)
	awaitReading(t, reader, source("", "again"), "3 arrived", func(r result) bool { return r.failure == nil && r.Depth == 3 && is(r.ArrivedTotal, 3) })
}

// Each queue that cannot be read fails alone.
func TestBadNamesFailAlone(t *testing.T) {
	t.Parallel()
	manage(t, "PUT", "vhosts/closed", "")
	manage(t, "PUT", "vhosts/a%2Fb", "")
	manage(t, "PUT", "permissions/a%2Fb/guest", `{"configure":".*","write":".*","read":".*"}`)
	manage(t, "PUT", "users/reader", `{"password":"p","tags":"management"}`)
	for _, vhost := range []string{"%2F", "a%2Fb"} {
		manage(t, "PUT", "permissions/"+vhost+"/reader", `{"configure":"^$","write":"^$","read":"^$"}`)
	}
	reader, ch, inside := connect(t, "reader", "p"), channel(t, ""), channel(t, "a%2Fb")
	odd := `jobs.*|(x) "é" 	&page=2`
	for name, kind := range map[string]string{"plain": "classic", odd: "classic", "log": "stream", "new": "quorum"} {
		declare(t, ch, name, kind)
	}
	declare(t, inside, "plain", "classic")
	publish(t, ch, "plain", 1)
	publish(t, ch, odd, 2)
	publish(t, inside, "plain", 3)
	got := read(t, reader, source("", "plain"), source("/", odd), source("a/b", "plain"), source("", "plain"),
		source("", "none"), source("none", "plain"), source("closed", "plain"), source("..", "whoami"), source("", "log"), source("", "plai."))
	for i, want := range []int64{1, 2, 3, 1} {
		if got[i].failure != nil || got[i].Depth != want {
			t.Errorf("queue %d: %s, want depth %d", i, show(got[i]), want)
		}
	}
	const missing, denied = capacityv1alpha1.ReasonQueueMissing, capacityv1alpha1.ReasonPermissionDenied
	for i, want := range map[int][2]string{
		4: {missing, `without queue "none" in virtual host "/"`}, 5: {missing, `without virtual host "none"`},
		6: {denied, `denying virtual host "closed"`}, 7: {capacityv1alpha1.ReasonQueueUnavailable, `about virtual host ".."`},
		8: {missing, `holding a stream in queue "log"`}, 9: {missing, `without queue "plai."`},
	} {
		f := got[i].failure
		if f == nil || f.Reason != want[0] || !strings.Contains(f.What, want[1]) || f.Remedy == "" {
			t.Errorf("queue %d: %+v, want %s that says %q", i, f, want[0], want[1])
		}
	}
	awaitReading(t, reader, source("", "new"), "the length of an empty quorum queue", func(r result) bool { return r.failure == nil && r.Depth == 0 })
}

// Many queues are read in pages, over at most four connections; what is missing is still asked for by name.
func TestManyQueues(t *testing.T) {
	const many = 600
	reader, ch := connect(t, "guest", "guest"), channel(t, "")
	sources := []capacityv1alpha1.RabbitMQSource{source("", "missing")}
	for i := range many {
		name := fmt.Sprint("many-", i)
		declare(t, ch, name, "classic")
		send(t, ch, name, i%3)
		sources = append(sources, source("", name))
	}
	publish(t, ch, "many-0", 0)
	start := time.Now()
	got := read(t, reader, sources...)
	t.Logf("%d queues in %v", many, time.Since(start))
	for i := range many {
		if r := got[i+1]; r.failure != nil || r.Depth != int64(i%3) {
			t.Fatalf("queue %d: %s, want %d", i, show(r), i%3)
		}
	}
	if got[0].failure == nil || got[0].failure.Reason != capacityv1alpha1.ReasonQueueMissing {
		t.Errorf("the missing one: %s", show(got[0]))
	}
	if n := reader.Connections(); n < 1 || n > 4 {
		t.Errorf("%d connections, want 1 to 4", n)
	}
}

// Readings are dated by the server's statistics: while they stand still, so does the time, and rates come out right.
func TestTimeIsThatOfTheStatistics(t *testing.T) {
	t.Parallel()
	reader, ch := connect(t, "guest", "guest"), channel(t, "")
	declare(t, ch, "steady", "classic")
	const rate = 50 // messages/s
	var first, last result
	distinct := 0
	start := time.Now()
	for tick := range 25 * rate {
		publish(t, ch, "steady", 1)
		if tick%rate == 0 {
			got := read(t, reader, source("", "steady"))[0]
			age := time.Since(got.Time)
			if got.failure != nil || age < 0 || age > 12*time.Second {
				t.Fatalf("%s, of %v ago", show(got), age)
			}
			if got.ArrivedTotal != nil && !got.Time.Equal(last.Time) {
				if distinct++; distinct == 2 {
					first = got
				}
				last = got
			}
		}
		time.Sleep(time.Until(start.Add(time.Duration(tick+1) * time.Second / rate)))
	}
	if distinct < 3 || distinct > 8 {
		t.Fatalf("%d different times in 25 s, want one for each of the server's samples", distinct)
	}
	measured := float64(*last.ArrivedTotal-*first.ArrivedTotal) / last.Time.Sub(first.Time).Seconds()
	t.Logf("%.1f messages/s measured over %v", measured, last.Time.Sub(first.Time))
	if measured < 0.7*rate || measured > 1.3*rate {
		t.Errorf("%.1f messages/s measured, want %d", measured, rate)
	}
}
