// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

// Round is what came of one round.
type Round struct {
	Seed  uint64    `json:"seed"`
	Round int       `json:"round"`
	Began time.Time `json:"began"`
	// Code is the revision of the source, as git describes it.
	Code string `json:"code"`
	// Faults are those that happened, as often.
	Faults map[Fault]int `json:"faults"`
	// ConvergedIn is how many seconds it took from the last fault until everything was as if there had been none, with an empty queue.
	ConvergedIn float64  `json:"converged_in_s"`
	Messages    Messages `json:"messages"`
	// Writes are those that are in the audit log, Operator those by the operator.
	Writes   int `json:"writes"`
	Operator int `json:"by_the_operator"`
	// Lent is how many slots were lent, Scaled how often the operator wrote replicas.
	Lent   int `json:"lent"`
	Scaled int `json:"scaled"`
	// Violations of the laws, and messages that slots took before they were lent.
	Violations []string `json:"violations,omitempty"`
	TooSoon    []string `json:"before_lent,omitempty"`
	// Failed: it was not as it has to be. The test's output says why.
	Failed bool `json:"failed,omitempty"`
}

// Messages counts messages.
type Messages struct {
	// Sent were confirmed by the queue's server. Of MaybeSent it is not known: it was killed over them. MaybeCompleted of these were there.
	Sent           int `json:"sent"`
	MaybeSent      int `json:"maybe_sent"`
	MaybeCompleted int `json:"maybe_completed"`
	Completed      int `json:"completed"`
	Lost           int `json:"lost"`
	// Redelivered are messages that were taken more than once. Why, the others say: see ledger.Causes.
	Redelivered    int `json:"redelivered"`
	Unfinished     int `json:"after_unfinished"`
	AtOnce         int `json:"during_another"`
	Unacknowledged int `json:"after_unacknowledged"`
	Forgotten      int `json:"after_acknowledged"`
}

// Minus is what was added since an earlier count.
func (m Messages) Minus(o Messages) Messages {
	return Messages{
		m.Sent - o.Sent, m.MaybeSent - o.MaybeSent, m.MaybeCompleted - o.MaybeCompleted, m.Completed - o.Completed, m.Lost - o.Lost,
		m.Redelivered - o.Redelivered, m.Unfinished - o.Unfinished, m.AtOnce - o.AtOnce, m.Unacknowledged - o.Unacknowledged, m.Forgotten - o.Forgotten,
	}
}

// Plus is the sum.
func (m Messages) Plus(o Messages) Messages { return m.Minus(Messages{}.Minus(o)) }

// Append adds a round to a file of results.
func Append(path string, round Round) error {
	b, err := json.Marshal(round)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	return errors.Join(err, f.Close())
}

// Results are the rounds of a campaign.
type Results []Round

// Read reads a file of results. One that does not exist has none.
func Read(path string) (Results, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out Results
	for d := json.NewDecoder(f); ; {
		var round Round
		switch err := d.Decode(&round); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, round)
	}
}

// Times is how often each fault happened.
func (r Results) Times() map[Fault]int {
	times := map[Fault]int{}
	for _, round := range r {
		for f, n := range round.Faults {
			times[f] += n
		}
	}
	return times
}

// Missing are the faults that happened less than a quarter as often as was planned, if that is often enough to tell: then something keeps
// them from it. Of all together half have to happen.
func (r Results) Missing() (out []string) {
	const enough = 8
	planned, times := map[Fault]int{}, r.Times()
	all, made := 0, 0
	for _, round := range r {
		for _, in := range Plan(round.Seed, round.Round, 0) {
			planned[in.Fault]++
			all++
		}
	}
	for _, entry := range Schedule {
		n, of := times[entry.Fault], planned[entry.Fault]
		made += n
		if of >= enough && 4*n < of {
			out = append(out, fmt.Sprintf("%s: %d times of %d", entry.Fault, n, of))
		}
	}
	if 2*made < all {
		out = append(out, fmt.Sprintf("all faults: %d times of %d", made, all))
	}
	return out
}

// Print writes the results as a table that goes into the docs too.
func (r Results) Print(w io.Writer) error {
	var sum Round
	slowest, failed := 0.0, 0
	for _, round := range r {
		sum.Messages = sum.Messages.Plus(round.Messages)
		slowest, sum.ConvergedIn = max(slowest, round.ConvergedIn), sum.ConvergedIn+round.ConvergedIn
		sum.Writes, sum.Operator = sum.Writes+round.Writes, sum.Operator+round.Operator
		sum.Lent, sum.Scaled = sum.Lent+round.Lent, sum.Scaled+round.Scaled
		sum.Violations, sum.TooSoon = append(sum.Violations, round.Violations...), append(sum.TooSoon, round.TooSoon...)
		if round.Failed {
			failed++
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n| fault, in %d rounds | times |\n|---|---:|\n", len(r))
	times := r.Times()
	for _, entry := range Schedule {
		fmt.Fprintf(&b, "| %s | %d |\n", entry.Fault, times[entry.Fault])
	}
	fmt.Fprintf(&b, "\n| what came of it | |\n|---|---:|\n")
	m := sum.Messages
	for _, row := range []struct {
		what  string
		value any
	}{
		{"messages that the queue's server confirmed", m.Sent},
		{"- lost", m.Lost},
		{"messages over which it was killed", m.MaybeSent},
		{"- that were there", m.MaybeCompleted},
		{"completed", m.Completed},
		{"taken by a slot before it was lent", len(sum.TooSoon)},
		{"redelivered", m.Redelivered},
		{"- times after an attempt that was not finished", m.Unfinished},
		{"- while another one was worked on", m.AtOnce},
		{"- after one that was completed, before its acknowledgement was reported", m.Unacknowledged},
		{"- after one that was acknowledged, which the killed server forgot", m.Forgotten},
		{"slots lent", sum.Lent},
		{"replicas written", sum.Scaled},
		{"writes in the audit log", sum.Writes},
		{"- by the operator", sum.Operator},
		{"- that break a law", len(sum.Violations)},
		{"from the last fault to the undisturbed state, mean", fmt.Sprintf("%.0f s", sum.ConvergedIn/float64(max(len(r), 1)))},
		{"- slowest", fmt.Sprintf("%.0f s", slowest)},
		{"rounds that failed", failed},
	} {
		fmt.Fprintf(&b, "| %s | %v |\n", row.what, row.value)
	}
	_, err := io.WriteString(w, b.String()+"\n")
	return err
}
