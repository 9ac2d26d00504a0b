// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var auditStart = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

// auditLine is a line of an audit log, at seconds after auditStart.
func auditLine(at float64, verb, agent, user, subresource string, code int) string {
	received := auditStart.Add(time.Duration(at * float64(time.Second))).Format("2006-01-02T15:04:05.000000Z07:00")
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","stage":"ResponseComplete","verb":%q,"user":{"username":%q},`+
		`"userAgent":%q,"objectRef":{"resource":"deployments","namespace":"demo","name":"chat","apiGroup":"apps","subresource":%q},`+
		`"responseStatus":{"metadata":{},"code":%d},"requestReceivedTimestamp":%q}`, verb, user, agent, subresource, code, received)
}

const (
	operatorUser   = "system:serviceaccount:queuescaler-system:queuescaler"
	controllerUser = "system:serviceaccount:kube-system:deployment-controller"
)

func TestWritesDuringRollout(t *testing.T) {
	rollout := []string{
		auditLine(0, "update", "manager", operatorUser, "scale", 200), // before
		auditLine(10, "patch", deployAgent, "admin", "", 200),
		auditLine(11, "update", "kube-controller-manager", controllerUser, "status", 200),
		auditLine(60, "update", "kube-controller-manager", controllerUser, "status", 200),
		auditLine(60.02, "update", "manager", operatorUser, "scale", 200), // after the end, before the demo saw it
		auditLine(61, "update", "kube-controller-manager", controllerUser, "status", 200),
	}
	tests := []struct {
		name  string
		lines []string
		want  int
	}{
		{"left alone", nil, 0},
		{"scaled", []string{auditLine(30, "update", "manager", operatorUser, "scale", 200)}, 1},
		{"patched by another", []string{auditLine(30, "patch", "kubectl", "admin", "", 200), auditLine(31, "patch", "kubectl", "admin", "scale", 200)}, 2},
		{"refused", []string{auditLine(30, "update", "manager", operatorUser, "scale", 409)}, 0},
		{"read", []string{auditLine(30, "get", "manager", operatorUser, "", 200)}, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.log")
			text := strings.Join(append(test.lines, rollout...), "\n") + "\n{\"half\":"
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			events, err := readAuditLog(path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := writesDuringRollout(events, namespace, appName, deployAgent, auditStart.Add(60100*time.Millisecond))
			if err != nil {
				t.Fatal(err)
			}
			if len(got.writes) != test.want || got.end.Sub(got.start) != 50*time.Second {
				t.Errorf("%d writes in %s, want %d in 50 s", len(got.writes), got.end.Sub(got.start), test.want)
			}
		})
	}
}

func TestRolloutThatTheAuditLogLacks(t *testing.T) {
	if _, err := writesDuringRollout(nil, namespace, appName, deployAgent, auditStart); err == nil {
		t.Error("a log without the rollout must be an error, and not count as no write")
	}
}

func TestRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	text := auditLine(1, "update", "manager", operatorUser, "scale", 403) + "\n" + auditLine(1, "get", "x", "somebody", "", 403) + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	events, err := readAuditLog(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := refused(events, operatorUser); len(got) != 1 || got[0] != "update deployments/scale" {
		t.Errorf("refused %q", got)
	}
}
