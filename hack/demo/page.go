// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

//go:embed page.html
var pageTemplate string

// Geometry of the picture, in pixels.
const (
	plotLeft, plotRight = 56.0, 984.0
	panelGap            = 34.0
	marksHeight         = 76.0 // above the first panel, for the numbers of the marks and its title
)

// panel is one of the stacked diagrams, which share the time axis.
type panel struct {
	Title       string
	Top, Height float64
	max, step   float64 // of the scale, and between its ticks
	Ticks       []tick
	Areas       []shape
	Lines       []shape
	Legend      []legendEntry
}

func (p panel) Base() float64   { return p.Top + p.Height }
func (p panel) TitleY() float64 { return p.Top - 9 }
func (p panel) KeyY() float64   { return p.Top - 13 }
func (p panel) BoxY() float64   { return p.Top - 17 }

type tick struct {
	Pos  float64
	Text string
}

// shape is a path with the class that gives it its color.
type shape struct {
	Class, Path string
}

type legendEntry struct {
	Class, Text string
	Line        bool
	X           float64
}

func (l legendEntry) EndX() float64  { return l.X + 18 }
func (l legendEntry) TextX() float64 { return l.X + 23 }

// numbered is a mark with its number in the picture.
type numbered struct {
	N          int
	X, LabelY  float64
	Time, Text string
	Alarm      string
}

func (n numbered) AlarmX() float64 { return n.X - 6 }

// said is what the operator said, for the table.
type said struct {
	Time, Text string
}

// page is what page.html shows.
type page struct {
	Result        *result
	Panels        []panel
	Marks         []numbered
	Said          []said
	XTicks        []tick
	Width, Height float64
	Left, Right   float64
	Top, Bottom   float64
	Rollouts      []band
}

// band is a rollout in the picture.
type band struct {
	X, Width float64
	Text     string
}

func (b band) TextX() float64 { return b.X + 6 }

func (p page) PlotHeight() float64   { return p.Bottom - p.Top }
func (p page) TickX() float64        { return p.Left - 7 }
func (p page) XTextY() float64       { return p.Bottom + 18 }
func (p page) RolloutTextY() float64 { return p.Top + 15 }
func (p page) AlarmTextY() float64   { return p.Top + 34 }

func (r *recorder) writePage(path string, res *result, remarks []remark) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.samples) < 2 {
		return fmt.Errorf("write %s: nothing was recorded", path)
	}
	t, err := template.New("page").Funcs(template.FuncMap{"f": func(x float64) string { return fmt.Sprintf("%.1f", x) }}).Parse(pageTemplate)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, r.page(res, remarks)); err != nil {
		return err
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}

// chart turns samples into coordinates.
type chart struct {
	began   time.Time
	seconds float64
	samples []sample
}

func (c chart) x(at time.Time) float64 {
	return plotLeft + (plotRight-plotLeft)*min(max(at.Sub(c.began).Seconds()/c.seconds, 0), 1)
}

func (r *recorder) page(res *result, remarks []remark) page {
	last := r.samples[len(r.samples)-1].at
	c := chart{began: r.began, seconds: last.Sub(r.began).Seconds(), samples: r.samples}
	p := page{
		Result: res, Width: 1000, Left: plotLeft, Right: plotRight, Top: marksHeight,
		Panels: []panel{c.backlogPanel(), c.drainPanel(), c.podsPanel()},
	}
	top := p.Top
	for i := range p.Panels {
		p.Panels[i].place(top)
		top += p.Panels[i].Height + panelGap
	}
	p.Bottom = top - panelGap
	p.Height = p.Bottom + 26
	p.Panels[0].draw(c.steps("backlog-area", true, func(x sample) float64 { return float64(x.backlog) }))
	c.drawDrain(&p.Panels[1])
	c.drawPods(&p.Panels[2])
	for s := 0.0; s <= c.seconds; s += 30 {
		d := time.Duration(s) * time.Second
		p.XTicks = append(p.XTicks, tick{c.x(r.began.Add(d)), clockText(d)})
	}
	for _, s := range r.rollouts {
		p.Rollouts = append(p.Rollouts, band{c.x(s.from), c.x(s.to) - c.x(s.from), s.text})
	}
	p.Marks = c.number(r.marks)
	for _, s := range remarks {
		if s.at.Before(last) {
			p.Said = append(p.Said, said{clockText(s.at.Sub(r.began)), s.text})
		}
	}
	return p
}

// number puts the marks in order. Numbers that would overlap go onto two levels.
func (c chart) number(marks []mark) []numbered {
	marks = slices.Clone(marks)
	slices.SortStableFunc(marks, func(a, b mark) int { return a.at.Compare(b.at) })
	var out []numbered
	for i, m := range marks {
		n := numbered{N: i + 1, X: c.x(m.at), LabelY: 34, Time: clockText(m.at.Sub(c.began)), Text: m.text, Alarm: m.alarm}
		if i > 0 && n.X-out[i-1].X < 19 && out[i-1].LabelY == 34 {
			n.LabelY = 13
		}
		out = append(out, n)
	}
	return out
}

func (c chart) backlogPanel() panel {
	highest := 0.0
	for _, x := range c.samples {
		highest = max(highest, float64(x.backlog))
	}
	top := niceMax(highest)
	return panel{Title: "Backlog, messages", Height: 170, max: top, step: top / 4, Legend: []legendEntry{{Class: "backlog-area", Text: "messages waiting"}}}
}

// drainMax is the top of the drain panel, in seconds.
const drainMax = 240

