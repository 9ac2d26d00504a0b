// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// HeartbeatLabel is on the nodes whose kubelet runs. Without it a node falls silent.
const HeartbeatLabel = "localcluster.queuescaler.io/heartbeat"

// SimulatedLabel is on all simulated nodes, and the key of the taint that they have beside a real one.
const SimulatedLabel = "localcluster.queuescaler.io/simulated"

// api is the little of the Kubernetes API that the supervisor needs, without a client library.
type api struct {
	server string
	token  string
	client *http.Client
}

func (d Dir) newAPI(s state) (*api, error) {
	ca, err := os.ReadFile(d.path("pki", "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &api{
		server: "https://" + localAddress(s.Ports.APIServer),
		token:  s.Tokens["admin"],
		client: &http.Client{
			Timeout:   5 * time.Second,
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
		},
	}, nil
}

// statusError is an answer of the API server that is not a success.
type statusError struct {
	code    int
	message string
}

func (e statusError) Error() string { return fmt.Sprintf("%d: %s", e.code, e.message) }

func hasStatus(err error, code int) bool {
	status, ok := errors.AsType[statusError](err)
	return ok && status.code == code
}

// do sends in, if any, and reads the answer into out, if any.
func (a *api) do(ctx context.Context, method, path, contentType string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, a.server+path, &body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", "localcluster")
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		var status struct{ Message string }
		if json.Unmarshal(answer, &status) != nil || status.Message == "" {
			status.Message = resp.Status
		}
		return statusError{resp.StatusCode, status.Message}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

type object = map[string]any

type node struct {
	Metadata struct {
		Name   string            `json:"name"`
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		Taints []struct{ Key string } `json:"taints"`
	} `json:"spec"`
	Status struct {
		Conditions []struct{ Type, Status string } `json:"conditions"`
	} `json:"status"`
}

func (n node) ready() bool {
	for _, c := range n.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True"
		}
	}
	return false
}

// usable means ready, and seen to be ready by the control plane.
func (n node) usable() bool {
	for _, taint := range n.Spec.Taints {
		if taint.Key == "node.kubernetes.io/not-ready" || taint.Key == "node.kubernetes.io/unreachable" {
			return false
		}
	}
	return n.ready()
}

func (a *api) nodes(ctx context.Context) ([]node, error) {
	var list struct{ Items []node }
	err := a.do(ctx, http.MethodGet, "/api/v1/nodes", "", nil, &list)
	return list.Items, err
}

// createNode makes simulated node number i, counted from 1. One that exists already stays as it is. Beside a real node it is
// tainted, so that only pods which ask for it are simulated.
func (a *api) createNode(ctx context.Context, i int, besideReal bool) error {
	name := fmt.Sprintf("node-%d", i)
	spec := object{}
	if besideReal {
		spec["taints"] = []object{{"key": SimulatedLabel, "effect": "NoSchedule"}}
	}
	// Room for thousands of pods, and little enough that a request can be too large for it.
	room := object{"cpu": "1000", "memory": "4Ti", "ephemeral-storage": "4Ti", "pods": "10000"}
	err := a.do(ctx, http.MethodPost, "/api/v1/nodes", "application/json", object{
		"apiVersion": "v1", "kind": "Node",
		"metadata": object{"name": name, "labels": object{
			HeartbeatLabel:                "on",
			SimulatedLabel:                "",
			"kubernetes.io/hostname":      name,
			"kubernetes.io/os":            "linux",
			"kubernetes.io/arch":          "amd64",
			"topology.kubernetes.io/zone": "zone-" + string(rune('a'+(i-1)%3)),
		}},
		"spec": spec,
		"status": object{
			"capacity": room, "allocatable": room,
			"addresses": []object{
				{"type": "InternalIP", "address": fmt.Sprintf("10.0.%d.%d", i/250, 1+i%250)},
				{"type": "Hostname", "address": name},
			},
			"nodeInfo": object{
				"kubeletVersion": "v1.37.2", "kubeProxyVersion": "", "containerRuntimeVersion": "simulated://",
				"architecture": "amd64", "operatingSystem": "linux", "osImage": "simulated", "kernelVersion": "",
				"bootID": "", "machineID": "", "systemUUID": "",
			},
		},
	}, nil)
	if hasStatus(err, http.StatusConflict) {
		return nil
	}
	return err
}

// SetNode stops or starts a node's kubelet and waits until the control plane sees it NotReady or Ready.
func (d Dir) SetNode(ctx context.Context, name string, run bool) error {
	if running, _ := d.Running(); !running {
		return fmt.Errorf("no cluster is running in %s", d)
	}
	s, err := d.loadState()
	if err != nil {
		return err
	}
	a, err := d.newAPI(s)
	if err != nil {
		return err
	}
	if s.RealNode && name == NodeName {
		request := requestHalt
		if run {
			request = requestResume
		}
		err = d.request(request + " " + NodeKubelet)
	} else {
		err = a.setHeartbeat(ctx, name, run)
	}
	if hasStatus(err, http.StatusNotFound) {
		return a.unknownNode(ctx, name)
	}
	if err != nil {
		return err
	}
	return poll(ctx, 200*time.Millisecond, func() error {
		var n node
		if err := a.do(ctx, http.MethodGet, "/api/v1/nodes/"+name, "", nil, &n); err != nil {
			return err
		}
		if run && !n.usable() || !run && n.ready() {
			return fmt.Errorf("node %s has not changed yet", name)
		}
		return nil
	})
}

// setHeartbeat lets a simulated node report, or silences it.
func (a *api) setHeartbeat(ctx context.Context, name string, run bool) error {
	var label any // null takes it off
	if run {
		label = "on"
	}
	return a.do(ctx, http.MethodPatch, "/api/v1/nodes/"+name, "application/merge-patch+json",
		object{"metadata": object{"labels": object{HeartbeatLabel: label}}}, nil)
}

func (a *api) unknownNode(ctx context.Context, name string) error {
	nodes, err := a.nodes(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, n := range nodes {
		names = append(names, n.Metadata.Name)
	}
	return fmt.Errorf("there is no node %q; there are: %s", name, strings.Join(names, ", "))
}

// poll calls f until it succeeds or ctx ends; then its last error is returned.
func poll(ctx context.Context, every time.Duration, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		case <-time.After(every):
		}
	}
}
