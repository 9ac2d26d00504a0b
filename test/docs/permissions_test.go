// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"sigs.k8s.io/yaml"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/queue/external"
	httpqueue "github.com/queuescaler/queuescaler/internal/queue/http"
	kafkaqueue "github.com/queuescaler/queuescaler/internal/queue/kafka"
	natsqueue "github.com/queuescaler/queuescaler/internal/queue/nats"
	postgresqueue "github.com/queuescaler/queuescaler/internal/queue/postgresql"
	rabbitmqqueue "github.com/queuescaler/queuescaler/internal/queue/rabbitmq"
	redisqueue "github.com/queuescaler/queuescaler/internal/queue/redis"
	sqsqueue "github.com/queuescaler/queuescaler/internal/queue/sqs"
	"github.com/queuescaler/queuescaler/test/servers"
)

// connect opens a server as the user of the docs.
func connect(t *testing.T, open queue.Open, kind, address, path string, change ...func(*queue.ConnectOptions)) queue.Reader {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	options := queue.ConnectOptions{
		Endpoint: queue.Endpoint{Kind: kind, Host: host, Port: port, Path: path},
		Username: "reader", Password: "change-me",
		Dial: func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", address) },
		DialAddress: func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		},
		Now: time.Now,
	}
	for _, c := range change {
		c(&options)
	}
	reader, failure := open(t.Context(), options)
	if failure != nil {
		t.Fatal(failure)
	}
	t.Cleanup(reader.Close)
	return reader
}

// readAll reads the depths of queues, none of which may fail.
func readAll(t *testing.T, reader queue.Reader, queues ...*capacityv1alpha1.Queue) []int64 {
	t.Helper()
	depths := make([]int64, len(queues))
	delivered := 0
	failure := reader.Read(t.Context(), queues, func(i int, r queue.Reading, f *queue.Failure) {
		delivered++
		depths[i] = r.Depth
		if f != nil {
			t.Errorf("queue %d: %v", i, f)
		}
	})
	if failure != nil || delivered != len(queues) {
		t.Fatalf("%d of %d queues delivered, failure %v", delivered, len(queues), failure)
	}
	return depths
}

func TestNATSPermissionsSuffice(t *testing.T) {
	page := read(t, "docs/queues/nats-jetstream.md")
	s := startNATS(t, natsConfig(t, marked(t, page, "nats permissions")))
	fillStream(t, s.ClientURL(), nats.UserInfo("admin", "admin"))
	readStatus(t, s, "")

	// The same by a key, of which the page has a public one.
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, _ := key.PublicKey()
	seed, _ := key.Seed()
	config := marked(t, page, "nats nkey permissions")
	byKey := regexp.MustCompile(`nkey: U[A-Z0-9]{55}`).ReplaceAllString(config, "nkey: "+public)
	if byKey == config {
		t.Fatalf("no public key in %s", config)
	}
	s = startNATS(t, natsConfig(t, byKey))
	fillStream(t, s.ClientURL(), nats.UserInfo("admin", "admin"))
	readStatus(t, s, "", func(o *queue.ConnectOptions) { o.Username, o.Password, o.NKey = "", "", string(seed) })
}

