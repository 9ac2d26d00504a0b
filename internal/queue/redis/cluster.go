// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package redisq

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

const (
	// slotCount is the number of hash slots of a Redis Cluster.
	slotCount = 16384
	// nodesMost bounds the nodes of a cluster that are known, each with at most one connection.
	nodesMost = 512
	// redirectionsMost is how often a command is sent anew because its key is elsewhere.
	redirectionsMost = 5
	// layoutGap is the time between two questions for the layout.
	layoutGap = time.Second
	// othersMost is how many other nodes are asked for the layout where the url's does not tell it.
	othersMost = 3
)

// cluster is what is known of a Redis Cluster: which node has which slots.
type cluster struct {
	reader *reader
	// lost is why no node tells the layout any more.
	lost atomic.Pointer[queue.Failure]

	running context.Context
	stop    context.CancelFunc
	wait    sync.WaitGroup

	mu     sync.Mutex
	nodes  map[string]*node
	owners [slotCount]*node
	// asking is true while the layout is asked for, askedAt when that began last.
	asking  bool
	askedAt time.Time
}

// slotRange is a range of slots, and the address of the master that has it.
type slotRange struct {
	first, last int
	address     string
}

func openCluster(ctx context.Context, r *reader) (*cluster, *queue.Failure) {
	c := &cluster{reader: r, nodes: map[string]*node{}}
	c.running, c.stop = context.WithCancel(context.Background())
	layout, failure := c.layoutFrom(ctx, r.home)
	if failure != nil {
		c.stop()
		return nil, failure
	}
	c.apply(layout)
	return c, nil
}

// layoutFrom asks a node for the layout.
func (c *cluster) layoutFrom(ctx context.Context, n *node) ([]slotRange, *queue.Failure) {
	slots := &command{use: layout, name: "CLUSTER SLOTS"}
	n.ask(ctx, []*command{slots})
	if slots.failure != nil {
		return nil, slots.failure
	}
	if text, isReply := errorReply(slots.reply.Err()); isReply {
		return nil, layoutFailure(text)
	}
	host, _, _ := net.SplitHostPort(n.address)
	ranges, ok := parseSlots(slots.reply.Val(), host)
	if !ok {
		return nil, invalid("CLUSTER SLOTS")
	}
	return ranges, nil
}

func layoutFailure(text string) *queue.Failure {
	switch {
	case strings.HasPrefix(text, "NOPERM"):
		return queue.Fail(capacityv1alpha1.ReasonPermissionDenied, "Permit it to the user of the Secret: ACL SETUSER ... +cluster|slots", "denying CLUSTER SLOTS")
	case strings.HasPrefix(text, "ERR This instance has cluster support disabled"):
		return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Remove redis.topology, or give the url of a node of the cluster", "no node of a Redis Cluster")
	}
	return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Try CLUSTER SLOTS with redis-cli", "answering CLUSTER SLOTS with an error")
}

// parseSlots reads the reply to CLUSTER SLOTS of the node at host: first and last slot, the master, replicas. A master without a name is at that host.
func parseSlots(v any, host string) ([]slotRange, bool) {
	list, ok := v.([]any)
	if !ok {
		return nil, false
	}
	ranges := make([]slotRange, 0, len(list))
	for _, one := range list {
		fields, ok := one.([]any)
		if !ok || len(fields) < 3 {
			return nil, false
		}
		first, ok := fields[0].(int64)
		last, ok2 := fields[1].(int64)
		master, ok3 := fields[2].([]any)
		if !ok || !ok2 || !ok3 || first < 0 || last < first || last >= slotCount || len(master) < 2 {
			return nil, false
		}
		name, _ := master[0].(string)
		port, ok := master[1].(int64)
		address, ok2 := addressOf(name, strconv.FormatInt(port, 10), host)
		if !ok || !ok2 {
			return nil, false
		}
		ranges = append(ranges, slotRange{int(first), int(last), address})
	}
	return ranges, true
}

// addressOf is host:port as a server told it. One without a name means its own host.
func addressOf(name, port, host string) (string, bool) {
	if name == "" {
		name = host
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || len(name) > 253 || !queue.IsHost(name) {
		return "", false
	}
	return net.JoinHostPort(name, port), true
}

// apply takes over a layout. Nodes that have no slots any more end when what they are asked is answered.
func (c *cluster) apply(layout []slotRange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owners = [slotCount]*node{}
	used := map[string]bool{}
	for _, r := range layout {
		n := c.known(r.address)
		if n == nil {
			continue
		}
		used[r.address] = true
		for slot := r.first; slot <= r.last; slot++ {
			c.owners[slot] = n
		}
	}
	for address, n := range c.nodes {
		if !used[address] {
			delete(c.nodes, address)
			c.wait.Go(func() {
				n.mu.Lock()
				defer n.mu.Unlock()
				n.close()
			})
		}
	}
}

// known is the node at an address, nil where there would be too many. The mutex is held.
func (c *cluster) known(address string) *node {
	n := c.nodes[address]
	if n == nil && len(c.nodes) < nodesMost && c.running.Err() == nil {
		n = c.reader.toldNode(c.reader.home, address)
		c.nodes[address] = n
	}
	return n
}

// nodeOf is the node to ask; nil where no node has the slot, which is then the command's failure.
func (c *cluster) nodeOf(cmd *command) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.owners[slotOf(cmd.key)]
	if cmd.elsewhere != "" {
		n = c.known(cmd.elsewhere)
	}
	if n == nil {
		cmd.failure = queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "See redis-cli --cluster check", "a cluster in which no node has the slot of key %q,", cmd.key)
		c.refresh()
	}
	cmd.node = n
	return n
}

