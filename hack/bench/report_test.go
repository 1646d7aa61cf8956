package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// measured rows as a full run gives them: ours at twice the speed of Job.
func measured() []*row {
	curve := newQuantiles([]time.Duration{time.Millisecond, 2 * time.Second})
	one := func(scenario, contender string, units int, speed, writes float64) *row {
		return &row{
			Scenario: scenario, Contender: contender, Units: units, Finished: units, Succeeded: units, Pods: units, UnitsPerSecond: speed,
			ControllerCPU: 2 * writes, APIServerCPU: 10, EtcdCPU: 1, WritesPerJob: writes, Writes: map[string]float64{"create pods": 1}, PodToEnd: curve,
		}
	}
	var rows []*row
	for name, c := range map[string]struct{ speed, writes float64 }{nameOurs: {80, 4}, nameJob: {40, 8}, nameFloor: {100, 2}} {
		rows = append(rows,
			one(scenarioBurst, name, 1000, c.speed+20, c.writes), one(scenarioBurst, name, 1000, c.speed, c.writes),
			one(scenarioMany, name, 10000, c.speed, c.writes), one(scenarioCrash, name, 1000, c.speed, c.writes))
		paced := one(scenarioCrashPaced, name, 100, 9, c.writes)
		paced.Pods, paced.CrashToPod = 200, curve
		last := rows[len(rows)-1]
		last.Pods, last.CrashToPod = 2000, curve
		rows = append(rows, paced)
		rows[len(rows)-3].Memory = &memory{HeapBefore: 1e6, HeapAfter: 241e6, HeapPerUnit: 24000}
	}
	for i, objects := range full.scale {
		r := one(scenarioScale, nameOurs, 300, 70, 4)
		r.Objects, r.APIServerCPU, r.Memory = objects, 11+float64(i), &memory{HeapPerUnit: 9000}
		rows = append(rows, r)
	}
	return append(rows, &row{Scenario: scenarioRestart, Contender: nameOurs, Units: 1, Finished: 1, Succeeded: 1, Pods: 1, RestartMS: 700})
}

func TestRatios(t *testing.T) {
	got := ratios(measured())
	for name, want := range map[string]float64{
		"jobs_per_s_vs_job": 2, "jobs_per_s_vs_floor": 0.8, "jobs_per_s_many_vs_job": 2, "writes_per_job": 4, "cpu_ms_vs_job": 0.5,
		"apiserver_cpu_ms_vs_job": 1, "writes_vs_job": 0.5, "pod_end_p50_ms": 1, "pod_end_p99_ms": 2000, "crash_next_pod_p99_ms": 2000,
		"memory_kb_per_finished_job": 9, "memory_kb_per_finished_job_with_pod": 24, "cost_50000_vs_1000": 1.1, "restart_ms": 700,
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s = %v, want %v", name, value, want)
		}
	}
	for name := range ratios(nil) {
		t.Errorf("%s without anything measured", name)
	}
}

func TestGoals(t *testing.T) {
	got := ratios(measured())
	for _, g := range goals {
		if _, ok := got[g.ratio]; !ok {
			t.Errorf("goal %q is held against %s, which no run measures", g.text, g.ratio)
		}
	}
	more, less := goal{limit: 1.5, atLeast: true}, goal{limit: 4}
	if !more.reached(1.5) || more.reached(1.49) || !less.reached(4) || less.reached(4.01) {
		t.Error("a goal is reached at its limit, and not beyond")
	}
}

