// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"bufio"
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
	// Faults are those that happened, as often.
	Faults map[Fault]int `json:"faults"`
	// ConvergedIn is how long it took from the last fault until everything was as if there had been none, with an empty queue.
	ConvergedIn float64 `json:"converged_in_s"`
	// Messages by what became of them.
	Messages Messages `json:"messages"`
}

// Messages counts messages.
type Messages struct {
	Sent      int `json:"sent"`
	Completed int `json:"completed"`
	Lost      int `json:"lost"`
	// Redelivered are messages that were taken more than once: after an attempt that was not finished, because the pod ended or was
	// paused over it; after one that was completed and not acknowledged, because the pod or the queue's server ended in between; and
	// after one that was acknowledged, which a server that is killed forgets.
	Redelivered    int `json:"redelivered"`
	Unfinished     int `json:"after_unfinished"`
	Unacknowledged int `json:"after_unacknowledged"`
	Forgotten      int `json:"after_acknowledged"`
}

// Minus is what was added since an earlier count.
func (m Messages) Minus(o Messages) Messages {
	return Messages{
		m.Sent - o.Sent, m.Completed - o.Completed, m.Lost - o.Lost,
		m.Redelivered - o.Redelivered, m.Unfinished - o.Unfinished, m.Unacknowledged - o.Unacknowledged, m.Forgotten - o.Forgotten,
	}
}

// Plus is the sum.
func (m Messages) Plus(o Messages) Messages { return m.Minus(Messages{}.Minus(o)) }

// Judged is what the audit log of one run shows: a run is some rounds in one cluster.
type Judged struct {
	Rounds     int      `json:"rounds"`
	Writes     int      `json:"writes"`
	Operator   int      `json:"by_the_operator"`
	Violations []string `json:"violations"`
	// TooSoon are messages that slots took before they were lent.
	TooSoon []string `json:"before_lent"`
}

// Line is one of a file of results: a round, or the judgement of the rounds before it.
type Line struct {
	*Round
	Judged *Judged `json:"judged,omitempty"`
}

// Append adds a line to a file of results.
func Append(path string, line Line) error {
	b, err := json.Marshal(line)
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

// Results are those of a whole campaign.
type Results struct {
	Rounds []Round
	Judged []Judged
}

// Read reads a file of results. One that does not exist has none.
func Read(path string) (Results, error) {
	var out Results
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var line Line
		if err := json.Unmarshal(s.Bytes(), &line); err != nil {
			return out, fmt.Errorf("%s: %w", path, err)
		}
		if line.Judged != nil {
			out.Judged = append(out.Judged, *line.Judged)
		} else if line.Round != nil {
			out.Rounds = append(out.Rounds, *line.Round)
		}
	}
	return out, nil
}

// Print writes the results as a table that goes into the docs too.
func (r Results) Print(w io.Writer) error {
	times, messages, slowest, took := map[Fault]int{}, Messages{}, 0.0, 0.0
	for _, round := range r.Rounds {
		for f, n := range round.Faults {
			times[f] += n
		}
		messages = messages.Plus(round.Messages)
		slowest, took = max(slowest, round.ConvergedIn), took+round.ConvergedIn
	}
	var all Judged
	for _, j := range r.Judged {
		all.Rounds, all.Writes, all.Operator = all.Rounds+j.Rounds, all.Writes+j.Writes, all.Operator+j.Operator
		all.Violations, all.TooSoon = append(all.Violations, j.Violations...), append(all.TooSoon, j.TooSoon...)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n| fault, in %d rounds | times |\n|---|---:|\n", len(r.Rounds))
	for _, card := range Deck {
		fmt.Fprintf(&b, "| %s | %d |\n", card.Fault, times[card.Fault])
	}
	fmt.Fprintf(&b, "\n| what came of it | |\n|---|---:|\n")
	for _, row := range []struct {
		what  string
		value any
	}{
		{"messages sent", messages.Sent},
		{"completed", messages.Completed},
		{"lost", messages.Lost},
		{"taken by a slot before it was lent", len(all.TooSoon)},
		{"redelivered", messages.Redelivered},
		{"- after an attempt that was not finished", messages.Unfinished},
		{"- after one that was completed and not acknowledged", messages.Unacknowledged},
		{"- after one that was acknowledged, which the killed server forgot", messages.Forgotten},
		{"from the last fault to the undisturbed state, mean", fmt.Sprintf("%.0f s", took/float64(max(len(r.Rounds), 1)))},
		{"- slowest", fmt.Sprintf("%.0f s", slowest)},
		{"rounds that were judged", all.Rounds},
		{"writes in the audit log of these", all.Writes},
		{"- by the operator", all.Operator},
		{"- that break a law", len(all.Violations)},
	} {
		fmt.Fprintf(&b, "| %s | %v |\n", row.what, row.value)
	}
	_, err := io.WriteString(w, b.String()+"\n")
	return err
}
