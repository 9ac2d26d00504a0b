// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

const (
	width = 80
	// who said it is printed in front of every line of the story, after the time.
	whoWidth    = 9
	indentWidth = 7 + whoWidth + 1
)

// narrator prints the story, in lines of at most 80 columns that are only ever appended. In a terminal it uses colors.
type narrator struct {
	out    io.Writer
	colors bool
	now    func() time.Time

	mu    sync.Mutex
	began time.Time // zero while setting up
	// last is the summary and reason of the QueueScaler that was told last.
	last string
	told []remark // what the operator said, for the page
}

// remark is something that the operator said.
type remark struct {
	at   time.Time
	text string
}

func newNarrator(out *os.File) *narrator {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &narrator{out: out, colors: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb", now: time.Now}
}

const (
	bold   = "1"
	dim    = "2"
	green  = "32"
	red    = "31"
	blue   = "34"
	yellow = "33"
)

func (n *narrator) color(code, text string) string {
	if !n.colors {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (n *narrator) print(text string) {
	fmt.Fprintln(n.out, text)
}

func (n *narrator) intro(o options) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.print(n.color(bold, "QueueScaler, demonstrated. About 5 minutes."))
	for _, line := range wrap("Real: etcd, the Kubernetes control plane, the NATS JetStream server, every message, and the operator, "+
		"which runs as it ships. Simulated: the nodes and what runs in the pods.", width) {
		n.print(line)
	}
	if o.forceGateOpen {
		n.print(n.color(red, "The consumers in the slots ignore their gate: the checks at the end must fail."))
	}
}

func (n *narrator) heading(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.print("\n" + n.color(bold, text))
}

// detail prints a line of the set-up.
func (n *narrator) detail(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	text = strings.TrimSpace(text)
	if text == "" || !n.began.IsZero() {
		return
	}
	if len(text) <= width-2 {
		n.print("  " + text)
		return
	}
	for _, line := range wrap(text, width-2) {
		n.print("  " + line)
	}
}

// begin starts the story's clock.
func (n *narrator) begin(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.began = now
}

// act prints the title of a part of the story, and what happens in it.
func (n *narrator) act(title, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.print("\n" + n.clock(n.now()) + n.color(bold, strings.ToUpper(title)))
	for _, line := range wrap(text, width-7) {
		n.print(strings.Repeat(" ", 7) + line)
	}
	n.print("")
}

// say prints who does what.
func (n *narrator) say(who, format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.line(n.now(), who, fmt.Sprintf(format, args...))
}

func (n *narrator) line(at time.Time, who, text string) {
	code := map[string]string{"operator": green, "queue": yellow, "pods": blue, "slots": blue}[who]
	head := n.clock(at) + n.color(code, fmt.Sprintf("%-*s", whoWidth, who)) + " "
	for _, line := range wrap(text, width-indentWidth) {
		n.print(head + line)
		head = strings.Repeat(" ", indentWidth)
	}
}

// clock is the time of the story, seven columns wide.
func (n *narrator) clock(at time.Time) string {
	return n.color(dim, fmt.Sprintf("%5s  ", clockText(at.Sub(n.began))))
}

func clockText(d time.Duration) string {
	s := max(int(d.Seconds()), 0)
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// event prints an event that the operator sent about the QueueScaler. Events of others are not of the story.
func (n *narrator) event(e *eventsv1.Event) {
	if e.Regarding.Kind != "QueueScaler" {
		return
	}
	note := e.Note
	if condition, rest, ok := strings.Cut(note, ": "); ok && !strings.Contains(condition, " ") {
		if condition == v1alpha1.ConditionScalingLimited {
			return // that a calm queue needs fewer pods than minReplicas is not of the story
		}
		if condition == v1alpha1.ConditionThroughputRegressed && e.Type == corev1.EventTypeWarning {
			return // the advice has it all, and comes with it
		}
		note = rest
	}
	n.operator(fmt.Sprintf("%s: %s", e.Reason, note))
}

// scaler prints the operator's decision when it comes to keep the replicas as they are for a reason. Of what it does it sends
// events.
func (n *narrator) scaler(qs *v1alpha1.QueueScaler) {
	d := qs.Status.Decision
	if d == nil {
		return
	}
	this := string(qs.Status.Summary) + " " + d.Reason
	n.mu.Lock()
	same := this == n.last
	n.last = this
	n.mu.Unlock()
	switch qs.Status.Summary {
	case v1alpha1.SummaryHealthy, v1alpha1.SummaryScaling, v1alpha1.SummaryLending, v1alpha1.SummaryRegressed:
		return // of a regression, the advice is what matters
	}
	if !same {
		n.operator(fmt.Sprintf("[%s] %s", qs.Status.Summary, d.Message))
	}
}

func (n *narrator) operator(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	n.told = append(n.told, remark{now, text})
	n.line(now, "operator", text)
}

// remarks are what the operator said so far.
func (n *narrator) remarks() []remark {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]remark(nil), n.told...)
}

// progress prints how things stand.
func (n *narrator) progress(at time.Time, x sample, highest int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	const bar = 16
	filled := int(min(x.backlog, highest) * bar / max(highest, 1))
	if x.backlog > 0 {
		filled = max(filled, 1)
	}
	text := fmt.Sprintf("%5d %s%s  %2d of %2d pods", x.backlog, strings.Repeat("#", filled), strings.Repeat(".", bar-filled), x.available, x.replicas)
	if x.lent > 0 {
		text += fmt.Sprintf(" + %d lent", x.lent)
	}
	n.print(n.clock(at) + n.color(dim, fmt.Sprintf("%-*s ", whoWidth, "backlog")+text))
}

// command prints one that somebody runs.
func (n *narrator) command(command string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.print(n.color(dim, "$ ") + n.color(bold, command) + "\n")
}

// table prints the output of a command, with columns two apart so that it fits.
func (n *narrator) table(command, output string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.print("")
	n.print(n.color(dim, "$ "+command))
	for _, line := range narrow(output) {
		n.print(n.color(bold, line))
	}
	n.print("")
}

// narrow lays kubectl's table out with two spaces between columns. The header tells where its columns begin.
func narrow(table string) []string {
	rows := strings.Split(strings.TrimRight(table, "\n"), "\n")
	header := rows[0]
	var starts []int
	for i := range header {
		if header[i] != ' ' && (i == 0 || header[i-1] == ' ') {
			starts = append(starts, i)
		}
	}
	cells := make([][]string, len(rows))
	widths := make([]int, len(starts))
	for r, row := range rows {
		for c, from := range starts {
			to := len(row)
			if c+1 < len(starts) {
				to = min(starts[c+1], len(row))
			}
			cell := strings.TrimSpace(row[min(from, len(row)):to])
			cells[r] = append(cells[r], cell)
			widths[c] = max(widths[c], len(cell))
		}
	}
	var out []string
	for _, row := range cells {
		line := ""
		for c, cell := range row {
			line += fmt.Sprintf("%-*s  ", widths[c], cell)
		}
		out = append(out, strings.TrimRight(line, " "))
	}
	return out
}

// summary prints the results.
func (n *narrator) summary(r *result, jsonPath, pagePath string, keep bool) {
	n.heading("Summary")
	n.mu.Lock()
	defer n.mu.Unlock()
	n.print("  From a backlog to added capacity in service:")
	n.print(n.color(bold, fmt.Sprintf("    with standby     %5.1f s", r.CapacityWithStandby)) +
		fmt.Sprintf("   all %d slots at work, the first after %.1f s", r.SlotsLent, r.FirstSlotInService))
	n.print(n.color(bold, fmt.Sprintf("    without standby  %5.1f s", r.CapacityWithoutStandby)) +
		"   the first pod that the Deployment added, same run")
	n.print(fmt.Sprintf("  Writes to the Deployment during the rollout of %d s: %d (audit log)", int(r.RolloutSeconds), r.TargetWrites))
	n.print(fmt.Sprintf("  A revision that does half as much: found %.0f s after its rollout, while it", r.RegressionFound))
	n.print(fmt.Sprintf("    had more work than it could do; advice: roll back to revision %d;", r.AdvisedRevision))
	n.print(fmt.Sprintf("    cured %.0f s after the command that was advised", r.RollbackCured))
	n.print(fmt.Sprintf("  Messages: %d sent, %d done, %d lost, %d redelivered", r.MessagesSent, r.MessagesDone, r.MessagesLost, r.MessagesRedelivered))
	n.print(fmt.Sprintf("    %d by slots, each looked up: %d while the slot was not lent", r.MessagesTakenBySlots, r.MessagesTakenByUnlent))
	n.print(fmt.Sprintf("  Slots warm at the end: %d of %d", r.SlotsWarm, r.SlotsWanted))
	if len(r.ChecksFailed) == 0 {
		n.print("  " + n.color(green, "All checks hold."))
	} else {
		n.print("  " + n.color(red, fmt.Sprintf("%d checks do not hold.", len(r.ChecksFailed))))
	}
	n.print("\n  Numbers: " + jsonPath + "\n  Picture: " + pagePath)
	if !keep {
		n.print("  To look around yourself: KEEP=1 make demo")
	}
}

// lookAround says what can be done with what still runs.
func (n *narrator) lookAround(clusterDir, natsURL, localcluster string) {
	n.heading("Everything is still running. Ctrl-C stops and removes it.")
	n.mu.Lock()
	defer n.mu.Unlock()
	n.print("  In another terminal, in this directory:\n")
	n.print("    export LOCALCLUSTER_DATA_DIR=" + clusterDir)
	n.print("    alias kubectl=\"$PWD/" + localcluster + " kubectl\"\n")
	for _, command := range []string{
		"kubectl get qs -n demo --watch",
		"kubectl describe qs chat -n demo",
		"kubectl get pods -n demo -L capacity.queuescaler.io/role",
		"kubectl events -n demo --for queuescaler/chat",
		"kubectl rollout restart deployment chat -n demo",
		"kubectl scale deployment chat -n demo --replicas=6",
	} {
		n.print("    " + command)
	}
	n.print("\n  The queue: " + natsURL + ", stream " + streamName + ", consumer " + consumerName)
	n.print("  What the operator says goes on below.\n")
}

// wrap breaks text into lines of at most limit columns, between words.
func wrap(text string, limit int) []string {
	var out []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= limit:
			line += " " + word
		default:
			out = append(out, line)
			line = word
		}
	}
	return append(out, line)
}
