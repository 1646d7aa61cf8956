package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

var titles = map[string]string{nameOurs: "**pose operator**", nameJob: "batch/v1 Job", nameFloor: "floor"}

var order = []string{nameOurs, nameJob, nameFloor}

// table in Markdown.
type table struct{ text strings.Builder }

func (t *table) row(cells ...string) {
	t.text.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

func (t *table) head(cells ...string) {
	t.row(cells...)
	t.text.WriteString(strings.Repeat("|---", len(cells)) + "|\n")
}

func (t *table) line(format string, args ...any) { fmt.Fprintf(&t.text, format+"\n", args...) }

// number with three significant digits or so, and commas.
func number(x float64) string {
	switch {
	case x == 0:
		return "0"
	case x < 10:
		return strconv.FormatFloat(x, 'f', 2, 64)
	case x < 100:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	return commas(int(x + 0.5))
}

func commas(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// markdown of all tables.
func (r *results) markdown() string {
	t := &table{}
	t.line("Measured by `%s` at commit `%s` on %s; %s; the run took %s s.\n", r.Command, r.Commit, r.Date, r.Machine, number(r.Seconds))
	r.goalTable(t)
	r.speedTable(t)
	r.latencyTable(t)
	r.crashTable(t)
	r.memoryTable(t)
	r.scaleTable(t)
	r.progressTable(t)
	r.writesTable(t)
	for _, f := range r.Failures {
		t.line("- Does not hold: %s", f)
	}
	return strings.TrimSpace(t.text.String()) + "\n"
}

func (r *results) goalTable(t *table) {
	if len(r.Ratios) == 0 {
		return
	}
	t.head("goal", "wanted", "measured", "")
	for _, g := range goals {
		value, ok := r.Ratios[g.ratio]
		if !ok {
			continue
		}
		sign, verdict := "≤", "reached"
		if g.atLeast {
			sign = "≥"
		}
		if !g.reached(value) {
			verdict = "**not reached**"
		}
		t.row(g.text, fmt.Sprintf("%s %s %s", sign, number(g.limit), g.unit), number(value)+" "+g.unit, verdict)
	}
	t.line("")
}

// shown rows of a scenario: the middle one of each contender.
func (r *results) shown(scenario string) []*row {
	var out []*row
	for _, c := range order {
		if m := middle(r.Rows, scenario, c); m != nil {
			out = append(out, m)
		}
	}
	return out
}

func (r *results) speedTable(t *table) {
	var rows []*row
	for _, s := range []string{scenarioBurst, scenarioMany} {
		rows = append(rows, r.shown(s)...)
	}
	if len(rows) == 0 {
		return
	}
	t.head("units made at once", "", "jobs/s", "controller CPU ms/job", "API server CPU ms/job", "etcd CPU ms/job", "controller's writes/job", "its writes for many jobs", "all users' writes/job", "refused writes", "token checks")
	for _, x := range rows {
		t.row(commas(x.Units), titles[x.Contender], number(x.UnitsPerSecond), number(x.ControllerCPU), number(x.APIServerCPU), number(x.EtcdCPU),
			number(x.WritesPerJob), commas(x.OtherWrites), number(x.AllWrites), commas(x.Refused), commas(x.TokenChecks))
	}
	t.line("")
}

func pair(q quantiles) string {
	if q.Count == 0 {
		return "-"
	}
	return number(q.P50) + " / " + number(q.P99)
}

func (r *results) latencyTable(t *table) {
	names := map[string]string{scenarioPaced: fmt.Sprintf("%d/s", pacedPerSecond), scenarioBurst: "at once", scenarioMany: "at once"}
	var rows []*row
	for _, s := range []string{scenarioPaced, scenarioBurst, scenarioMany} {
		rows = append(rows, r.shown(s)...)
	}
	if len(rows) == 0 {
		return
	}
	t.head("units", "", "unit to pod, p50 / p99 ms", "pod end to terminal status, p50 / p99 ms")
	for _, x := range rows {
		t.row(commas(x.Units)+", "+names[x.Scenario], titles[x.Contender], pair(x.UnitToPod), pair(x.PodToEnd))
	}
	t.line("")
}

func (r *results) crashTable(t *table) {
	paces := map[string]int{scenarioCrashPaced: crashesPaced, scenarioCrash: crashesPerSecond}
	var rows []*row
	for _, s := range []string{scenarioCrashPaced, scenarioCrash} {
		rows = append(rows, r.shown(s)...)
	}
	if len(rows) == 0 {
		return
	}
	t.head("pods crash, then succeed", "", "crash to next pod, p50 / p99 ms", "pods a job", "controller's writes/job", "controller CPU ms/job", "API server CPU ms/job")
	for _, x := range rows {
		t.row(fmt.Sprintf("%s, %d/s", commas(x.Units), paces[x.Scenario]), titles[x.Contender], pair(x.CrashToPod), number(float64(x.Pods)/float64(max(1, x.Units))), number(x.WritesPerJob), number(x.ControllerCPU), number(x.APIServerCPU))
	}
	t.line("\nCounted from the first crash on: the first pods' creation is not in it.\n")
}

func (r *results) memoryTable(t *table) {
	rows := r.shown(scenarioMany)
	if len(rows) == 0 {
		return
	}
	t.head("finished units and their pods, at rest", "", "heap KB a unit", "resident MB before", "resident MB after", "killed and started again: ms to the next pod", "CPU s of that start")
	for _, x := range rows {
		if x.Memory == nil {
			continue
		}
		heap, restart, cost := "-", "-", "-"
		if x.Memory.HeapAfter > 0 {
			heap = number(x.Memory.HeapPerUnit / 1e3)
		}
		if again := of(r.Rows, scenarioRestart, x.Contender); len(again) > 0 {
			restart, cost = number(again[0].RestartMS), number(again[0].ControllerCPU/1e3)
		}
		t.row(commas(x.Units), titles[x.Contender], heap, number(x.Memory.RSSBefore/1e6), number(x.Memory.RSSAfter/1e6), restart, cost)
	}
	t.line("")
}

func (r *results) scaleTable(t *table) {
	var rows []*row
	for _, c := range order {
		rows = append(rows, of(r.Rows, scenarioScale, c)...)
	}
	if len(rows) == 0 {
		return
	}
	t.head("finished objects without pods", "", "KB each in etcd", "KB each of the controller's heap", "API server's heap MB", "CPU ms a new job: controller", "API server", "etcd", "all", "jobs/s")
	for _, x := range rows {
		t.row(commas(x.Objects), titles[x.Contender], number(float64(x.ObjectBytes)/1e3), number(x.Memory.HeapPerUnit/1e3), number(x.Memory.APIServerHeap/1e6), number(x.ControllerCPU), number(x.APIServerCPU), number(x.EtcdCPU), number(x.cpu()), number(x.UnitsPerSecond))
	}
	t.line("")
}

func (r *results) progressTable(t *table) {
	for _, x := range of(r.Rows, scenarioProgress, nameOurs) {
		p := x.Progress
		t.head("jobs that run", "pushes/s", "writes/s", "controller, % of a core", "API server, % of a core", "push p50 / p99 ms", "token checks in all", "refused pushes")
		t.row(commas(x.Units), number(p.Pushes), number(p.Writes), number(p.Controller), number(p.APIServer), pair(p.Latency), commas(p.TokenChecks), commas(int(p.Refused)))
		t.line("")
	}
}

func (r *results) writesTable(t *table) {
	rows := r.shown(scenarioBurst)
	if len(rows) == 0 {
		return
	}
	t.head("what the controller writes", "", "a job")
	for _, x := range rows {
		for _, what := range slices.Sorted(maps.Keys(x.Writes)) {
			t.row("`"+what+"`", titles[x.Contender], number(x.Writes[what]))
		}
	}
	t.line("")
}