// A user by a JWT, with the permissions that the page gives it by nsc.
func TestNATSUserByJWTSuffices(t *testing.T) {
	operator, account, system := newKey(t, nkeys.CreateOperator), newKey(t, nkeys.CreateAccount), newKey(t, nkeys.CreateAccount)
	resolver := &server.MemAccResolver{}
	for _, key := range []nkeys.KeyPair{account, system} {
		claims := jwt.NewAccountClaims(publicOf(t, key))
		if key == account {
			claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
		}
		text, err := claims.Encode(operator)
		if err != nil {
			t.Fatal(err)
		}
		if err := resolver.Store(publicOf(t, key), text); err != nil {
			t.Fatal(err)
		}
	}
	creds := func(grant func(*jwt.UserClaims)) string {
		user := newKey(t, nkeys.CreateUser)
		claims := jwt.NewUserClaims(publicOf(t, user))
		grant(claims)
		text, err := claims.Encode(account)
		if err != nil {
			t.Fatal(err)
		}
		seed, _ := user.Seed()
		file, err := jwt.FormatUserConfig(text, seed)
		if err != nil {
			t.Fatal(err)
		}
		return string(file)
	}
	s := startNATS(t, &server.Options{TrustedOperators: []*jwt.OperatorClaims{jwt.NewOperatorClaims(publicOf(t, operator))}, AccountResolver: resolver, SystemAccount: publicOf(t, system)})
	fillStream(t, s.ClientURL(), nats.UserCredentialBytes([]byte(creds(func(*jwt.UserClaims) {}))))

	words := strings.Fields(strings.ReplaceAll(marked(t, read(t, "docs/queues/nats-jetstream.md"), "nats jwt permissions"), "'", ""))
	granted := 0
	reader := creds(func(claims *jwt.UserClaims) {
		for i, word := range words {
			switch word {
			case "--allow-pub":
				claims.Pub.Allow.Add(strings.Split(words[i+1], ",")...)
				granted++
			case "--allow-sub":
				claims.Sub.Allow.Add(strings.Split(words[i+1], ",")...)
				granted++
			}
		}
	})
	if granted != 2 {
		t.Fatalf("%q grants not what is known of nsc", words)
	}
	readStatus(t, s, "", func(o *queue.ConnectOptions) { o.Username, o.Password, o.Creds = "", "", reader })
}

func newKey(t *testing.T, create func() (nkeys.KeyPair, error)) nkeys.KeyPair {
	t.Helper()
	key, err := create()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicOf(t *testing.T, key nkeys.KeyPair) string {
	t.Helper()
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// A stream of a leaf node, read through its hub.
func TestNATSDomainPermissionsSuffice(t *testing.T) {
	options := natsConfig(t, marked(t, read(t, "docs/queues/nats-jetstream.md"), "nats domain permissions"))
	options.JetStreamDomain = "hub"
	options.LeafNode = server.LeafNodeOpts{Host: "127.0.0.1", Port: server.RANDOM_PORT}
	hub := startNATS(t, options)
	vars, err := hub.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	remote := &url.URL{Scheme: "nats", User: url.UserPassword("admin", "admin"), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(vars.LeafNode.Port))}
	leaf := startNATS(t, &server.Options{JetStreamDomain: "edge", LeafNode: server.LeafNodeOpts{Remotes: []*server.RemoteLeafOpts{{URLs: []*url.URL{remote}}}}})
	fillStream(t, leaf.ClientURL())
	servers.Await(t, "the leaf node does not connect", func() bool { return hub.NumLeafNodes() > 0 })
	readStatus(t, hub, "edge")
}

// natsConfig are the options of a configuration file, with an admin beside its users.
func natsConfig(t *testing.T, text string) *server.Options {
	t.Helper()
	config := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	options, err := server.ProcessConfigFile(config)
	if err != nil {
		t.Fatal(err)
	}
	options.Users = append(options.Users, &server.User{Username: "admin", Password: "admin"})
	return options
}

func startNATS(t *testing.T, options *server.Options) *server.Server {
	t.Helper()
	options.Host, options.Port, options.NoSigs, options.NoLog = "127.0.0.1", server.RANDOM_PORT, true, true
	options.JetStream, options.StoreDir = true, t.TempDir()
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not accept connections")
	}
	return s
}

// readStatus reads the docs' stream and consumer as the user of the docs.
func readStatus(t *testing.T, s *server.Server, domain string, change ...func(*queue.ConnectOptions)) {
	t.Helper()
	source := capacityv1alpha1.NATSJetStreamSource{Server: capacityv1alpha1.Server{URL: "nats://n"}, Stream: "STATUS", Consumer: "workers", Domain: domain}
	reader := connect(t, natsqueue.Open, queue.KindNATS, s.Addr().String(), "", change...)
	backlog := readAll(t, reader, &capacityv1alpha1.Queue{Name: "status", QueueSource: capacityv1alpha1.QueueSource{NATSJetStream: source}})[0]
	if backlog != 3 {
		t.Errorf("backlog %d, want 3", backlog)
	}
}

// fillStream makes the docs' stream and consumer, with 3 messages.
func fillStream(t *testing.T, url string, options ...nats.Option) {
	t.Helper()
	nc, err := nats.Connect(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "STATUS", Subjects: []string{"status"}})
	if err != nil {
		t.Fatal(err)
	}
	workers, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		sent, err := js.Publish(t.Context(), "status", nil)
		if err != nil {
			t.Fatal(err)
		}
		servers.AwaitCounted(t, workers, sent)
	}
}

