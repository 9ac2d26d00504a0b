// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// imagined is a record of a story that could have been.
func imagined() *recorder {
	began := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	at := func(s float64) time.Time { return began.Add(time.Duration(s * float64(time.Second))) }
	r := &recorder{began: began}
	backlog := 0.0
	for s := 0.0; s < 230; s += 0.25 {
		x := sample{at: at(s), rate: calmRate, replicas: 4, desired: 4, warm: 3}
		switch {
		case s < 25:
			x.rate, x.warm = 0, 0
		case s < 57:
			x.available, x.warm = 4, 0
		case s < 63:
			x.available = 4
		case s < 90:
			x.available, x.replicas, x.desired, x.lent, x.warm = 4, 10, 10, 3, 0
		case s < 100:
			x.available, x.replicas, x.desired, x.warm = 10, 10, 10, 0
		case s < 135:
			x.available = 4
		case s < 137:
			x.available, x.rate, x.desired = 4, busyRate, 10
		case s < 171:
			x.available, x.rate, x.desired, x.lent, x.warm = 4, busyRate, 10, 3, 0
		case s < 197:
			x.available, x.replicas, x.rate, x.desired, x.lent, x.warm = 4, 10, busyRate, 10, 3, 0
		default:
			x.available, x.replicas, x.desired, x.bad = 10, 10, 10, int(s-197)/3
		}
		x.serving = x.available + x.lent
		x.capacity = x.serving * perPod
		if s == 62 {
			backlog += burst
		}
		if s == 135 {
			backlog += rolloutBurst
		}
		backlog = max(backlog+(float64(x.rate)-float64(x.serving*perPod))/4, 0)
		x.backlog = int64(backlog)
		r.samples = append(r.samples, x)
	}
	r.markAt(at(57), "3 slots warm")
	r.markAt(at(62), "1480 messages at once")
	r.markAt(at(63.1), "3 lent slots at work, 1.1 s after the backlog")
	r.markAt(at(87), "first added pod of the Deployment Ready, 25.4 s after the backlog")
	r.markAt(at(90), "slots returned")
	r.markAt(at(120), "rollout starts")
	r.markAt(at(135), "1370 messages at once, and 50/s")
	r.markAt(at(137), "held, slots lent")
	r.markAt(at(171), "rollout over")
	r.markAt(at(171.2), "scaling resumes")
	r.markAt(at(204), "backlog worked off, 16/s")
	r.marks = append(r.marks, mark{at(228), "regression found", "Regressed, RollBack:2"})
	r.rolledOut(at(120), at(171), "rollout: held")
	r.rolledOut(at(200), at(225), "revision 3")
	return r
}

func TestPage(t *testing.T) {
	r := imagined()
	path := filepath.Join(t.TempDir(), "demo.html")
	res := good(totals{sent: 9000, done: 9000, bySlots: 1500, verified: 1500})
	said := []remark{{r.began.Add(63 * time.Second), "SlotsLent: 3 slots <of> revision 1"}}
	if err := r.writePage(path, res, said); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	if found := regexp.MustCompile(`(?i)(https?:|src=|href=|@import|url\(|<script)`).FindString(text); found != "" {
		t.Errorf("not self-contained: %s", found)
	}
	for _, want := range []string{`class="rollout"`, `class="backlog-area"`, `class="lent-area"`, `class="bad-area"`, `class="dot alarm"`, ">Regressed, RollBack:2</text>", "revision 3</text>", `class="desired-line"`, `class="never-area"`, "All checks hold.",
		"SlotsLent: 3 slots &lt;of&gt; revision 1", "1370 messages at once, and 50/s", "objective: 50 s"} {
		if !strings.Contains(text, want) {
			t.Errorf("missing %s", want)
		}
	}
	if strings.Contains(text, "NaN") {
		t.Error("a coordinate is not a number")
	}
	svg := text[strings.Index(text, "<svg") : strings.Index(text, "</svg>")+len("</svg>")]
	for decoder := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the picture is not well-formed: %v", err)
		}
	}
	if keep := os.Getenv("DEMO_PAGE"); keep != "" { // to look at it
		if err := os.WriteFile(keep, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
