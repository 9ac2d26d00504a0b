// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	eventsv1 "k8s.io/api/events/v1"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

const longMessage = "17 wanted, 12 kept: revision 7 rolling out for 6 min, 9 of 12 updated; 3 slots lent, 0 left. Scale-up resumes at its end or at 14:31. " +
	"Now: kubectl annotate qs chat capacity.queuescaler.io/release-hold=6d5f8c"

func TestNarration(t *testing.T) {
	var out bytes.Buffer
	began := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	n := &narrator{out: &out, now: func() time.Time { return began.Add(75 * time.Second) }}
	n.intro(options{forceGateOpen: true})
	n.begin(began)
	n.act("A backlog", longMessage)
	n.event(&eventsv1.Event{Reason: "SlotsLent", Note: longMessage})
	qs := &v1alpha1.QueueScaler{}
	qs.Status.Summary = v1alpha1.SummaryHeld
	qs.Status.Decision = &v1alpha1.Decision{Reason: "RolloutInProgress", Message: longMessage}
	n.scaler(qs)
	n.scaler(qs)
	event := &eventsv1.Event{Reason: "SlotsLent", Note: "3 slots in service"}
	event.Regarding.Kind = "QueueScaler"
	n.event(event)
	n.progress(began.Add(80*time.Second), sample{backlog: 700, available: 4, replicas: 10, lent: 3}, 1400)
	n.summary(good(totals{sent: 12345, done: 12345}), "out/demo.json", "out/demo.html", false)
	text := out.String()
	for _, line := range strings.Split(text, "\n") {
		if utf8.RuneCountInString(line) > width {
			t.Errorf("wider than %d columns: %q", width, line)
		}
	}
	if strings.Contains(text, "\x1b") {
		t.Error("escape sequences without a terminal")
	}
	for _, want := range []string{
		" 1:15  A BACKLOG\n",
		" 1:15  operator  [Held] 17 wanted, 12 kept: revision 7 rolling out for 6 min, 9\n                 of 12 updated;",
		" 1:15  operator  SlotsLent: 3 slots in service\n",
		" 1:20  backlog     700 ########........   4 of 10 pods + 3 lent\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing %q in\n%s", want, text)
		}
	}
	if strings.Count(text, "[Held]") != 1 {
		t.Error("an unchanged decision was told again, or another object's event")
	}
	if got := n.remarks(); len(got) != 2 {
		t.Errorf("%d remarks of the operator, want 2", len(got))
	}
}

func TestNarrowTable(t *testing.T) {
	got := narrow("NAME   STATUS    BACKLOG   DRAIN   DESIRED   ADVICE   AGE\nchat   Held      680                 10                 65s\n")
	want := []string{"NAME  STATUS  BACKLOG  DRAIN  DESIRED  ADVICE  AGE", "chat  Held    680             10               65s"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
