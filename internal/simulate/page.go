// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
	"time"
)

//go:embed page.html
var pageTemplate string

// Geometry of the picture, in pixels.
const (
	plotLeft, plotRight = 56.0, 992.0
	workHeight          = 64.0
	backlogHeight       = 78.0
	podsHeight          = 66.0
	stripHeight         = 15.0
)

// panel is one diagram. All share the time axis.
type panel struct {
	// Title and Note stand above it, Caption in its corner.
	Title, Note, Caption string
	Top, Height          float64
	max                  float64
	Ticks                []tick
	Shapes               []shape
	Strip                []stripe
}

// Base, TitleY and CaptionY are positions for the page.
func (p *panel) Base() float64     { return p.Top + p.Height }
func (p *panel) TitleY() float64   { return p.Top - stripHeight - 10 }
func (p *panel) CaptionY() float64 { return p.Top + 12 }

type tick struct {
	Pos  float64
	Text string
}

// shape is a path with the class that gives it its color.
type shape struct{ Class, Path string }

// stripe is a part of the strip that shows revisions.
type stripe struct {
	Class, Text string
	X, Y, Width float64
}

// TextX, TextY are positions for the page.
func (s stripe) TextX() float64 { return s.X + 5 }
func (s stripe) TextY() float64 { return s.Y + 11.5 }

// pageMark is something that happened, as a line through a policy's diagrams.
type pageMark struct {
	X, Top, Bottom, TextX, TextY float64
	Anchor, Text                 string
}

type figure struct {
	Policy, Late, PodHours string
	Ours                   bool
}

type timeline struct {
	Policy  string
	Remarks []struct{ Time, Text string }
}

// page is what page.html shows.
type page struct {
	Title, Subtitle, LateAfter, Objective string
	Figures                               []figure
	Panels                                []*panel
	Marks                                 []pageMark
	XTicks                                []tick
	Rows                                  [][]string
	Timelines                             []timeline
	Bottom                                float64
}

// Height, XTextY are positions for the page.
func (p *page) Height() float64 { return p.Bottom + 26 }
func (p *page) XTextY() float64 { return p.Bottom + 18 }

// WritePage writes one self-contained page with the pictures of all results, which must be of this scenario.
func WritePage(out io.Writer, s *Scenario, results []*Result) error {
	t, err := template.New("page").Funcs(template.FuncMap{"f": func(x float64) string { return fmt.Sprintf("%.1f", x) }}).Parse(pageTemplate)
	if err != nil {
		return err
	}
	return t.Execute(out, newPage(s, results))
}

func newPage(s *Scenario, results []*Result) *page {
	p := &page{Title: s.Title, LateAfter: span(s.LateSeconds), Objective: span(s.ObjectiveSeconds)}
	if p.Title == "" {
		p.Title = s.Name
	}
	p.Subtitle = fmt.Sprintf("Simulated: the same arrivals, one policy below the other, %s to %s.", s.Start.Format("2 Jan 15:04"), s.End.Format("2 Jan 15:04 MST"))
	p.Subtitle += found(results)
	c := &canvas{scenario: s, results: results}
	p.Panels = append(p.Panels, c.workPanel())
	p.Bottom = p.Panels[0].Base()
	for _, r := range results {
		p.Figures = append(p.Figures, figure{r.Policy, Amount(r.LateMessages), fmt.Sprintf("%.0f", r.PodHours), r.Ours})
		c.draw(p, r)
		p.Rows = append(p.Rows, row(r))
		if lines := (timeline{Policy: r.Policy}); len(r.Timeline) > 0 {
			for _, m := range r.Timeline {
				lines.Remarks = append(lines.Remarks, struct{ Time, Text string }{m.At.Format("2 Jan 15:04:05"), m.Text})
			}
			p.Timelines = append(p.Timelines, lines)
		}
	}
	p.XTicks = c.timeTicks()
	return p
}

// found says when a bad revision was found out, in the first result where one was.
func found(results []*Result) string {
	for _, r := range results {
		if len(r.Advice) > 0 && r.AfterRolloutSeconds != nil {
			return fmt.Sprintf(" %s advises to roll revision %d back to %d, %s after its rollout.",
				r.Policy, r.Advice[0].Against, r.Advice[0].To, span(*r.AfterRolloutSeconds))
		}
	}
	return ""
}