func TestRedisPermissionsSuffice(t *testing.T) {
	r := servers.StartRedis(t, servers.RedisOptions{})
	admin := redis.NewClient(&redis.Options{Addr: r.Address()})
	defer admin.Close()
	for _, line := range []string{
		strings.TrimSpace(marked(t, read(t, "docs/queues/redis.md"), "redis permissions")),
		"XGROUP CREATE orders workers 0 MKSTREAM",
		"XADD orders * n 1",
		"XADD orders * n 2",
		"RPUSH bull:mail:wait a b c",
		"RPUSH bull:mail:active d",
		"SET bull:mail:arrived 4",
	} {
		var words []any
		for word := range strings.FieldsSeq(line) {
			words = append(words, word)
		}
		if err := admin.Do(t.Context(), words...).Err(); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}

	const url = "redis://r"
	depths := readAll(t, connect(t, redisqueue.Open, queue.KindRedis, r.Address(), "0"),
		&capacityv1alpha1.Queue{Name: "orders", QueueSource: capacityv1alpha1.QueueSource{Redis: capacityv1alpha1.RedisSource{Server: capacityv1alpha1.Server{URL: url},
			Stream: capacityv1alpha1.RedisStream{Key: "orders", Group: "workers"}}}},
		&capacityv1alpha1.Queue{Name: "mail", QueueSource: capacityv1alpha1.QueueSource{Redis: capacityv1alpha1.RedisSource{Server: capacityv1alpha1.Server{URL: url},
			List: capacityv1alpha1.RedisKeys{Keys: []string{"bull:mail:wait"}, InFlightKeys: []string{"bull:mail:active"}, ArrivedTotalKey: "bull:mail:arrived"}}}},
	)
	if depths[0] != 2 || depths[1] != 3 {
		t.Errorf("backlogs %v, want 2 and 3", depths)
	}
}

// sayTo sends a command as it stands in the docs.
func sayTo(t *testing.T, admin *redis.Client, line string) {
	t.Helper()
	var words []any
	for word := range strings.FieldsSeq(line) {
		words = append(words, word)
	}
	if err := admin.Do(t.Context(), words...).Err(); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
}

func TestRedisClusterPermissionsSuffice(t *testing.T) {
	page := read(t, "docs/queues/redis.md")
	c := servers.StartRedisCluster(t, servers.RedisOptions{})
	for i := range c.Nodes {
		sayTo(t, c.Client(t, i), marked(t, page, "redis permissions"))
		sayTo(t, c.Client(t, i), marked(t, page, "redis cluster permissions"))
	}
	everywhere := c.Everywhere(t)
	everywhere.XGroupCreateMkStream(t.Context(), "orders", "workers", "0")
	everywhere.RPush(t.Context(), "bull:mail:wait", "a", "b", "c")
	everywhere.RPush(t.Context(), "bull:mail:active", "d")
	source := capacityv1alpha1.RedisSource{List: capacityv1alpha1.RedisKeys{Keys: []string{"bull:mail:wait"}, InFlightKeys: []string{"bull:mail:active"}}}
	mail := &capacityv1alpha1.Queue{Name: "mail", QueueSource: capacityv1alpha1.QueueSource{Redis: source}}
	stream := &capacityv1alpha1.Queue{Name: "orders", QueueSource: capacityv1alpha1.QueueSource{Redis: capacityv1alpha1.RedisSource{Stream: capacityv1alpha1.RedisStream{Key: "orders", Group: "workers"}}}}
	reader := connect(t, redisqueue.Open, queue.KindRedis, c.Nodes[0].Address(), "0", func(o *queue.ConnectOptions) { o.Endpoint.Topology = capacityv1alpha1.RedisCluster })
	if depths := readAll(t, reader, mail, stream); depths[0] != 3 || depths[1] != 0 {
		t.Errorf("backlogs %v, want 3 and 0", depths)
	}
	// On its way elsewhere, the slot of a key that does not exist is asked for there.
	everywhere.Del(t.Context(), "bull:mail:wait")
	move := c.NewMove(t, "bull:mail:wait", (c.Of(t, "bull:mail:wait")+1)%len(c.Nodes))
	move.Begin(t)
	if depths := readAll(t, reader, mail); depths[0] != 0 {
		t.Errorf("backlog %v, want 0", depths)
	}
}

