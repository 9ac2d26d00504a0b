// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/test/servers"
)

// streams are what the consumers are spread over.
const streams = 10

// serveNATS serves until the end of in. It prints its url, and for each line of in how many messages came from clients so far.
func serveNATS(in io.Reader, out io.Writer) error {
	n, err := servers.NewNATS(servers.NATSOptions{})
	if err != nil {
		return err
	}
	defer n.Close()
	if err := n.Start(); err != nil {
		return err
	}
	fmt.Fprintln(out, n.URL())
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		v, err := n.Server.Varz(&server.VarzOptions{})
		if err != nil {
			return err
		}
		fmt.Fprintln(out, v.InMsgs)
	}
	return lines.Err()
}

// natsChild is a NATS server in another process, so that its work is not counted as ours: it is a library, and would be part of this one.
type natsChild struct {
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
}

func (c *natsChild) line() (string, error) {
	text, err := c.out.ReadString('\n')
	return strings.TrimSpace(text), err
}

func (c *natsChild) messages(context.Context) (int64, error) {
	if _, err := fmt.Fprintln(c.in); err != nil {
		return 0, err
	}
	text, err := c.line()
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

func (c *natsChild) close() {
	_ = c.in.Close()
	_ = c.command.Wait()
}

func startNATS(ctx context.Context, queues int) (*running, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &natsChild{command: exec.Command(self, "-serve-nats")}
	c.command.Stderr = os.Stderr
	if c.in, err = c.command.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if err := c.command.Start(); err != nil {
		return nil, err
	}
	url, err := c.line()
	if err == nil {
		err = fillNATS(ctx, url, queues)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return &running{
		source: func(i int) capacityv1alpha1.QueueSource {
			return capacityv1alpha1.QueueSource{NATSJetStream: capacityv1alpha1.NATSJetStreamSource{
				Server: capacityv1alpha1.Server{URL: url}, Stream: fmt.Sprint("S", i%streams), Consumer: fmt.Sprint("C", i)}}
		},
		requests: c.messages, close: c.close,
	}, nil
}

func fillNATS(ctx context.Context, url string, queues int) error {
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	for s := range streams {
		name := fmt.Sprint("S", s)
		if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name}, Storage: jetstream.MemoryStorage}); err != nil {
			return err
		}
		for range s % (messagesMost + 1) {
			if _, err := js.Publish(ctx, name, []byte("m")); err != nil {
				return err
			}
		}
	}
	for i := range queues {
		if _, err := js.CreateConsumer(ctx, fmt.Sprint("S", i%streams), jetstream.ConsumerConfig{Durable: fmt.Sprint("C", i), AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
			return err
		}
	}
	return nil
}