func row(r *Result) []string {
	return []string{r.Policy, Amount(r.LateMessages), span(r.SecondsBeyondObjective), Amount(r.PeakBacklog), span(r.PeakAgeSeconds),
		fmt.Sprintf("%.0f", r.PodHours), fmt.Sprint(r.ScaleActions), fmt.Sprint(r.SlotsLent), fmt.Sprint(r.Rollbacks),
		fmt.Sprintf("%.0f %%", r.Elasticity.UnderAccuracy), fmt.Sprintf("%.0f %%", r.Elasticity.OverAccuracy)}
}

// canvas turns series into coordinates.
type canvas struct {
	scenario *Scenario
	results  []*Result
}

// x of a second.
func (c *canvas) x(t float64) float64 {
	return plotLeft + (plotRight-plotLeft)*t/float64(c.scenario.Seconds())
}

func (c *canvas) workPanel() *panel {
	p := &panel{Title: "User work per second", Note: "the same for every policy", Top: 48, Height: workHeight}
	s := c.results[0].Series
	p.scale(highest(s.Work))
	p.Shapes = append(p.Shapes, shape{"work-area", c.area(p, s.Every, s.Work, nil)})
	return p
}

// draw adds the diagrams of one policy: its revisions, its backlog, its pods.
func (c *canvas) draw(p *page, r *Result) {
	s := r.Series
	backlog := &panel{Title: r.Policy, Caption: "messages waiting", Top: p.Bottom + 52, Height: backlogHeight}
	backlog.Note = fmt.Sprintf("%s late · %s beyond the objective · %.0f pod-hours", Amount(r.LateMessages), span(r.SecondsBeyondObjective), r.PodHours)
	most, pods := 0.0, 0.0
	for _, other := range c.results {
		most, pods = max(most, highest(other.Series.Backlog)), max(pods, highest(other.Series.Pods))
	}
	backlog.scale(most)
	backlog.Strip = c.strip(backlog.Top-stripHeight-3, s)
	backlog.Shapes = append(backlog.Shapes,
		shape{"beyond", c.beyond(backlog, s)},
		shape{"backlog-area", c.area(backlog, s.Every, s.Backlog, nil)})

	fleet := &panel{Caption: "pods", Top: backlog.Base() + 18, Height: podsHeight}
	fleet.scale(pods)
	available := make([]float64, len(s.InService))
	for i := range available {
		available[i] = s.InService[i] - s.Lent[i]
	}
	fleet.Shapes = append(fleet.Shapes,
		shape{"pods-area", c.area(fleet, s.Every, s.Pods, nil)},
		shape{"lent-area", c.area(fleet, s.Every, s.InService, available)},
		shape{"serving-area", c.area(fleet, s.Every, available, nil)},
		shape{"needed-line", c.line(fleet, s.Every, s.Needed)})
	p.Panels = append(p.Panels, backlog, fleet)
	p.Marks = append(p.Marks, c.marks(r, backlog.Top, fleet.Base())...)
	p.Bottom = fleet.Base()
}

// marks are the first advice and the rollbacks on it.
func (c *canvas) marks(r *Result, top, bottom float64) []pageMark {
	var marks []pageMark
	for _, m := range r.Timeline {
		var text string
		switch m.Kind {
		case RemarkAdvice:
			text = m.At.Format("15:04") + " roll back, it says"
		case RemarkRollback:
			text = m.At.Format("15:04") + " rolled back"
		default:
			continue
		}
		x := c.x(m.At.Sub(c.scenario.Start).Seconds())
		mark := pageMark{X: x, Top: top, Bottom: bottom, TextX: x + 6, TextY: top + 14 + 16*float64(len(marks)%3), Anchor: "start", Text: text}
		if x > 700 {
			mark.TextX, mark.Anchor = x-6, "end"
		}
		if len(marks) < 6 {
			marks = append(marks, mark)
		}
	}
	return marks
}