func TestRedisSentinelPermissionsSuffice(t *testing.T) {
	page := read(t, "docs/queues/redis.md")
	s := servers.StartRedisSentinel(t, servers.RedisSentinelOptions{})
	master := s.Client(t, 0)
	sayTo(t, master, marked(t, page, "redis permissions"))
	master.RPush(t.Context(), "bull:mail:wait", "a", "b", "c")
	sentinel := redis.NewClient(&redis.Options{Addr: s.Sentinel.Address(), Protocol: 2, DisableIdentity: true})
	defer sentinel.Close()
	sayTo(t, sentinel, marked(t, page, "redis sentinel permissions"))
	reader := connect(t, redisqueue.Open, queue.KindRedis, s.Sentinel.Address(), "0", func(o *queue.ConnectOptions) {
		o.Endpoint.Topology, o.Endpoint.MasterName = capacityv1alpha1.RedisSentinel, "mymaster"
		o.SentinelUsername, o.SentinelPassword = "watcher", "change-me-too"
	})
	source := capacityv1alpha1.RedisSource{List: capacityv1alpha1.RedisKeys{Keys: []string{"bull:mail:wait"}}}
	if depths := readAll(t, reader, &capacityv1alpha1.Queue{Name: "mail", QueueSource: capacityv1alpha1.QueueSource{Redis: source}}); depths[0] != 3 {
		t.Errorf("backlog %v, want 3", depths)
	}
}

func TestKafkaPermissionsSuffice(t *testing.T) {
	var acls []kfake.ACL
	for line := range strings.Lines(strings.TrimSpace(marked(t, read(t, "docs/queues/kafka.md"), "kafka permissions"))) {
		acls = append(acls, kafkaACL(t, strings.Fields(line)))
	}
	k := servers.StartKafka(t, servers.KafkaOptions{Admin: "admin", Users: []servers.KafkaUser{{Mechanism: "PLAIN", Name: "reader", Password: "change-me", ACLs: acls}}})
	k.Fill(t, "orders", 3, 6)
	k.Commit(t, "billing", "orders", 1, 1, 1)
	source := capacityv1alpha1.KafkaSource{Server: capacityv1alpha1.Server{URL: "kafka://k"}, Topic: "orders", Group: "billing"}
	depths := readAll(t, connect(t, kafkaqueue.Open, queue.KindKafka, k.Address(), ""), &capacityv1alpha1.Queue{Name: "orders", QueueSource: capacityv1alpha1.QueueSource{Kafka: source}})
	if depths[0] != 3 {
		t.Errorf("backlog %d, want 3", depths[0])
	}
}

// kafkaACL is what a call of kafka-acls.sh grants.
func kafkaACL(t *testing.T, words []string) kfake.ACL {
	t.Helper()
	acl := kfake.ACL{Pattern: kmsg.ACLResourcePatternTypeLiteral, Allow: true}
	for i := 0; i+1 < len(words); i++ {
		value := words[i+1]
		switch words[i] {
		case "--operation":
			operation, err := kmsg.ParseACLOperation(value)
			if err != nil {
				t.Fatal(err)
			}
			acl.Operation = operation
		case "--topic":
			acl.Resource, acl.Name = kmsg.ACLResourceTypeTopic, value
		case "--group":
			acl.Resource, acl.Name = kmsg.ACLResourceTypeGroup, value
		}
	}
	return acl
}

