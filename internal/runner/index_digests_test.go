package runner_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/index"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
)

// TestIndexBelievesTheRecord: a pointer leads to what its writer likes. The index has
// the results whose digests were recorded, and says where others lie.
func TestIndexBelievesTheRecord(t *testing.T) {
	t.Parallel()
	l := batchPod(t, "")
	dir := filepath.Join(l.OutputDir, "team-a", "many")
	cfg := report.IndexConfig{URI: "pvc://claim/team-a/many", PVCMount: l.OutputDir, Chunks: 1, TimeoutSeconds: 60}
	batch := report.JobRef{Namespace: "team-a", Name: "many", UID: "u"}
	chunk(t, l, 0, []string{"a", "b", "c", "d"}, "SSSF", `{}`)
	digests := make([]string, 4)
	for i, name := range []string{"a", "b", "c"} {
		digests[i] = report.ShortDigest(layResult(t, dir, name, int64(i)))
	}
	digests[2] = "" // an old record does not know it
	layResult(t, dir, "b", 7)
	layResult(t, dir, "c", 7)
	record := filepath.Join(l.BatchDir, fmt.Sprint(report.DigestsFile, 0))
	run := func(text string) (entries []clips.IndexEntry, missing int32) {
		t.Helper()
		if err := os.WriteFile(record, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		rep, err := index.Run(t.Context(), cfg, batch, l, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(filepath.Join(dir, report.BatchFile))
		var got struct{ Clips []clips.IndexEntry }
		if err != nil || json.Unmarshal(raw, &got) != nil || len(got.Clips) != 4 {
			t.Fatalf("%v %s", err, raw)
		}
		return got.Clips, rep.Missing
	}
	got, missing := run(report.EncodeDigests(digests))
	if missing != 1 || got[0].Result == "" || got[2].Result == "" {
		t.Errorf("%d missing: %+v", missing, got)
	}
	if e := got[1]; e.State != clips.StateSucceeded || e.Result != "" || e.ManifestSHA256 != "" || !strings.Contains(e.Message, "another result than the one that was recorded") || !strings.Contains(e.Message, "team-a/many-b") {
		t.Errorf("%+v", e)
	}
	// Without digests the pointer is believed, as there is nothing else.
	if got, missing = run(""); missing != 0 || got[1].Result == "" {
		t.Errorf("%d missing: %+v", missing, got)
	}
	if err := os.WriteFile(record, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := index.Run(t.Context(), cfg, batch, l, io.Discard)
	var term report.Termination
	if outcome.Apply(&term, err); term.Temporary || !strings.Contains(term.Message, "digests of chunk 0") {
		t.Errorf("%+v", term)
	}
}
