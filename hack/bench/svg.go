package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// colours that people who see red and green alike tell apart too (Okabe and Ito).
var colours = map[string]string{nameOurs: "#0072B2", nameJob: "#D55E00", nameFloor: "#666666"}

var plainTitles = map[string]string{nameOurs: "pose operator", nameJob: "batch/v1 Job", nameFloor: "floor"}

// canvas collects an SVG document.
type canvas struct {
	text          strings.Builder
	width, height float64
}

func newCanvas(width, height float64, title string) *canvas {
	c := &canvas{width: width, height: height}
	fmt.Fprintf(&c.text, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" width="%g" height="%g" role="img" aria-label="%s" font-family="sans-serif" font-size="13" fill="#222">`+"\n",
		width, height, width, height, html.EscapeString(title))
	fmt.Fprintf(&c.text, `<rect width="%g" height="%g" fill="#fff"/>`+"\n", width, height)
	c.say(16, 24, "start", 15, title)
	return c
}

func (c *canvas) say(x, y float64, anchor string, size int, text string) {
	fmt.Fprintf(&c.text, `<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d">%s</text>`+"\n", x, y, anchor, size, html.EscapeString(text))
}

func (c *canvas) upright(x, y float64, text string) {
	fmt.Fprintf(&c.text, `<text transform="translate(%.1f %.1f) rotate(-90)" text-anchor="middle">%s</text>`+"\n", x, y, html.EscapeString(text))
}

func (c *canvas) line(x1, y1, x2, y2 float64, colour string, width float64, dashes string) {
	fmt.Fprintf(&c.text, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%g"`, x1, y1, x2, y2, colour, width)
	if dashes != "" {
		fmt.Fprintf(&c.text, ` stroke-dasharray="%s"`, dashes)
	}
	c.text.WriteString("/>\n")
}

func (c *canvas) done() string { return c.text.String() + "</svg>\n" }

// bars of one figure, by contender.
type bars struct {
	title  string
	values map[string]float64
}

// barPlot has a panel for each figure, each with a scale of its own from zero.
func barPlot(title string, panels []bars) string {
	const panelWidth, top, plotHeight, barWidth = 190.0, 70.0, 190.0, 38.0
	c := newCanvas(20+panelWidth*float64(len(panels)), top+plotHeight+64, title)
	for i, p := range panels {
		left := 20 + panelWidth*float64(i)
		c.say(left, top-20, "start", 13, p.title)
		most := 0.0
		for _, v := range p.values {
			most = math.Max(most, v)
		}
		x := left
		for _, name := range order {
			v, ok := p.values[name]
			if !ok || most == 0 {
				continue
			}
			h := v / most * (plotHeight - 20)
			fmt.Fprintf(&c.text, `<rect x="%.1f" y="%.1f" width="%g" height="%.1f" fill="%s"/>`+"\n", x, top+plotHeight-h, barWidth, h, colours[name])
			c.say(x+barWidth/2, top+plotHeight-h-5, "middle", 12, number(v))
			x += barWidth + 16
		}
		c.line(left, top+plotHeight, left+3*(barWidth+16)-10, top+plotHeight, "#888", 1, "")
	}
	c.legend(20, top+plotHeight+34, order)
	return c.done()
}

func (c *canvas) legend(x, y float64, names []string) {
	for _, name := range names {
		fmt.Fprintf(&c.text, `<rect x="%.1f" y="%.1f" width="12" height="12" fill="%s"/>`+"\n", x, y-11, colours[name])
		c.say(x+18, y, "start", 13, plainTitles[name])
		x += 36 + 7.2*float64(len(plainTitles[name]))
	}
}

// axis of a plot.
type axis struct {
	label       string
	log         bool
	least, most float64
	ticks       []float64
}

// logAxis over whole decades that hold all values; what is below least lies on its edge.
func logAxis(label string, least float64, values ...float64) axis {
	most := least * 10
	for _, v := range values {
		for v > most {
			most *= 10
		}
	}
	a := axis{label: label, log: true, least: least, most: most}
	for t := least; t <= most*1.0001; t *= 10 {
		a.ticks = append(a.ticks, t)
	}
	return a
}

// linearAxis from zero, with about five ticks.
func linearAxis(label string, values ...float64) axis {
	most := 1e-9
	for _, v := range values {
		most = math.Max(most, v)
	}
	step := math.Pow10(int(math.Floor(math.Log10(most / 4))))
	for _, m := range []float64{1, 2, 5, 10} {
		if most/(step*m) <= 6 {
			step *= m
			break
		}
	}
	a := axis{label: label, most: step * math.Ceil(most/step)}
	for t := 0.0; t <= a.most*1.0001; t += step {
		a.ticks = append(a.ticks, t)
	}
	return a
}

// at what share of the axis a value lies, from 0 to 1.
func (a axis) at(v float64) float64 {
	v = math.Min(math.Max(v, a.least), a.most)
	if a.log {
		return math.Log(v/a.least) / math.Log(a.most/a.least)
	}
	return (v - a.least) / (a.most - a.least)
}

// curve of a contender.
type curve struct {
	contender string
	x, y      []float64
	// marks its points.
	marks bool
}

// mark of a goal: a vertical line.
type mark struct {
	x     float64
	label string
}

func linePlot(title string, x, y axis, curves []curve, goal *mark) string {
	const left, top, plotWidth, plotHeight = 74.0, 58.0, 600.0, 280.0
	c := newCanvas(left+plotWidth+30, top+plotHeight+92, title)
	px := func(v float64) float64 { return left + plotWidth*x.at(v) }
	py := func(v float64) float64 { return top + plotHeight*(1-y.at(v)) }
	for _, t := range x.ticks {
		c.line(px(t), top, px(t), top+plotHeight, "#ddd", 1, "")
		c.say(px(t), top+plotHeight+18, "middle", 12, tick(t))
	}
	for _, t := range y.ticks {
		c.line(left, py(t), left+plotWidth, py(t), "#ddd", 1, "")
		c.say(left-8, py(t)+4, "end", 12, tick(t))
	}
	c.line(left, top+plotHeight, left+plotWidth, top+plotHeight, "#888", 1, "")
	c.line(left, top, left, top+plotHeight, "#888", 1, "")
	c.say(left+plotWidth/2, top+plotHeight+42, "middle", 13, x.label)
	c.upright(20, top+plotHeight/2, y.label)
	if goal != nil {
		c.line(px(goal.x), top, px(goal.x), top+plotHeight, "#009E73", 1.5, "6 4")
		c.say(px(goal.x), top-5, "middle", 12, goal.label)
	}
	var names []string
	for _, k := range curves {
		names = append(names, k.contender)
		c.curve(k, px, py)
	}
	c.legend(left, top+plotHeight+74, names)
	return c.done()
}

func (c *canvas) curve(k curve, px, py func(float64) float64) {
	var points []string
	for i := range k.x {
		points = append(points, fmt.Sprintf("%.1f,%.1f", px(k.x[i]), py(k.y[i])))
		if k.marks {
			fmt.Fprintf(&c.text, `<circle cx="%.1f" cy="%.1f" r="4" fill="%s"/>`+"\n", px(k.x[i]), py(k.y[i]), colours[k.contender])
		}
	}
	fmt.Fprintf(&c.text, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2.5"/>`+"\n", strings.Join(points, " "), colours[k.contender])
}

// tick without needless digits.
func tick(v float64) string {
	if v >= 1000 {
		return commas(int(v + 0.5))
	}
	return fmt.Sprintf("%g", rounded(v, 3))
}
