package outcome

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
)

func TestApply(t *testing.T) {
	for name, tc := range map[string]struct {
		err     error
		before  report.Result
		result  report.Result
		reason  string
		message string
	}{
		"success":  {nil, "", report.ResultOK, "", ""},
		"skipped":  {nil, report.ResultSkipped, report.ResultSkipped, "", ""},
		"typed":    {Failf(report.ReasonInputInvalid, "%s is empty", "v"), "", report.ResultFailed, report.ReasonInputInvalid, "v is empty"},
		"wrapped":  {fmt.Errorf("fetch: %w", Failf(report.ReasonConfig, "x")), "", report.ResultFailed, report.ReasonConfig, "fetch: x"},
		"untyped":  {errors.New("boom"), report.ResultRunning, report.ResultFailed, "", "boom"},
		"redacted": {errors.New("get http://u:p@h/?s=1\x1b[31m"), "", report.ResultFailed, "", "get http://h/"},
	} {
		m := report.Termination{Result: tc.before}
		Apply(&m, tc.err)
		if m.Result != tc.result || m.Reason != tc.reason || !strings.HasPrefix(m.Message, tc.message) || strings.Contains(m.Message, "u:p") {
			t.Errorf("%s: %+v", name, m)
		}
	}
	if !errors.Is(Failf("r", "open: %w", fs.ErrNotExist), fs.ErrNotExist) {
		t.Error("the cause is lost")
	}
}

// TestWriterParsesAtEveryMoment: a shorter message over a longer one parses too,
// and the file itself stays, as a mounted one must.
func TestWriterParsesAtEveryMoment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before, _ := os.Stat(path)
	w := NewWriter(path)
	for _, n := range []int{10, 900, 1, 100_000, 3} {
		m := &report.Termination{Role: report.RoleExec, Result: report.ResultRunning, Message: strings.Repeat("m", n)}
		if err := w.Update(m); err != nil {
			t.Fatal(err)
		}
		b, _ := os.ReadFile(path)
		if got, err := report.ParseTermination(string(b)); err != nil || len(b) > report.MaxTerminationBytes || got.Message[:1] != "m" {
			t.Fatalf("after %d: %q %v", n, b, err)
		}
	}
	if err := w.Final(&report.Termination{Role: report.RoleExec, Result: report.ResultOK}); err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(path)
	after, _ := os.Stat(path)
	if string(b) != `{"v":1,"role":"exec","result":"OK"}` || !os.SameFile(before, after) {
		t.Errorf("%q", b)
	}
}
