package main

import "fmt"

// Files of the plots.
const (
	plotCost   = "cost.svg"
	plotPodEnd = "pod-end.svg"
	plotCrash  = "crash.svg"
	plotScale  = "scale.svg"
)

// plots by the names of their files; those of what was not measured are not there.
func (r *results) plots() map[string]string {
	out := map[string]string{}
	if panels := r.panels(); len(panels) > 0 {
		out[plotCost] = barPlot("What a job costs, all units made at once", panels)
	}
	pick := func(of func(*row) quantiles) func(*row) []float64 {
		return func(x *row) []float64 { return of(x).curve }
	}
	if curves, most := r.shares(scenarioMany, pick(func(x *row) quantiles { return x.PodToEnd })); len(curves) > 0 {
		out[plotPodEnd] = linePlot(
			fmt.Sprintf("Pod end to terminal status, while %s units arrive at once", commas(r.unitsOf(scenarioMany))),
			logAxis("milliseconds", 1, most, 1000), percent, curves, &mark{x: 500, label: "goal at 99 %: 500 ms"})
	}
	if curves, most := r.shares(scenarioCrash, pick(func(x *row) quantiles { return x.CrashToPod })); len(curves) > 0 {
		out[plotCrash] = linePlot(
			fmt.Sprintf("Crash to the next pod, %d crashes a second", crashesPerSecond),
			logAxis("milliseconds", 1, most, 1000), percent, curves, &mark{x: 50, label: "goal at 50 %: 50 ms"})
	}
	if curves, xs, ys := r.costs(); len(curves) > 0 {
		out[plotScale] = linePlot("CPU of a new job by how many finished objects lie there",
			logAxis("finished objects", xs[0], xs...), linearAxis("ms: controller, API server and etcd", ys...), curves, nil)
	}
	return out
}

// percent of all that a share is of.
var percent = axis{label: "percent of jobs", most: 100, ticks: []float64{0, 25, 50, 75, 99}}

func (r *results) unitsOf(scenario string) int {
	if rows := r.shown(scenario); len(rows) > 0 {
		return rows[0].Units
	}
	return 0
}

// panels of the bar plot.
func (r *results) panels() []bars {
	var out []bars
	add := func(title, scenario string, of func(*row) float64) {
		b := bars{title: title, values: map[string]float64{}}
		for _, x := range r.shown(scenario) {
			b.values[x.Contender] = of(x)
		}
		if len(b.values) > 0 {
			out = append(out, b)
		}
	}
	for _, s := range []string{scenarioBurst, scenarioMany} {
		add(fmt.Sprintf("jobs/s, %s at once", commas(r.unitsOf(s))), s, func(x *row) float64 { return x.UnitsPerSecond })
	}
	add("controller's writes a job", scenarioBurst, func(x *row) float64 { return x.WritesPerJob })
	add("controller CPU ms a job", scenarioBurst, func(x *row) float64 { return x.ControllerCPU })
	add("API server CPU ms a job", scenarioBurst, func(x *row) float64 { return x.APIServerCPU })
	return out
}

// shares are curves of percentiles, and the greatest value.
func (r *results) shares(scenario string, of func(*row) []float64) (out []curve, most float64) {
	for _, x := range r.shown(scenario) {
		values := of(x)
		if len(values) == 0 {
			continue
		}
		c := curve{contender: x.Contender, x: values}
		for i := range values {
			c.y = append(c.y, float64(i+1))
		}
		most = max(most, values[len(values)-1])
		out = append(out, c)
	}
	return out, most
}

// costs by the number of objects.
func (r *results) costs() (out []curve, xs, ys []float64) {
	for _, name := range order {
		c := curve{contender: name, marks: true}
		for _, x := range of(r.Rows, scenarioScale, name) {
			c.x, c.y = append(c.x, float64(x.Objects)), append(c.y, x.cpu())
		}
		if len(c.x) > 0 {
			out, xs, ys = append(out, c), append(xs, c.x...), append(ys, c.y...)
		}
	}
	return out, xs, ys
}
