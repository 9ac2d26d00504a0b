// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// startTimeout bounds how long a component may take to become ready, on a slow and busy machine.
const startTimeout = 3 * time.Minute

// Options say how to run a cluster.
type Options struct {
	APIServerPort   int     // 0 means the remembered one, or any
	Nodes           int     // simulated nodes to have at least
	PodReadySeconds float64 // from the start of a simulated pod's containers until it is Ready

	RealNode bool // run a real node too; it takes the namespaces that package node makes

	Out io.Writer `json:"-"`
	// Use is called once everything is ready; the cluster ends when it returns. It has to return when ctx ends.
	Use func(ctx context.Context) `json:"-"`
}

// Validate says which flag is wrong.
func (o Options) Validate() error {
	switch {
	case o.APIServerPort < 0 || o.APIServerPort > 65535:
		return fmt.Errorf("--apiserver-port is %d: it must lie between 0 (any) and 65535", o.APIServerPort)
	case o.RealNode && (o.Nodes < 0 || o.Nodes > 1000):
		return fmt.Errorf("--nodes is %d: it must lie between 0 and 1000", o.Nodes)
	case !o.RealNode && (o.Nodes < 1 || o.Nodes > 1000):
		return fmt.Errorf("--nodes is %d: it must lie between 1 and 1000", o.Nodes)
	case !(o.PodReadySeconds >= 0 && o.PodReadySeconds <= 86400):
		return fmt.Errorf("--pod-ready-seconds is %g: it must lie between 0 and 86400", o.PodReadySeconds)
	}
	return nil
}

type supervisor struct {
	dir      Dir
	opts     Options
	api      *api
	began    time.Time
	cancel   context.CancelCauseFunc // ends the cluster; the cause is the error to report, nil when it was asked for
	children []*child
	done     []chan struct{} // one for each child: closed when its run has returned
}

// Up runs the cluster until ctx ends, Stop is asked for, or a component cannot be kept running, which is an error.
func Up(ctx context.Context, dir Dir, opts Options) error {
	if err := opts.Validate(); err != nil {
		return err
	}
	lock, err := dir.Lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	return Run(ctx, dir, opts)
}

// Run is Up for a caller that holds the lock of the directory and has validated the options.
func Run(ctx context.Context, dir Dir, opts Options) error {
	s, err := dir.prepare(opts)
	if err != nil {
		return err
	}
	a, err := dir.newAPI(s)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sup := &supervisor{dir: dir, opts: opts, api: a, began: time.Now(), cancel: cancel}
	control, err := sup.serveControl()
	if err != nil {
		return err
	}
	defer control.Close()
	if !opts.RealNode { // its parts end with their namespaces, at once
		defer sup.stop()
	}

	components := dir.components(s.Ports, opts)
	if opts.RealNode {
		components = append(components, dir.nodeComponents()...)
	}
	if err := sup.bringUp(ctx, components); err != nil {
		if ctx.Err() != nil {
			return cmp.Or(failure(ctx), errors.New("stopped before it was ready"))
		}
		return err
	}
	fmt.Fprintf(opts.Out, "Ready in %.1f s.\n", time.Since(sup.began).Seconds())
	if err := writeFile(dir.ReadyFile(), ""); err != nil {
		return err
	}
	opts.Use(ctx)
	return failure(ctx)
}

