// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteTable writes results side by side, for reading.
func WriteTable(out io.Writer, s *Scenario, results []*Result) error {
	fmt.Fprintf(out, "%s: %s, %s to %s\n\n", s.Name, span(s.Seconds()), s.Start.Format("2 Jan 15:04"), s.End.Format("2 Jan 15:04 MST"))
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "POLICY\tLATE\tBEYOND\tBACKLOG\tAGE\tPOD-HOURS\tSCALED\tLENT\tUNDER\tOVER\tADVICE")
	for _, r := range results {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%.0f\t%d\t%d\t%.0f%%\t%.0f%%\t%s\n", r.Policy, Amount(r.LateMessages), span(r.SecondsBeyondObjective),
			Amount(r.PeakBacklog), span(r.PeakAgeSeconds), r.PodHours, r.ScaleActions, r.SlotsLent,
			r.Elasticity.UnderAccuracy, r.Elasticity.OverAccuracy, r.advice())
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, `
LATE       messages older than %s when completed, or at the end
BEYOND     time in which the backlog could not be worked off within %s
BACKLOG    the most that waited; AGE: the longest that a message waited
POD-HOURS  of all pods: starting, serving, standby
UNDER      replicas missing, OVER: replicas too many, as shares of those needed (SPEC elasticity)
ADVICE     the first one to roll back, and how long after the rollout it came
`, span(s.LateSeconds), span(s.ObjectiveSeconds))
	return nil
}

// advice is the first one in a few words.
func (r *Result) advice() string {
	if len(r.Advice) == 0 {
		return "-"
	}
	text := fmt.Sprintf("RollBack:%d", r.Advice[0].To)
	if r.AfterRolloutSeconds != nil {
		text += " +" + span(*r.AfterRolloutSeconds)
	}
	return text
}

// WriteTimeline writes what happened, line by line.
func WriteTimeline(out io.Writer, r *Result) {
	fmt.Fprintf(out, "%s:\n", r.Policy)
	for _, m := range r.Timeline {
		for i, line := range wrap(m.Text, 78) {
			when := m.At.Format("2 Jan 15:04:05")
			if i > 0 {
				when = ""
			}
			fmt.Fprintf(out, "  %-16s %s\n", when, line)
		}
	}
}

// wrap breaks a text into lines of at most so many characters, between words.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// Amount is a number for people, three digits of it.
func Amount(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprint(n)
	case n < 1_000_000:
		return fmt.Sprintf("%.0fk", float64(n)/1e3)
	case n < 10_000_000:
		return fmt.Sprintf("%.2fM", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1fM", float64(n)/1e6)
}

// span is a number of seconds for people.
func span(seconds int) string {
	d := time.Duration(seconds) * time.Second
	switch {
	case seconds < 0:
		return "-" + span(-seconds)
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", seconds)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}