func TestPostgreSQLPermissionsSuffice(t *testing.T) {
	page := read(t, "docs/queues/postgresql.md")
	p := servers.StartPostgreSQL(t, servers.PostgreSQLOptions{})
	p.Exec(t, "CREATE DATABASE orders")
	p.ExecIn(t, "orders", "REVOKE ALL ON DATABASE orders FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC")
	p.ExecIn(t, "orders", marked(t, page, "postgresql table"))
	p.ExecIn(t, "orders", marked(t, page, "postgresql permissions"))
	p.ExecIn(t, "orders", "INSERT INTO jobs (state, payload) VALUES ('waiting', 'a'), ('waiting', 'b'), ('running', 'c')")

	reader := connect(t, postgresqueue.Open, queue.KindPostgreSQL, p.Address(), "orders")
	query := func(sql string) *capacityv1alpha1.Queue {
		return &capacityv1alpha1.Queue{Name: "jobs", QueueSource: capacityv1alpha1.QueueSource{
			PostgreSQL: capacityv1alpha1.PostgreSQLSource{Server: capacityv1alpha1.Server{URL: "postgres://p/orders"}, Query: sql}}}
	}
	jobs := query(marked(t, page, "postgresql query"))
	failure := reader.Read(t.Context(), []*capacityv1alpha1.Queue{jobs}, func(_ int, r queue.Reading, f *queue.Failure) {
		if f != nil || r.Depth != 2 || *r.InFlight != 1 || *r.ArrivedTotal != 3 || *r.CompletedTotal != 0 || r.OldestAge == nil {
			t.Errorf("%+v, %v, want 2 waiting, 1 in flight and 3 arrived", r, f)
		}
	})
	if failure != nil {
		t.Fatal(failure)
	}
	failure = reader.Read(t.Context(), []*capacityv1alpha1.Queue{query("SELECT max(length(payload)) AS depth FROM jobs")}, func(_ int, _ queue.Reading, f *queue.Failure) {
		if f == nil || f.Reason != capacityv1alpha1.ReasonPermissionDenied {
			t.Errorf("%v, want the messages themselves denied", f)
		}
	})
	if failure != nil {
		t.Fatal(failure)
	}
}

// startMail starts RabbitMQ with a message in queue mail of virtual host chat, and the user of a block in the docs.
func startMail(t *testing.T, block string) *servers.RabbitMQ {
	t.Helper()
	r := servers.StartRabbitMQ(t)
	for _, request := range [][3]string{
		{"PUT", "vhosts/chat", ""},
		{"PUT", "permissions/chat/guest", `{"configure":".*","write":".*","read":".*"}`},
		{"PUT", "queues/chat/mail", `{"durable":true}`},
		{"POST", "exchanges/chat/amq.default/publish", `{"properties":{},"routing_key":"mail","payload":"m","payload_encoding":"string"}`},
	} {
		if err := r.Manage(request[0], request[1], request[2]); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(marked(t, read(t, "docs/queues/rabbitmq.md"), block)) {
		words := strings.Fields(line)
		if err := r.Control(words[0], words[1:]...); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func TestRabbitMQPermissionsSuffice(t *testing.T) {
	r := startMail(t, "rabbitmq permissions")
	source := capacityv1alpha1.RabbitMQSource{Server: capacityv1alpha1.Server{URL: r.URL()}, VHost: "chat", Queue: "mail"}
	depths := readAll(t, connect(t, rabbitmqqueue.Open, queue.KindRabbitMQ, r.Address(), ""),
		&capacityv1alpha1.Queue{Name: "mail", QueueSource: capacityv1alpha1.QueueSource{RabbitMQ: source}})
	if depths[0] != 1 {
		t.Errorf("backlog %d, want 1", depths[0])
	}
}

func TestRabbitMQPermissionsSufficeOverAMQP(t *testing.T) {
	r := startMail(t, "rabbitmq amqp permissions")
	open := func(ctx context.Context, o queue.ConnectOptions) (queue.Reader, *queue.Failure) {
		o.Endpoint.Scheme = "amqp"
		return rabbitmqqueue.Open(ctx, o)
	}
	source := capacityv1alpha1.RabbitMQSource{Server: capacityv1alpha1.Server{URL: "amqp://r"}, VHost: "chat", Queue: "mail"}
	depths := readAll(t, connect(t, open, queue.KindRabbitMQ, r.AMQPAddress(), "chat"),
		&capacityv1alpha1.Queue{Name: "mail", QueueSource: capacityv1alpha1.QueueSource{RabbitMQ: source}})
	if depths[0] != 1 {
		t.Errorf("backlog %d, want 1", depths[0])
	}
}

// The Secret of the docs is all that a scaler asks for, and is asked for: without TLS no token is sent.
func TestExternalScalerPermissionsSuffice(t *testing.T) {
	var secret struct {
		StringData map[string]string `json:"stringData"`
	}
	if err := yaml.Unmarshal([]byte(marked(t, read(t, "docs/queues/external.md"), "external permissions")), &secret); err != nil {
		t.Fatal(err)
	}
	certificates := servers.NewCertificates(t, time.Now().Add(time.Hour))
	e := servers.StartExternal(t, servers.ExternalOptions{TLS: certificates, Token: secret.StringData["token"]})
	e.Set("mail", 3)
	host, port, err := net.SplitHostPort(e.Address())
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(certificates.CA)
	options := queue.ConnectOptions{
		Endpoint: queue.Endpoint{Kind: queue.KindExternal, Host: host, Port: port},
		Token:    secret.StringData["token"],
		TLS:      &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: trusted, ServerName: host},
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", e.Address())
		},
		Now: time.Now,
	}
	reader, failure := external.Open(t.Context(), options)
	if failure != nil {
		t.Fatal(failure)
	}
	t.Cleanup(reader.Close)
	source := capacityv1alpha1.ExternalSource{Server: capacityv1alpha1.Server{URL: e.URL()}, Metadata: map[string]capacityv1alpha1.ExternalValue{"queue": "mail"}}
	if depths := readAll(t, reader, &capacityv1alpha1.Queue{Name: "mail", QueueSource: capacityv1alpha1.QueueSource{External: source}}); depths[0] != 3 {
		t.Errorf("backlog %d, want 3", depths[0])
	}
	options.TLS = nil
	if _, failure := external.Open(t.Context(), options); failure == nil || failure.Reason != capacityv1alpha1.ReasonAddressRefused {
		t.Errorf("without TLS: %v, want it refused", failure)
	}
}

func TestSQSPermissionsSuffice(t *testing.T) {
	s := servers.StartSQS(t, servers.SQSOptions{Users: []servers.SQSUser{
		{AccessKeyID: "reader", SecretAccessKey: "change-me", Policy: marked(t, read(t, "docs/queues/aws-sqs.md"), "sqs permissions")}}})
	client, url, message := s.Client(t), s.Create(t, "mail"), "m"
	s.Create(t, "others")
	if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &message}); err != nil {
		t.Fatal(err)
	}
	open := func(ctx context.Context, o queue.ConnectOptions) (queue.Reader, *queue.Failure) {
		o.Endpoint.Scheme, o.Endpoint.Region = "http", servers.SQSRegion
		return sqsqueue.Open(ctx, o)
	}
	named := func(name string) *capacityv1alpha1.Queue {
		return &capacityv1alpha1.Queue{QueueSource: capacityv1alpha1.QueueSource{AwsSQS: capacityv1alpha1.AWSSQSSource{Queue: name, Region: servers.SQSRegion}}}
	}
	reader := connect(t, open, queue.KindSQS, s.Address(), "")
	if depths := readAll(t, reader, named("mail")); depths[0] != 1 {
		t.Errorf("backlog %d, want 1", depths[0])
	}
	failure := reader.Read(t.Context(), []*capacityv1alpha1.Queue{named("others")}, func(_ int, _ queue.Reading, f *queue.Failure) {
		if f == nil || f.Reason != capacityv1alpha1.ReasonPermissionDenied {
			t.Errorf("%v, want other queues denied", f)
		}
	})
	if failure != nil {
		t.Fatal(failure)
	}
}

