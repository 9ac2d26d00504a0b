// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Arrivals of user work: a curve, or counts of each second.
type Arrivals struct {
	Curve *Curve `json:"curve,omitempty"`
	// PerSecond are counts of each second from the start on; the last one stays.
	PerSecond []float64 `json:"perSecond,omitempty"`
	// Poisson draws counts with these means; else they arrive as evenly as whole messages can.
	Poisson bool `json:"poisson,omitempty"`
}

// Curve of a day: Base + Amplitude·A·max(0, sin(π·(h−FromHour)/(ToHour−FromHour)))^Exponent per second at hour h. A night
// after midnight belongs to the day before.
type Curve struct {
	Base      float64 `json:"base"`
	Amplitude float64 `json:"amplitude"`
	Exponent  float64 `json:"exponent"`
	FromHour  float64 `json:"fromHour"`
	ToHour    float64 `json:"toHour"`
	// Days are A of each day; the last one stays. Empty means 1.
	Days []float64 `json:"days,omitempty"`
}

func (a *Arrivals) validate() error {
	switch c := a.Curve; {
	case (c == nil) == (len(a.PerSecond) == 0):
		return errors.New("arrivals: give exactly one of curve and perSecond (or a CSV file)")
	case c != nil && (c.ToHour <= c.FromHour || c.FromHour < 0 || c.FromHour >= 24 || c.ToHour > c.FromHour+24 || c.Base < 0 || c.Amplitude < 0 || c.Exponent <= 0):
		return errors.New("arrivals.curve: 0 <= fromHour < 24, toHour within a day after it, base and amplitude at least 0, exponent above 0")
	}
	for i, n := range a.PerSecond {
		if !(n >= 0) || n > 1e9 {
			return fmt.Errorf("arrivals: second %d has no count within 0 and 1e9", i)
		}
	}
	return nil
}

// ReadCSV reads counts of each second: the last field of each line. A first line that is no number is a heading.
func ReadCSV(r io.Reader) ([]float64, error) {
	var counts []float64
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		field := line[strings.LastIndexByte(line, ',')+1:]
		count, err := strconv.ParseFloat(strings.TrimSpace(field), 64)
		if err != nil {
			if n == 1 {
				continue
			}
			return nil, fmt.Errorf("line %d: %q is no count", n, field)
		}
		counts = append(counts, count)
	}
	return counts, lines.Err()
}

// at is user work per second at a time.
func (c *Curve) at(start, now time.Time) float64 {
	midnight := start.Truncate(24 * time.Hour)
	hours := now.Sub(midnight).Hours()
	day := int(math.Floor((hours - c.FromHour) / 24))
	h := hours - 24*float64(day)
	rise := math.Pow(math.Max(0, math.Sin(math.Pi*math.Min(1, (h-c.FromHour)/(c.ToHour-c.FromHour)))), c.Exponent)
	return c.Base + c.Amplitude*c.day(day)*rise
}

func (c *Curve) day(n int) float64 {
	if len(c.Days) == 0 {
		return 1
	}
	return c.Days[min(max(n, 0), len(c.Days)-1)]
}

// draws are what chance decides, the same for every policy of one seed.
type draws struct {
	// mean is user work per second, count what came of it in each second, as whole units.
	mean  []float64
	count []int32
	// service is the factor of service rates in each second.
	service []float32
}

// draw decides what chance decides.
func (s *Scenario) draw(seed uint64) *draws {
	n := s.Seconds()
	d := &draws{mean: s.means(n), count: make([]int32, n), service: make([]float32, n)}
	random := rand.New(rand.NewPCG(seed, 1))
	carry := 0.0
	for t := range n {
		if s.Arrivals.Poisson {
			d.count[t] = poisson(random, d.mean[t])
			continue
		}
		carry += d.mean[t]
		d.count[t] = int32(carry)
		carry -= float64(d.count[t])
	}
	s.drawNoise(d, rand.New(rand.NewPCG(seed, 2)))
	return d
}

func (s *Scenario) means(n int) []float64 {
	mean := make([]float64, n)
	for t := range n {
		if s.Arrivals.Curve != nil {
			mean[t] = s.Arrivals.Curve.at(s.Start, s.At(t))
		} else {
			mean[t] = s.Arrivals.PerSecond[min(t, len(s.Arrivals.PerSecond)-1)]
		}
	}
	return mean
}

func (s *Scenario) drawNoise(d *draws, random *rand.Rand) {
	keep := 0.0
	if s.Noise.Seconds > 0 {
		keep = math.Exp(-1 / s.Noise.Seconds)
	}
	x := random.NormFloat64()
	for t := range d.service {
		// The mean of exp(σx) is exp(σ²/2): it is divided out, so that noise makes nobody faster.
		d.service[t] = float32(math.Exp(s.Noise.Deviation*x - s.Noise.Deviation*s.Noise.Deviation/2))
		x = keep*x + math.Sqrt(1-keep*keep)*random.NormFloat64()
	}
}

// poisson draws a count: exactly below 30, by the normal approximation from there.
func poisson(random *rand.Rand, mean float64) int32 {
	if mean >= 30 {
		return int32(max(0, math.Round(mean+math.Sqrt(mean)*random.NormFloat64())))
	}
	limit, product, n := math.Exp(-mean), random.Float64(), int32(0)
	for product > limit {
		product *= random.Float64()
		n++
	}
	return n
}
