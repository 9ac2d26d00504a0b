// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTheIncidentsCurve(t *testing.T) {
	s, err := Parse(Incident)
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]float64{
		"2019-01-14T12:00:00Z": 40 + 198*math.Pow(math.Sin(math.Pi/17), 1.2),
		"2019-01-14T19:30:00Z": 238,
		"2019-01-15T03:00:00Z": 40 + 198*math.Pow(math.Sin(math.Pi*16/17), 1.2),
		"2019-01-15T04:00:00Z": 40,
		"2019-01-15T10:59:00Z": 40,
		"2019-01-15T19:30:00Z": 400,
		"2019-01-16T02:00:00Z": 40 + 360*math.Pow(math.Sin(math.Pi*15/17), 1.2),
	} {
		now, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Arrivals.Curve.at(s.Start, now); math.Abs(got-want) > 0.01 {
			t.Errorf("%s: %.2f, want %.2f", at, got, want)
		}
	}
}

// What people and an HPA did to the incident, in an independent model of the same plant: 11.0 million late messages and 1,829
// pod-hours, 0.38 million and 1,705.
func TestTheIncidentIsWhatItWas(t *testing.T) {
	s, err := Parse(Incident)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		policy                 Policy
		late, lateBy, podHours float64
	}{
		{People{}, 11.0e6, 0.05, 1829},
		{&HPA{Target: 100}, 0.38e6, 0.3, 1705},
	} {
		r := Run(s, c.policy, 1)
		if math.Abs(float64(r.LateMessages)/c.late-1) > c.lateBy || math.Abs(r.PodHours/c.podHours-1) > 0.01 {
			t.Errorf("%s: %d late, %.0f pod-hours, want about %.0f and %.0f", r.Policy, r.LateMessages, r.PodHours, c.late, c.podHours)
		}
	}
}

func TestOneSeedIsOneStory(t *testing.T) {
	s := small(t)
	s.Arrivals.Poisson = true
	a, b, other := Run(s, &HPA{Target: 100}, 1), Run(s, &HPA{Target: 100}, 1), Run(s, &HPA{Target: 100}, 2)
	if diff := cmp.Diff(a, b); diff != "" {
		t.Error(diff)
	}
	if a.Messages == other.Messages {
		t.Error("another seed has as many messages")
	}
}

func TestWhatIsWrongWithAScenario(t *testing.T) {
	good := string(Incident)
	for _, c := range []struct{ replace, by, says string }{
		{"end: \"2019-01-16T03:00:00Z\"", "end: \"2019-01-14T03:00:00Z\"", "end must be at least a minute"},
		{"coldStartSeconds: 180", "coldStart: 180", "coldStart"},
		{"perReplica: 6.2", "perReplica: 0", "revision 7"},
		{"revision: 8, seconds", "revision: 9, seconds", "deploy of revision 9"},
		{"toHour: 28", "toHour: 10", "arrivals.curve"},
		{"poisson: true", "perSecond: [1]", "exactly one"},
		{"deviation: 0.03", "deviation: -1", "noise.deviation"},
	} {
		text := strings.Replace(good, c.replace, c.by, 1)
		if text == good {
			t.Fatalf("%q is not in the scenario", c.replace)
		}
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want it to say %q", c.by, err, c.says)
		}
	}
}

func TestCountsOfACSVFile(t *testing.T) {
	got, err := ReadCSV(strings.NewReader("time,messages\n12:00:00,5\n12:00:01, 7.5\n\n"))
	if diff := cmp.Diff([]float64{5, 7.5}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err := ReadCSV(strings.NewReader("5\nmany\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("got %v", err)
	}
	s, err := Parse(Incident, WithCounts(make([]float64, 90)))
	if err != nil || s.Seconds() != 90 {
		t.Errorf("the scenario lasts %d s, %v", s.Seconds(), err)
	}
}
