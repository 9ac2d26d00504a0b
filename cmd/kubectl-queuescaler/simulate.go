// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/queuescaler/queuescaler/internal/simulate"
)

const simulateLong = `Play scaling policies against the same arrivals, and compare what came of them.

The scenario says what happens: arrivals of each second, what one replica of each revision completes, how long a pod
takes to start, rollouts, a limit downstream. Without a file it is the incident that QueueScaler is measured by. Print
it with --print-scenario, and write your own from it.

Policies:
  queuescaler  the decisions of the operator's own code, for a QueueScaler manifest (-f)
  hpa=N        the HorizontalPodAutoscaler with N messages for each replica, as KEDA sets it up
  fixed        the replicas of the start
  people       what the scenario's people did
  oracle       knows what will arrive: about the fewest pods that meet the objective
  mean         a yardstick: as many pods as keep up with the mean at every second, and no more

Nothing is read from a cluster, and nothing is written to one.`

const simulateExample = `  # the incident, with all policies
  kubectl queuescaler simulate

  # your own QueueScaler on your own traffic: a count for each second in the last column
  kubectl queuescaler simulate day.yaml --arrivals day.csv -f queuescaler.yaml --plot day.html`

// simulateOptions are the flags of simulate.
type simulateOptions struct {
	policies      []string
	arrivals      string
	seed          uint64
	output        string
	printScenario bool
}

func newSimulate() *cobra.Command {
	var o simulateOptions
	cmd := &cobra.Command{
		Use:     "simulate [SCENARIO.yaml]",
		Short:   "Play scaling policies against the same arrivals",
		Long:    simulateLong,
		Example: simulateExample,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.OutOrStdout(), args)
		},
	}
	f := cmd.Flags()
	f.StringSliceVarP(&o.policies, "policy", "p", []string{"people", "hpa=100", "oracle"}, "policies to compare")
	f.StringVar(&o.arrivals, "arrivals", "", "CSV file with the count of each second in the last column, instead of the scenario's arrivals")
	f.Uint64Var(&o.seed, "seed", 1, "decides what chance decides")
	f.StringVarP(&o.output, "output", "o", "table", "table or json")
	f.BoolVar(&o.printScenario, "print-scenario", false, "print the scenario and stop")
	return cmd
}

func (o *simulateOptions) run(out io.Writer, args []string) error {
	text := simulate.Incident
	if len(args) > 0 {
		var err error
		if text, err = os.ReadFile(args[0]); err != nil {
			return err
		}
	}
	if o.printScenario {
		_, err := out.Write(text)
		return err
	}
	scenario, err := o.scenario(text)
	if err != nil {
		return err
	}
	var results []*simulate.Result
	for _, name := range o.policies {
		policy, err := o.policy(name)
		if err != nil {
			return err
		}
		results = append(results, simulate.Run(scenario, policy, o.seed))
	}
	return o.write(out, scenario, results)
}

// scenario with the arrivals of a CSV file, if one is given: it then lasts as long as they do.
func (o *simulateOptions) scenario(text []byte) (*simulate.Scenario, error) {
	if o.arrivals == "" {
		return simulate.Parse(text)
	}
	file, err := os.Open(o.arrivals)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	counts, err := simulate.ReadCSV(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.arrivals, err)
	}
	return simulate.Parse(text, simulate.WithCounts(counts))
}

// policy of a name such as hpa=100.
func (o *simulateOptions) policy(name string) (simulate.Policy, error) {
	kind, value, given := strings.Cut(name, "=")
	if given != (kind == "hpa") {
		return nil, fmt.Errorf("policy %q: only hpa takes a number, as in hpa=100", name)
	}
	switch kind {
	case "fixed":
		return simulate.Fixed{}, nil
	case "people":
		return simulate.People{}, nil
	case "oracle":
		return &simulate.Oracle{}, nil
	case "mean":
		return &simulate.Oracle{MeanOnly: true}, nil
	case "hpa":
		target, err := strconv.ParseInt(value, 10, 64)
		if err != nil || target < 1 {
			return nil, fmt.Errorf("policy %q: the number of messages for each replica must be at least 1", name)
		}
		return &simulate.HPA{Target: target}, nil
	}
	return nil, fmt.Errorf("policy %q: there are queuescaler, hpa=N, fixed, people, oracle and mean", name)
}

func (o *simulateOptions) write(out io.Writer, s *simulate.Scenario, results []*simulate.Result) error {
	switch o.output {
	case "table":
		return simulate.WriteTable(out, s, results)
	case "json":
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(struct {
			Scenario string             `json:"scenario"`
			Start    time.Time          `json:"start"`
			End      time.Time          `json:"end"`
			Results  []*simulate.Result `json:"results"`
		}{s.Name, s.Start, s.End, results})
	}
	return errors.New("--output: table or json")
}