func (c chart) drainPanel() panel {
	return panel{Title: "Drain time, s", Height: 120, max: drainMax, step: 60, Legend: []legendEntry{
		{Class: "drain-line", Text: "backlog ÷ (what the pods at work can do − arrivals)", Line: true},
		{Class: "objective-line", Text: fmt.Sprintf("objective: %d s", drainSeconds), Line: true},
		{Class: "never-area", Text: "never: arrivals exceed capacity"},
	}}
}

func (c chart) podsPanel() panel {
	highest := 0
	for _, x := range c.samples {
		highest = max(highest, x.available+x.lent, x.desired, x.replicas)
	}
	return panel{Title: "Pods", Height: 210, max: float64(highest + 1), step: 2, Legend: []legendEntry{
		{Class: "available-area", Text: "available (Deployment)"},
		{Class: "bad-area", Text: fmt.Sprintf("of revision %d", badRevision)},
		{Class: "lent-area", Text: "lent (slots)"},
		{Class: "desired-line", Text: "desired (published)", Line: true},
		{Class: "replicas-line", Text: "asked of the Deployment", Line: true},
		{Class: "warm-line", Text: "warm slots", Line: true},
	}}
}

// niceMax is a round number at or above x.
func niceMax(x float64) float64 {
	step := math.Pow(10, math.Floor(math.Log10(max(x, 10)))) / 2
	return math.Ceil(max(x, 10)/step) * step
}

func (p *panel) place(top float64) {
	p.Top = top
	for v := 0.0; v <= p.max; v += p.step {
		p.Ticks = append(p.Ticks, tick{p.y(v), fmt.Sprintf("%.0f", v)})
	}
	x := plotLeft + 8.0*float64(len(p.Title)) + 16
	for i := range p.Legend {
		p.Legend[i].X = x
		x += 34 + 6.5*float64(len([]rune(p.Legend[i].Text)))
	}
}

func (p *panel) y(v float64) float64 {
	return p.Top + p.Height*(1-min(max(v/p.max, 0), 1))
}

// curve is a series of values, one for each sample; NaN is a gap.
type curve struct {
	class  string
	filled bool
	x      []float64
	values []float64
	base   []float64 // what it stands on; nil: 0
}

// steps makes a curve of what is told of each sample.
func (c chart) steps(class string, filled bool, value func(sample) float64) curve {
	out := curve{class: class, filled: filled}
	for _, s := range c.samples {
		out.x = append(out.x, c.x(s.at))
		out.values = append(out.values, value(s))
	}
	return out
}

func (p *panel) draw(c curve) {
	path := p.path(c)
	if c.filled {
		p.Areas = append(p.Areas, shape{c.class, path})
	} else {
		p.Lines = append(p.Lines, shape{c.class, path})
	}
}

// path draws horizontal steps; of equal values only the ends.
func (p *panel) path(c curve) string {
	var b strings.Builder
	for from := 0; from < len(c.values); from++ {
		if math.IsNaN(c.values[from]) {
			continue
		}
		to := from
		for to+1 < len(c.values) && !math.IsNaN(c.values[to+1]) {
			to++
		}
		p.stretch(&b, c, from, to)
		from = to
	}
	return b.String()
}

func (p *panel) stretch(b *strings.Builder, c curve, from, to int) {
	base := func(i int) float64 {
		if c.base == nil {
			return 0
		}
		return c.base[i]
	}
	fmt.Fprintf(b, "M%.1f %.1f", c.x[from], p.y(base(from)+c.values[from]))
	for i := from + 1; i <= to; i++ {
		if v := base(i) + c.values[i]; v != base(i-1)+c.values[i-1] || i == to {
			fmt.Fprintf(b, "H%.1fV%.1f", c.x[i], p.y(v))
		}
	}
	if !c.filled {
		return
	}
	fmt.Fprintf(b, "V%.1f", p.y(base(to)))
	for i := to - 1; i >= from; i-- {
		if base(i) != base(i+1) || i == from {
			fmt.Fprintf(b, "H%.1fV%.1f", c.x[i+1], p.y(base(i)))
		}
	}
	fmt.Fprintf(b, "H%.1fZ", c.x[from])
}

func (c chart) drawDrain(p *panel) {
	p.draw(c.steps("never-area", true, func(x sample) float64 {
		if _, never := x.drain(); never {
			return drainMax
		}
		return math.NaN()
	}))
	p.draw(c.steps("drain-line", false, func(x sample) float64 {
		d, never := x.drain()
		if never {
			return math.NaN()
		}
		return d
	}))
	y := p.y(drainSeconds)
	p.Lines = append(p.Lines, shape{"objective-line", fmt.Sprintf("M%.1f %.1fH%.1f", plotLeft, y, plotRight)})
}

func (c chart) drawPods(p *panel) {
	available := c.steps("available-area", true, func(x sample) float64 { return float64(x.available) })
	p.draw(available)
	p.draw(c.steps("bad-area", true, func(x sample) float64 {
		if x.bad == 0 {
			return math.NaN()
		}
		return float64(x.bad)
	}))
	lent := c.steps("lent-area", true, func(x sample) float64 {
		if x.lent == 0 {
			return math.NaN()
		}
		return float64(x.lent)
	})
	lent.base = available.values
	p.draw(lent)
	p.draw(c.steps("replicas-line", false, func(x sample) float64 { return float64(x.replicas) }))
	p.draw(c.steps("warm-line", false, func(x sample) float64 { return float64(x.warm) }))
	p.draw(c.steps("desired-line", false, func(x sample) float64 {
		if x.desired == 0 {
			return math.NaN()
		}
		return float64(x.desired)
	}))
}