func TestHTTPReplyIsRead(t *testing.T) {
	h := servers.StartHTTP(t, servers.HTTPOptions{Username: "reader", Password: "change-me"})
	h.Set("/queues/mail", 200, marked(t, read(t, "docs/queues/http.md"), "http reply"))
	source := capacityv1alpha1.HTTPSource{Path: "/queues/mail", DepthPath: "stats.waiting", InFlightPath: "stats.running", ArrivedTotalPath: "stats.arrived_total",
		CompletedTotalPath: "stats.completed_total", OldestAgeSecondsPath: "stats.oldest_age_seconds"}
	mail := &capacityv1alpha1.Queue{QueueSource: capacityv1alpha1.QueueSource{HTTP: source}}
	reader := connect(t, httpqueue.Open, queue.KindHTTP, h.Address(), "")
	failure := reader.Read(t.Context(), []*capacityv1alpha1.Queue{mail}, func(_ int, r queue.Reading, f *queue.Failure) {
		if f != nil || r.Depth != 3 || *r.InFlight != 2 || *r.ArrivedTotal != 1205 || *r.CompletedTotal != 1200 || *r.OldestAge != 2500*time.Millisecond {
			t.Errorf("%+v, %v, want what the page says", r, f)
		}
	})
	if failure != nil {
		t.Fatal(failure)
	}
}