func TestCheck(t *testing.T) {
	if out := check(measured()); len(out) > 0 {
		t.Errorf("what holds is said not to: %v", out)
	}
	find := func(rows []*row, scenario, contender string) *row { return of(rows, scenario, contender)[0] }
	for want, breakIt := range map[string]func([]*row){
		"999 of 1000 units ended":       func(r []*row) { find(r, scenarioBurst, nameJob).Finished-- },
		"1000 units ended, 998":         func(r []*row) { find(r, scenarioBurst, nameJob).Succeeded -= 2 },
		"had 1999 pods, expected 2000":  func(r []*row) { find(r, scenarioCrash, nameOurs).Pods-- },
		"had 10001 pods, expected 1000": func(r []*row) { find(r, scenarioMany, nameOurs).Pods++ },
		"4.01 writes a job":             func(r []*row) { find(r, scenarioBurst, nameOurs).WritesPerJob = 4.01 },
		"no writes or no CPU":           func(r []*row) { find(r, scenarioBurst, nameFloor).APIServerCPU = 0 },
		"7 pushes were refused": func(r []*row) {
			*find(r, scenarioRestart, nameOurs) = row{Scenario: scenarioProgress, Progress: &rates{Writes: 20}, Note: "7 pushes were refused"}
		},
	} {
		rows := measured()
		breakIt(rows)
		if out := check(rows); len(out) != 1 || !strings.Contains(out[0], want) {
			t.Errorf("check = %q, want one line with %q", out, want)
		}
	}
}

func TestPlotsAreXML(t *testing.T) {
	r := &results{Rows: measured()}
	plots := r.plots()
	for _, name := range []string{plotCost, plotPodEnd, plotCrash, plotScale} {
		svg, ok := plots[name]
		if !ok || !strings.Contains(svg, colours[nameOurs]) {
			t.Errorf("%s shows nothing of ours", name)
		}
		for d := xml.NewDecoder(strings.NewReader(svg)); ; {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
		}
		if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
			t.Errorf("%s has a coordinate that is no number", name)
		}
	}
	if n := len((&results{}).plots()); n != 0 {
		t.Errorf("%d plots of nothing", n)
	}
}

func TestMarkdownSaysWhatIsNotReached(t *testing.T) {
	r := &results{Rows: measured()}
	r.Ratios = ratios(r.Rows)
	text := r.markdown()
	for _, want := range []string{
		"| jobs/s of batch/v1 Job's | ≥ 1.50 x | 2.00 x | reached |",
		"p99, while 10,000 arrive | ≤ 500 ms | 2,000 ms | **not reached** |",
		"| 10,000 | **pose operator** | 24.0 |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}

func TestBetweenMarks(t *testing.T) {
	text := "head\n" + markBegin + "\nold\n" + markEnd + "\ntail"
	got, err := between(text, "new")
	if want := "head\n" + markBegin + "\nnew\n" + markEnd + "\ntail"; err != nil || got != want {
		t.Errorf("between = %q, %v; want %q", got, err, want)
	}
	readme, err := os.ReadFile(filepath.Join("..", "..", "docs", "benchmarks", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := between(string(readme), "new"); err != nil {
		t.Errorf("docs/benchmarks/README.md cannot be filled in: %v", err)
	}
	if _, err := between("no marks", "new"); err == nil {
		t.Error("no marks, and no error")
	}
}

func TestLinksLeadToWhatWasWritten(t *testing.T) {
	r := &results{Rows: measured()}
	dir := t.TempDir()
	readme := filepath.Join(dir, "README.md")
	if err := os.WriteFile(readme, []byte(markBegin+"\nnot yet\n"+markEnd+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.write(dir, r.markdown()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(string(text), -1)
	if len(found) != 5 || strings.Contains(string(text), "not yet") {
		t.Errorf("%d links, expected four plots and the results:\n%s", len(found), text)
	}
	for _, f := range found {
		if _, err := os.Stat(filepath.Join(dir, f[1])); err != nil {
			t.Error(err)
		}
	}
}

func TestAxes(t *testing.T) {
	l := logAxis("", 1, 7, 2500)
	if len(l.ticks) != 5 || l.most != 10000 || l.at(0.1) != 0 || l.at(100) != 0.5 || l.at(1e9) != 1 {
		t.Errorf("logarithmic axis %+v", l)
	}
	a := linearAxis("", 3, 17.3)
	if a.most != 20 || len(a.ticks) != 5 || a.at(10) != 0.5 {
		t.Errorf("linear axis %+v", a)
	}
}
