package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/hack/e2e/harness"
)

// report prints the attempts of all jobs, where their results lie, and where
// copies of them lie on this machine.
func report(ctx context.Context, s *harness.Store, dir string, jobs []*v1alpha1.PoseJob) error {
	fmt.Println("\nATTEMPTS")
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	row(w, "JOB", "#", "VARIANT", "DEVICE", "NODE", "STAGE", "STATE", "REASON", "EXIT", "PEAK/LIMIT MEMORY", "ENGINE")
	for _, j := range jobs {
		for _, a := range j.Status.Attempts {
			row(w, j.Name, fmt.Sprint(a.Number), a.Variant, string(a.Device), a.Node, a.Stage, string(a.State), dash(a.Reason), exit(a), memory(a), engineTime(a))
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print the table: %w", err)
	}
	failed := 0
	for _, j := range jobs {
		fmt.Printf("\n%s: %s\n", j.Name, j.Status.Phase)
		for _, c := range j.Status.Conditions {
			if c.Type == v1alpha1.ConditionDegraded || c.Type == v1alpha1.ConditionReady {
				fmt.Printf("  %s=%s: %s\n", c.Type, c.Status, c.Message)
			}
		}
		if j.Status.Output == nil {
			failed++
			continue
		}
		fmt.Printf("  output   %s\n", j.Status.Output.URI)
		if err := download(ctx, s, filepath.Join(dir, j.Name), j); err != nil {
			return err
		}
	}
	fmt.Println("\nStaged in this demo: the GPU of node gpu-0, and the engine of walk-auto's first attempt.")
	fmt.Println("Real: API server, kubelets, containerd, S3 server, video, pose engine, the process's death, and the operator.")
	if failed > 0 {
		return fmt.Errorf("%d of %d jobs failed", failed, len(jobs))
	}
	return nil
}

func row(w *tabwriter.Writer, cells ...string) { _, _ = fmt.Fprintln(w, strings.Join(cells, "\t")) }

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func exit(a v1alpha1.Attempt) string {
	switch {
	case a.Signal != "":
		return a.Signal
	case a.ExitCode != nil:
		return fmt.Sprint(*a.ExitCode)
	}
	return "-"
}

func memory(a v1alpha1.Attempt) string {
	if a.PeakMemoryBytes == 0 {
		return "-"
	}
	return fmt.Sprintf("%d/%d MiB", a.PeakMemoryBytes>>20, a.LimitMemoryBytes>>20)
}

func engineTime(a v1alpha1.Attempt) string {
	if a.Seconds == nil {
		return "-"
	}
	return fmt.Sprintf("%d s", a.Seconds.Engine)
}

// download the files of a result and check each against its digest.
func download(ctx context.Context, s *harness.Store, dir string, j *v1alpha1.PoseJob) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	for _, f := range j.Status.Output.Files {
		_, rest, _ := strings.Cut(f.URI, "s3://")
		b, key, _ := strings.Cut(rest, "/")
		content, err := s.Get(ctx, b, key)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		if f.SHA256 != "" && hex.EncodeToString(sum[:]) != f.SHA256 {
			return fmt.Errorf("%s differs from the digest in status", f.URI)
		}
		local := filepath.Join(dir, filepath.Base(key))
		if err := os.WriteFile(local, content, 0o600); err != nil {
			return fmt.Errorf("keep a copy of %s: %w", f.URI, err)
		}
		fmt.Printf("  %-14s %8.1f KiB  %s\n", f.Name, float64(len(content))/1024, local)
	}
	return nil
}