// failure is why a component failure ended ctx; nil when ctx ended because somebody asked for it.
func failure(ctx context.Context) error {
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// prepare writes every file that the components read.
func (d Dir) prepare(opts Options) (state, error) {
	os.Remove(d.ReadyFile())
	s, err := d.loadState()
	if err != nil {
		return s, err
	}
	if s.RealNode && !opts.RealNode {
		return s, fmt.Errorf("%s holds a cluster with a real node: choose another --data-dir, or remove it", d)
	}
	s.RealNode = opts.RealNode
	if opts.RealNode {
		if err := d.writeNodeFiles(); err != nil {
			return s, err
		}
	}
	if err := choosePorts(&s.Ports, opts.APIServerPort); err != nil {
		return s, err
	}
	if err := d.writeIdentity(&s); err != nil {
		return s, err
	}
	for _, name := range Components() {
		if err := shorten(d.Log(name)); err != nil {
			return s, err
		}
	}
	return s, errors.Join(
		writeFile(d.path("audit-policy.yaml"), auditPolicy),
		writeFile(d.path("scheduler.yaml"), d.schedulerConfig()),
		d.saveState(s),
	)
}

// shorten sets a log aside that earlier runs have made large, so that logs do not grow for ever.
func shorten(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil || info.Size() < 20<<20 {
		return err
	}
	return os.Rename(path, path+".old")
}

func (s *supervisor) bringUp(ctx context.Context, components []component) error {
	byName := map[string]component{}
	for _, c := range components {
		byName[c.name] = c
	}
	for _, wave := range waves(s.opts) {
		for _, name := range wave {
			s.launch(byName[name])
		}
		for _, name := range wave {
			if byName[name].health == "" {
				continue
			}
			if err := s.await(ctx, name, func() error { return s.ask(ctx, byName[name].health) }); err != nil {
				return err
			}
		}
		if slices.Contains(wave, APIServer) {
			if err := s.createNodes(ctx); err != nil {
				return err
			}
		}
		if slices.Contains(wave, Containerd) {
			if err := LoadImages(ctx, s.dir.NodePath("pause.tar")); err != nil {
				return err
			}
		}
	}
	return s.await(ctx, "nodes", func() error { return s.usable(ctx) })
}

// waves are the components to start, those of a wave at once.
func waves(opts Options) [][]string {
	if !opts.RealNode {
		return [][]string{{Etcd, APIServer}, {ControllerManager, Scheduler, Kubelet}}
	}
	all := [][]string{{Etcd, APIServer, Containerd}, {ControllerManager, Scheduler, KubeProxy, NodeKubelet}}
	if opts.Nodes > 0 {
		all = append(all, []string{Kubelet})
	}
	return all
}

// await reports a part as soon as it is ready.
func (s *supervisor) await(ctx context.Context, what string, ready func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not ready within %s", startTimeout))
	defer cancel()
	if err := poll(ctx, 50*time.Millisecond, ready); err != nil {
		return fmt.Errorf("%s: %w. Its log: %s", what, err, s.dir.Log(what))
	}
	fmt.Fprintf(s.opts.Out, "  %-24s ready  %5.1f s\n", what, time.Since(s.began).Seconds())
	return nil
}

func (s *supervisor) launch(c component) {
	child := &child{component: c, log: s.dir.Log(c.name), say: s.say}
	done := make(chan struct{})
	s.children, s.done = append(s.children, child), append(s.done, done)
	go func() {
		defer close(done)
		if err := child.run(); err != nil {
			s.cancel(err)
		}
	}()
}

func (s *supervisor) say(format string, args ...any) {
	fmt.Fprintf(s.opts.Out, "%s "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
}

func (s *supervisor) createNodes(ctx context.Context) error {
	for i := range s.opts.Nodes {
		if err := s.api.createNode(ctx, i+1, s.opts.RealNode); err != nil {
			return fmt.Errorf("create node-%d: %w", i+1, err)
		}
	}
	return nil
}

// usable succeeds when a pod could be created and run: the nodes are ready, and the default service account is there.
func (s *supervisor) usable(ctx context.Context) error {
	nodes, err := s.api.nodes(ctx)
	if err != nil {
		return err
	}
	var missing []string
	if s.opts.RealNode && !slices.ContainsFunc(nodes, func(n node) bool { return n.Metadata.Name == NodeName }) {
		missing = append(missing, NodeName)
	}
	for _, n := range nodes {
		_, runs := n.Metadata.Labels[HeartbeatLabel]
		if (runs || n.Metadata.Name == NodeName) && !n.usable() {
			missing = append(missing, n.Metadata.Name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not ready: %s", strings.Join(missing, ", "))
	}
	return s.api.do(ctx, http.MethodGet, "/api/v1/namespaces/default/serviceaccounts/default", "", nil, nil)
}

// ask succeeds when a health endpoint answers 200. The endpoints are on the loopback and tell no secrets; the scheduler's and
// the controller manager's certificates are self-signed and made at each start.
func (s *supervisor) ask(ctx context.Context, url string) error {
	if url == "" {
		return nil
	}
	if socket, ok := strings.CutPrefix(url, "unix:"); ok {
		conn, err := net.DialTimeout("unix", socket, 5*time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := healthClient.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}

var healthClient = &http.Client{
	Timeout: 5 * time.Second,
	Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DisableKeepAlives: true,
	},
}

// stop ends the children, the last started first.
func (s *supervisor) stop() {
	os.Remove(s.dir.ReadyFile())
	for i := len(s.children) - 1; i >= 0; i-- {
		s.children[i].stop()
		<-s.done[i]
	}
}

// restart ends one component, and returns when everything is healthy again.
func (s *supervisor) restart(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not ready within %s", startTimeout))
	defer cancel()
	named, err := s.child(name)
	if err != nil {
		return err
	}
	if named.isHalted() {
		return fmt.Errorf("%s is stopped: start the node first, with 'localcluster node start %s'", name, NodeName)
	}
	if err := named.restart(ctx, s.ask); err != nil {
		return err
	}
	for _, c := range s.children {
		if c.isHalted() {
			continue
		}
		if err := poll(ctx, 50*time.Millisecond, func() error { return s.ask(ctx, c.health) }); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// setHalted kills a component and keeps it from running, or lets it run again.
func (s *supervisor) setHalted(name string, halted bool) error {
	c, err := s.child(name)
	if err != nil {
		return err
	}
	if halted {
		c.halt()
	} else {
		c.resume()
	}
	return nil
}

func (s *supervisor) child(name string) (*child, error) {
	var names []string
	for _, c := range s.children {
		if c.name == name {
			return c, nil
		}
		names = append(names, c.name)
	}
	return nil, fmt.Errorf("this cluster has no %s; it has: %s", name, strings.Join(names, ", "))
}
