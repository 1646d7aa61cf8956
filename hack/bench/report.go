package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// results is results.json.
type results struct {
	// Command and Commit that made them; a commit with changes ends with "+".
	Command string             `json:"command"`
	Commit  string             `json:"commit"`
	Date    string             `json:"date"`
	Machine string             `json:"machine"`
	Seconds float64            `json:"seconds"`
	Ratios  map[string]float64 `json:"ratios"`
	Rows    []*row             `json:"rows"`
	// Failures say what does not hold that must.
	Failures []string `json:"failures"`
}

// report prints the tables and writes all files; it fails if counts do not hold.
func (b *bench) report(o options) error {
	r := &results{
		Command: "make bench-controllers", Commit: commit(), Date: b.began.UTC().Format(time.DateOnly), Machine: machine(),
		Seconds: rounded(time.Since(b.began).Seconds(), 0),
		Ratios:  ratios(b.rows), Rows: b.rows, Failures: append(b.failures, check(b.rows)...),
	}
	if o.quick {
		r.Command = "make bench-quick"
	}
	tables := r.markdown()
	fmt.Println(tables)
	var err error
	if o.only == "" {
		err = r.write(o.out, tables)
	}
	if len(r.Failures) > 0 {
		err = errors.Join(err, fmt.Errorf("%d things do not hold:\n%s", len(r.Failures), strings.Join(r.Failures, "\n")))
	}
	return err
}

// write results.json, the plots, and the tables into README.md if there is one.
func (r *results) write(dir, tables string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results.json"), append(raw, '\n'), 0o644); err != nil {
		return err
	}
	plots := r.plots()
	for name, svg := range plots {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(svg), 0o644); err != nil {
			return err
		}
	}
	readme := filepath.Join(dir, "README.md")
	text, err := os.ReadFile(readme)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	filled, err := between(string(text), tables+links(plots))
	if err != nil {
		return fmt.Errorf("%s: %w", readme, err)
	}
	return os.WriteFile(readme, []byte(filled), 0o644)
}

// links to what was written beside README.md.
func links(plots map[string]string) string {
	var out strings.Builder
	for _, p := range []struct{ file, text string }{
		{plotCost, "jobs a second, writes and CPU a job"}, {plotPodEnd, "pod end to terminal status while all units arrive"},
		{plotCrash, "crash to the next pod"}, {plotScale, "CPU of a job by the number of objects"},
	} {
		if plots[p.file] != "" {
			fmt.Fprintf(&out, "\n![%s](%s)\n", p.text, p.file)
		}
	}
	return out.String() + "\n[results.json](results.json) has all figures of the run; its `ratios` are those that a machine changes least.\n"
}

// Marks in README.md, between which a run writes.
const (
	markBegin = "<!-- results: begin; written by make bench -->"
	markEnd   = "<!-- results: end -->"
)

// between the marks of a text goes another.
func between(text, inner string) (string, error) {
	head, rest, ok1 := strings.Cut(text, markBegin)
	_, tail, ok2 := strings.Cut(rest, markEnd)
	if !ok1 || !ok2 {
		return "", fmt.Errorf("no lines %q and %q to write between", markBegin, markEnd)
	}
	return head + markBegin + "\n" + inner + "\n" + markEnd + tail, nil
}

func commit() string {
	head, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	name := strings.TrimSpace(string(head))
	// What the benchmark writes itself is no change of what it measures.
	changes, err := exec.Command("git", "status", "--porcelain", "--", ":!docs").Output()
	if err != nil || len(changes) > 0 {
		name += "+"
	}
	return name
}

// machine that a run was made on.
func machine() string {
	model := "unknown CPU"
	if raw, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(raw)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	memory := ""
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		memory = fmt.Sprintf(", %d GB", (info.Totalram*uint64(info.Unit))>>30)
	}
	return fmt.Sprintf("%d cores of %s%s, %s", runtime.NumCPU(), model, memory, runtime.Version())
}
