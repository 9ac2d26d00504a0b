// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
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

// What --output may be.
const outputTable, outputJSON = "table", "json"

// gcPercent: what the operator's code allocates at each look lives for microseconds, and there is little else.
const gcPercent = 800

// simulateOptions are the flags of simulate.
type simulateOptions struct {
	policies      []string
	manifest      string
	hidesInFlight bool
	follow        time.Duration
	arrivals      string
	seed          uint64
	output        string
	timeline      bool
	plot          string
	printScenario bool
	printManifest bool
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
	f.StringSliceVarP(&o.policies, "policy", "p", []string{"people", "hpa=100", "queuescaler", "oracle"}, "policies to compare")
	f.StringVarP(&o.manifest, "filename", "f", "", "manifest of the QueueScaler; without one, that of the incident")
	f.BoolVar(&o.hidesInFlight, "hide-in-flight", false, "the queue does not tell how many messages are in flight")
	f.DurationVar(&o.follow, "follow-advice", 5*time.Minute, "a person follows an advice to roll back so long after it appeared; 0: nobody does")
	f.StringVar(&o.arrivals, "arrivals", "", "CSV file with the count of each second in the last column, instead of the scenario's arrivals")
	f.Uint64Var(&o.seed, "seed", 1, "decides what chance decides")
	f.StringVarP(&o.output, "output", "o", outputTable, "table or json")
	f.BoolVar(&o.timeline, "timeline", false, "print what happened, too")
	f.StringVar(&o.plot, "plot", "", "write a page with the pictures to this file")
	f.BoolVar(&o.printScenario, "print-scenario", false, "print the scenario and stop")
	f.BoolVar(&o.printManifest, "print-manifest", false, "print the manifest of the QueueScaler and stop")
	return cmd
}

func (o *simulateOptions) run(out io.Writer, args []string) error {
	if o.output != outputTable && o.output != outputJSON {
		return errors.New("--output: table or json")
	}
	path := ""
	if len(args) > 0 {
		path = args[0]
	}
	text, err := fileOr(path, simulate.Incident)
	if err != nil {
		return err
	}
	manifest, err := fileOr(o.manifest, simulate.IncidentQueueScaler)
	if err != nil {
		return err
	}
	switch {
	case o.printScenario:
		_, err := out.Write(text)
		return err
	case o.printManifest:
		_, err := out.Write(manifest)
		return err
	}
	debug.SetGCPercent(gcPercent)
	scenario, err := o.scenario(text)
	if err != nil {
		return err
	}
	qs, err := simulate.ParseQueueScaler(manifest)
	if err != nil {
		return err
	}
	var results []*simulate.Result
	for _, name := range o.policies {
		policy, err := o.policy(name, qs)
		if err != nil {
			return err
		}
		results = append(results, simulate.Run(scenario, policy, o.seed))
	}
	if o.plot != "" {
		if err := writeFile(o.plot, func(w io.Writer) error { return simulate.WritePage(w, scenario, results) }); err != nil {
			return err
		}
	}
	return o.write(out, scenario, results)
}

// fileOr is what a file holds; without a path, something else.
func fileOr(path string, otherwise []byte) ([]byte, error) {
	if path == "" {
		return otherwise, nil
	}
	return os.ReadFile(path)
}

func writeFile(path string, write func(io.Writer) error) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Close())
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
func (o *simulateOptions) policy(name string, qs *capacityv1alpha1.QueueScaler) (simulate.Policy, error) {
	kind, value, given := strings.Cut(name, "=")
	if given != (kind == "hpa") {
		return nil, fmt.Errorf("policy %q: only hpa takes a number, as in hpa=100", name)
	}
	switch kind {
	case "queuescaler":
		return &simulate.QueueScaler{Label: name, Manifest: qs, HidesInFlight: o.hidesInFlight, FollowSeconds: int(o.follow.Seconds())}, nil
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
	if o.output == outputJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(struct {
			Scenario string             `json:"scenario"`
			Start    time.Time          `json:"start"`
			End      time.Time          `json:"end"`
			Results  []*simulate.Result `json:"results"`
		}{s.Name, s.Start, s.End, results})
	}
	if o.timeline {
		for _, r := range results {
			simulate.WriteTimeline(out, r)
		}
		fmt.Fprintln(out)
	}
	return simulate.WriteTable(out, s, results)
}