// follow looks at the answer to a command, and is true where its key is at another node.
func (c *cluster) follow(cmd *command) (again bool) {
	asked := cmd.node
	cmd.elsewhere, cmd.asking = "", false
	if asked == nil {
		return false
	}
	if cmd.failure != nil {
		return c.forsaken(cmd, asked)
	}
	text, isReply := errorReply(cmd.reply.Err())
	if !isReply {
		return false
	}
	host, _, _ := net.SplitHostPort(asked.address)
	r, ok := parseRedirection(text, host)
	if !ok {
		if strings.HasPrefix(text, "CLUSTERDOWN") {
			c.mu.Lock()
			c.refresh()
			c.mu.Unlock()
		}
		return false
	}
	if cmd.redirections++; cmd.redirections > redirectionsMost {
		return false
	}
	cmd.elsewhere, cmd.asking = r.address, r.asking
	if !r.asking {
		c.mu.Lock()
		if n := c.known(r.address); n != nil {
			c.owners[r.slot] = n
		}
		c.refresh()
		c.mu.Unlock()
	}
	return true
}

// forsaken is what becomes of a command whose node fails: it fails alone, and again is true where it may have another node.
func (c *cluster) forsaken(cmd *command, asked *node) (again bool) {
	if cmd.alone {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refresh()
	if asked.isClosed() && c.running.Err() == nil && cmd.redirections < redirectionsMost {
		// It lost its slots since the command was sent its way.
		cmd.failure = nil
		cmd.redirections++
		return true
	}
	own := *cmd.failure
	own.Subject = fmt.Sprintf("the node of %s with key %q", c.reader.options.Endpoint.URL(), cmd.key)
	if rejects(&own) {
		own.Remedy = "Let its ACL accept the Secret's user as those of the other nodes do: a cluster does not copy users from node to node"
	}
	cmd.failure = &own
	return false
}

func rejects(f *queue.Failure) bool {
	return f != nil && f.Reason == capacityv1alpha1.ReasonAuthenticationFailed
}

// rejection is the failure of the whole cluster where every node that was asked rejects the credentials; nil where one does not.
func (c *cluster) rejection() (failure *queue.Failure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		failed := n.failed.Load()
		switch {
		case rejects(failed):
			failure = failed
		case failed != nil || n.open.Load() > 0:
			return nil
		}
	}
	return failure
}

// anyRejects is true where a node with slots rejects the credentials.
func (c *cluster) anyRejects() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		if rejects(n.failed.Load()) {
			return true
		}
	}
	return false
}

// redirection is where a key is: for good, or while its slot is on its way, and then only to be asked for after ASKING.
type redirection struct {
	asking  bool
	slot    int
	address string
}

// parseRedirection reads MOVED and ASK, as the node at host answers them.
func parseRedirection(text, host string) (r redirection, ok bool) {
	words := strings.Fields(text)
	if len(words) != 3 || words[0] != "MOVED" && words[0] != "ASK" {
		return r, false
	}
	slot, err := strconv.ParseUint(words[1], 10, 16)
	colon := strings.LastIndexByte(words[2], ':')
	if err != nil || slot >= slotCount || colon < 0 {
		return r, false
	}
	address, ok := addressOf(strings.Trim(words[2][:colon], "[]"), words[2][colon+1:], host)
	return redirection{words[0] == "ASK", int(slot), address}, ok
}

// refresh asks for the layout in the background, unless that is done or was a moment ago. The mutex is held.
func (c *cluster) refresh() {
	if c.asking || time.Since(c.askedAt) < layoutGap || c.running.Err() != nil {
		return
	}
	c.asking, c.askedAt = true, time.Now()
	c.wait.Go(func() {
		layout, failure := c.anyLayout()
		if failure == nil {
			c.apply(layout)
		} else if c.running.Err() == nil {
			c.lost.Store(failure)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.asking = false
	})
}

// anyLayout asks the url's node, then others. Where the url's rejects the credentials and is not alone with it, they are wrong.
func (c *cluster) anyLayout() ([]slotRange, *queue.Failure) {
	layout, failure := c.layoutFrom(c.running, c.reader.home)
	if failure == nil {
		return layout, nil
	}
	if rejects(failure) && c.anyRejects() {
		return nil, failure
	}
	c.mu.Lock()
	others := make([]*node, 0, len(c.nodes))
	for _, n := range c.nodes {
		if n.open.Load() > 0 {
			others = append(others, n)
		}
	}
	c.mu.Unlock()
	rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	for _, n := range others[:min(len(others), othersMost)] {
		if layout, failure := c.layoutFrom(c.running, n); failure == nil {
			return layout, nil
		}
	}
	return nil, failure
}

func (c *cluster) connections() (open int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		open += n.open.Load()
	}
	return open
}

func (c *cluster) close() {
	c.stop()
	c.mu.Lock()
	nodes := c.nodes
	c.nodes = nil
	c.mu.Unlock()
	for _, n := range nodes {
		n.close()
	}
	c.wait.Wait()
}

// slotOf is the hash slot of a key, or of what it has in its first braces.
func slotOf(key string) int {
	if _, after, found := strings.Cut(key, "{"); found {
		if tag, _, closed := strings.Cut(after, "}"); closed && tag != "" {
			key = tag
		}
	}
	var crc uint16 // CRC-16/XMODEM
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			carry := crc & 0x8000
			crc <<= 1
			if carry != 0 {
				crc ^= 0x1021
			}
		}
	}
	return int(crc) % slotCount
}
