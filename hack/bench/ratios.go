package main

import (
	"fmt"
	"strings"
)

// middle of a scenario's rows is the one whose jobs a second are the median; nil where
// there is none that ended at all.
func middle(rows []*row, scenario, contender string) *row {
	var found []*row
	var speeds []float64
	for _, r := range of(rows, scenario, contender) {
		if r.Finished > 0 {
			found, speeds = append(found, r), append(speeds, r.UnitsPerSecond)
		}
	}
	for _, r := range found {
		if r.UnitsPerSecond == median(speeds...) {
			return r
		}
	}
	return nil
}

// atObjects is the row of a contender with so many finished objects; nil where there is
// none.
func atObjects(rows []*row, contender string, objects int) *row {
	for _, r := range of(rows, scenarioScale, contender) {
		if r.Objects == objects && r.Finished > 0 {
			return r
		}
	}
	return nil
}

// cpu of all that a job costs, in milliseconds: controller, API server and etcd.
func (r *row) cpu() float64 { return r.ControllerCPU + r.APIServerCPU + r.EtcdCPU }

// ratios are the figures that results.json is read for. What was not measured is not
// there.
func ratios(rows []*row) map[string]float64 {
	out := map[string]float64{}
	add := func(name string, of func(*row) float64, scenario, other string) {
		mine, theirs := middle(rows, scenario, nameOurs), middle(rows, scenario, other)
		if mine != nil && theirs != nil && of(theirs) > 0 {
			out[name] = rounded(of(mine)/of(theirs), 3)
		}
	}
	speed := func(r *row) float64 { return r.UnitsPerSecond }
	add("jobs_per_s_vs_job", speed, scenarioBurst, nameJob)
	add("jobs_per_s_vs_floor", speed, scenarioBurst, nameFloor)
	add("jobs_per_s_many_vs_job", speed, scenarioMany, nameJob)
	add("cpu_ms_vs_job", func(r *row) float64 { return r.ControllerCPU }, scenarioBurst, nameJob)
	add("apiserver_cpu_ms_vs_job", func(r *row) float64 { return r.APIServerCPU }, scenarioBurst, nameJob)
	add("total_cpu_ms_vs_job", (*row).cpu, scenarioBurst, nameJob)
	add("writes_vs_job", func(r *row) float64 { return r.WritesPerJob }, scenarioBurst, nameJob)
	if r := middle(rows, scenarioBurst, nameOurs); r != nil {
		out["writes_per_job"] = r.WritesPerJob
	}
	if r := middle(rows, scenarioMany, nameOurs); r != nil {
		out["pod_end_p50_ms"], out["pod_end_p99_ms"] = r.PodToEnd.P50, r.PodToEnd.P99
		if r.Memory != nil {
			out["memory_kb_per_finished_job_with_pod"] = rounded(r.Memory.HeapPerUnit/1e3, 1)
		}
	}
	if r := middle(rows, scenarioCrash, nameOurs); r != nil {
		out["crash_next_pod_p50_ms"], out["crash_next_pod_p99_ms"] = r.CrashToPod.P50, r.CrashToPod.P99
	}
	if r := middle(rows, scenarioCrashPaced, nameOurs); r != nil {
		out["crash_next_pod_paced_p50_ms"], out["crash_next_pod_paced_p99_ms"] = r.CrashToPod.P50, r.CrashToPod.P99
	}
	for _, c := range []struct{ contender, suffix string }{{nameOurs, ""}, {nameJob, "_of_job"}} {
		if r := atObjects(rows, c.contender, full.scale[1]); r != nil {
			out["memory_kb_per_finished_job"+c.suffix] = rounded(r.Memory.HeapPerUnit/1e3, 1)
		}
		least, most := atObjects(rows, c.contender, full.scale[0]), atObjects(rows, c.contender, full.scale[2])
		if least != nil && most != nil {
			out["cost_50000_vs_1000"+c.suffix] = rounded(most.cpu()/least.cpu(), 3)
		}
		if r := of(rows, scenarioRestart, c.contender); len(r) > 0 {
			out["restart_ms"+c.suffix] = r[0].RestartMS
		}
	}
	return out
}

// goal that a ratio is held against.
type goal struct {
	ratio, text string
	limit       float64
	atLeast     bool
	unit        string
}

var goals = []goal{
	{ratio: "jobs_per_s_vs_job", text: "jobs/s of batch/v1 Job's", limit: 1.5, atLeast: true, unit: "x"},
	{ratio: "jobs_per_s_vs_floor", text: "jobs/s of the floor's", limit: 0.8, atLeast: true, unit: "x"},
	{ratio: "writes_per_job", text: "API writes a successful job", limit: 4},
	{ratio: "cpu_ms_vs_job", text: "controller CPU a job of batch/v1 Job's", limit: 0.6, unit: "x"},
	{ratio: "memory_kb_per_finished_job", text: "memory of a finished job whose pod is gone", limit: 25, unit: "KB"},
	{ratio: "memory_kb_per_finished_job_with_pod", text: "memory of a finished job whose pod is still there", limit: 25, unit: "KB"},
	{ratio: "pod_end_p99_ms", text: "pod end to terminal status, p99, while 10,000 arrive", limit: 500, unit: "ms"},
	{ratio: "crash_next_pod_p50_ms", text: "crash to next pod, p50, at 100 crashes a second", limit: 50, unit: "ms"},
	{ratio: "crash_next_pod_p99_ms", text: "crash to next pod, p99, at 100 crashes a second", limit: 500, unit: "ms"},
	{ratio: "crash_next_pod_paced_p50_ms", text: "the same, p50, at 10 crashes a second", limit: 50, unit: "ms"},
	{ratio: "crash_next_pod_paced_p99_ms", text: "the same, p99, at 10 crashes a second", limit: 500, unit: "ms"},
	{ratio: "cost_50000_vs_1000", text: "CPU a job with 50,000 objects of that with 1,000", limit: 1.1, unit: "x"},
}

func (g goal) reached(value float64) bool {
	if g.atLeast {
		return value >= g.limit
	}
	return value <= g.limit
}

// check the counts of a run, which no slow machine excuses.
func check(rows []*row) []string {
	var out []string
	for _, r := range rows {
		who := fmt.Sprintf("%s, %s", r.Scenario, r.Contender)
		if r.Scenario == scenarioProgress {
			if r.Note != "" || r.Progress.Writes == 0 {
				out = append(out, fmt.Sprintf("%s: %.1f writes a second. %s", who, r.Progress.Writes, r.Note))
			}
			continue
		}
		if r.Finished != r.Units || r.Succeeded != r.Units {
			out = append(out, fmt.Sprintf("%s: %d of %d units ended, %d of them well. %s", who, r.Finished, r.Units, r.Succeeded, r.Note))
			continue
		}
		pods := r.Units
		if r.Scenario == scenarioCrash || r.Scenario == scenarioCrashPaced {
			pods *= 2
		}
		if r.Pods != pods {
			out = append(out, fmt.Sprintf("%s: %d units had %d pods, expected %d", who, r.Units, r.Pods, pods))
		}
		if r.Contender == nameOurs && strings.HasPrefix(r.Scenario, scenarioBurst) && r.WritesPerJob > 4 {
			out = append(out, fmt.Sprintf("%s: %.2f writes a job, expected 4 or less: %v", who, r.WritesPerJob, r.Writes))
		}
		// An account of nothing is none.
		if r.WritesPerJob == 0 && r.Scenario != scenarioRestart || r.APIServerCPU == 0 && r.Scenario != scenarioRestart {
			out = append(out, who+": no writes or no CPU of the API server were counted")
		}
	}
	return out
}