// strip shows which revision was current, and when a rollout was in progress.
func (c *canvas) strip(top float64, s *Series) []stripe {
	var strip []stripe
	for from := 0; from < len(s.Revision); {
		to := from
		for to < len(s.Revision) && s.Revision[to] == s.Revision[from] {
			to++
		}
		x, end := c.x(float64(from*s.Every)), min(c.x(float64(to*s.Every)), plotRight)
		part := stripe{Class: c.quality(s.Revision[from]), X: x, Y: top, Width: end - x}
		if part.Width > 70 {
			part.Text = fmt.Sprintf("revision %d", s.Revision[from])
		}
		strip = append(strip, part)
		from = to
	}
	for i, rolling := range s.Rolling {
		if rolling {
			x := c.x(float64(i * s.Every))
			strip = append(strip, stripe{Class: "rolling", X: x, Y: top, Width: min(c.x(float64((i+1)*s.Every)), plotRight) - x})
		}
	}
	return strip
}

// quality of a revision: how much user work one replica does, compared to the first.
func (c *canvas) quality(number int64) string {
	work := func(r *Revision) float64 { return r.PerReplica / r.Inflation }
	share := 1.0
	if i := c.scenario.revision(number); i >= 0 {
		share = work(&c.scenario.Revisions[i]) / work(&c.scenario.Revisions[0])
	}
	switch {
	case share >= 0.95:
		return "good"
	case share >= 0.7:
		return "worse"
	}
	return "bad"
}

// beyond shades the times in which the backlog could not be worked off in time.
func (c *canvas) beyond(p *panel, s *Series) string {
	var b strings.Builder
	for i := 0; i < len(s.Drain); i++ {
		from := i
		for i < len(s.Drain) && s.Drain[i] > float64(c.scenario.ObjectiveSeconds) {
			i++
		}
		if i > from {
			fmt.Fprintf(&b, "M%.1f %.1fV%.1fH%.1fV%.1fZ", c.x(float64(from*s.Every)), p.Top, p.Base(), c.x(float64(i*s.Every)), p.Top)
		}
	}
	return b.String()
}

// area is filled between the values and what they stand on; nil: 0.
func (c *canvas) area(p *panel, every int, values, base []float64) string {
	var b strings.Builder
	b.WriteString(c.line(p, every, values))
	for i := len(values) - 1; i >= 0; i-- {
		y := 0.0
		if base != nil {
			y = base[i]
		} else if i > 0 && i < len(values)-1 {
			continue
		}
		fmt.Fprintf(&b, "L%.1f %.1f", c.x(float64(i*every)), p.y(y))
	}
	b.WriteString("Z")
	return b.String()
}

// line through the values; of equal ones in a row only the ends.
func (c *canvas) line(p *panel, every int, values []float64) string {
	var b strings.Builder
	for i, v := range values {
		if i > 0 && i < len(values)-1 && values[i-1] == v && values[i+1] == v {
			continue
		}
		command := "L"
		if i == 0 {
			command = "M"
		}
		fmt.Fprintf(&b, "%s%.1f %.1f", command, c.x(float64(i*every)), p.y(v))
	}
	return b.String()
}

// timeTicks are at round hours, at most a dozen.
func (c *canvas) timeTicks() []tick {
	every := time.Hour
	for _, hours := range []int{2, 3, 6, 12, 24, 48, 168, 720, 8760, 87600} {
		if c.scenario.End.Sub(c.scenario.Start)/every <= 14 {
			break
		}
		every = time.Duration(hours) * time.Hour
	}
	var ticks []tick
	for at := c.scenario.Start.Truncate(every); !at.After(c.scenario.End); at = at.Add(every) {
		if at.Before(c.scenario.Start) {
			continue
		}
		layout := "15:04"
		if at.Hour() == 0 && at.Minute() == 0 {
			layout = "2 Jan"
		}
		if x := c.x(at.Sub(c.scenario.Start).Seconds()); x < plotRight-14 {
			ticks = append(ticks, tick{x, at.Format(layout)})
		}
	}
	return ticks
}

// scale chooses a round maximum, and two ticks.
func (p *panel) scale(most float64) {
	step := math.Pow(10, math.Floor(math.Log10(max(most, 1)))) / 2
	p.max = math.Ceil(max(most, 1)/step) * step
	for _, v := range []float64{0, p.max / 2, p.max} {
		text := Amount(int64(v))
		p.Ticks = append(p.Ticks, tick{p.y(v), text})
	}
}

func (p *panel) y(v float64) float64 {
	return p.Top + p.Height*(1-min(max(v/p.max, 0), 1))
}

func highest(values []float64) float64 {
	most := 0.0
	for _, v := range values {
		most = max(most, v)
	}
	return most
}
