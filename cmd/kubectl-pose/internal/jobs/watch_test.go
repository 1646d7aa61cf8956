package jobs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// script is a source that plays states.
type script struct {
	steps [][]client.Object
	pause time.Duration
}

func (s script) follow(ctx context.Context, seen func(client.Object) bool, _ func(ref) bool, all func() (bool, error)) error {
	for i, step := range s.steps {
		enough := false
		for _, o := range step {
			enough = seen(o)
		}
		if i == 0 {
			var err error
			if enough, err = all(); err != nil {
				return err
			}
		}
		if enough {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(s.pause):
		}
	}
	<-ctx.Done()
	return nil
}

func played(name string, percent int32, end string) *v1alpha1.PoseJob {
	ends := metav1.NewTime(time.Now().Add(3 * time.Minute))
	j := &v1alpha1.PoseJob{ObjectMeta: metav1.ObjectMeta{Namespace: "snow", Name: name}}
	j.Status = v1alpha1.PoseJobStatus{
		Phase: v1alpha1.PhaseRunning, Stage: "Tracking", Variant: "cpu", AttemptCount: 2,
		Attempts: []v1alpha1.Attempt{
			{Number: 1, State: v1alpha1.AttemptFailed, Variant: "gpu", Device: v1alpha1.GPU, Reason: "DetectorLoadCrash", Message: "it died\x1b[2J by SIGSEGV", Action: v1alpha1.ActionNextVariant},
			{Number: 2, State: v1alpha1.AttemptRunning, Variant: "cpu", Device: v1alpha1.CPU},
		},
		Progress: &v1alpha1.JobProgress{Percent: percent, Frames: int64(percent) * 8, TotalFrames: 800, MilliFPS: 4200, EstimatedCompletionTime: &ends},
	}
	if end != "" {
		j.Status.Phase, j.Status.Stage = v1alpha1.Phase(end), ""
		j.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionFinished, Status: metav1.ConditionTrue}, {Type: v1alpha1.ConditionReady, Message: "no variant\x1b[2J is left"}}
		if end == "Succeeded" {
			j.Status.Conditions = append(j.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionComplete, Status: metav1.ConditionTrue})
			j.Status.Output = &v1alpha1.OutputStatus{URI: "s3://results/snow/" + name + "/attempts/abcde-2", People: 2, Frames: 800}
		}
	}
	return j
}

// onTerminal runs a watch on a pseudo-terminal and gives all that it wrote there.
func onTerminal(t *testing.T, rows, cols uint16, from source, refs []ref, f watchFlags) (string, error) {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := pty.Setsize(slave, &pty.Winsize{Rows: rows, Cols: cols}); err != nil {
		t.Fatal(err)
	}
	var screen bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&screen, master) // ends with an error when the other side is closed
	}()
	err = watchJobs(t.Context(), genericiooptions.IOStreams{Out: slave, ErrOut: slave}, f, from, refs)
	slave.Close()
	<-read
	if path := os.Getenv("POSE_TEST_SCREEN"); path != "" {
		_ = os.WriteFile(path, screen.Bytes(), 0o600)
	}
	return screen.String(), err
}

// control is what a bar needs of a terminal: colours and titles are not among it.
var control = regexp.MustCompile(`\x1b\[(\d*[ABCDJK]|\?25[lh])`)

func TestBarsOnATerminal(t *testing.T) {
	var steps [][]client.Object
	refs := []ref{{name: "slow"}, {name: "quick"}, {name: "bad"}}
	for p := int32(0); p <= 100; p += 10 {
		step := []client.Object{played("slow", p, "")}
		if p <= 50 {
			step = append(step, played("quick", p*2, map[bool]string{true: "Succeeded"}[p == 50]), played("bad", p, map[bool]string{true: "Failed"}[p == 50]))
		}
		steps = append(steps, step)
	}
	steps = append(steps, []client.Object{played("slow", 100, "Succeeded")})
	out, err := onTerminal(t, 24, 120, script{steps, 250 * time.Millisecond}, refs, watchFlags{})
	if err == nil || !strings.Contains(err.Error(), "1 of 3 did not succeed: [bad]") {
		t.Errorf("%v", err)
	}
	for _, want := range []string{"Tracking", "[====", ">", "50% 2m5", "s left, 400/800 frames, 4.2 fps, attempt 2: cpu",
		"slow: attempt 1, gpu, failed: DetectorLoadCrash: it died by SIGSEGV; next: NextVariant", "pj/bad Failed: no variant is left", "pj/slow Succeeded, 2 people in 800 frames"} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in\n%q", want, out)
		}
	}
	if left := control.ReplaceAllString(out, ""); strings.Contains(left, "\x1b") {
		t.Errorf("the terminal was told more than a bar needs: %q", left)
	}
	for _, l := range strings.FieldsFunc(control.ReplaceAllString(out, ""), func(r rune) bool { return r == '\n' || r == '\r' }) {
		if len([]rune(l)) > 120 && !strings.Contains(l, "attempt 1") && !strings.HasPrefix(l, "pj/") {
			t.Errorf("%d characters: %q", len([]rune(l)), l)
		}
	}
}

// TestMoreJobsThanLines of the terminal: some wait for their bar.
func TestMoreJobsThanLines(t *testing.T) {
	var first, last []client.Object
	var refs []ref
	for i := range 30 {
		name := fmt.Sprintf("job-%02d", i)
		first, last = append(first, played(name, 10, "")), append(last, played(name, 100, "Succeeded"))
		refs = append(refs, ref{name: name})
	}
	out, err := onTerminal(t, 10, 80, script{[][]client.Object{first, first, last}, 500 * time.Millisecond}, refs, watchFlags{})
	if err != nil || !strings.Contains(out, "and 23 more") || strings.Count(out, "Succeeded, 2 people") != 30 {
		t.Errorf("%v\n%q", err, out)
	}
}

func TestPlainLinesOnATerminal(t *testing.T) {
	out, err := onTerminal(t, 24, 80, script{[][]client.Object{{played("a", 10, "")}, {played("a", 15, "")}, {played("a", 100, "Succeeded")}}, time.Millisecond}, []ref{{name: "a"}}, watchFlags{plain: true})
	if err != nil || strings.Contains(out, "\x1b") || strings.Contains(out, "15%") || !strings.Contains(out, "a: Tracking 10%") {
		t.Errorf("%v %q", err, out)
	}
}

// TestNoOperator: a job that nobody takes up is told of, once.
func TestNoOperator(t *testing.T) {
	var notes bytes.Buffer
	now := time.Now()
	w := &watcher{now: func() time.Time { return now }, last: map[ref]standing{}, told: map[ref]int{}, since: map[ref]time.Time{}, board: quiet{silent{}, &notes}}
	said := &saying{}
	w.board = said
	j := &v1alpha1.PoseJob{ObjectMeta: metav1.ObjectMeta{Name: "fresh"}}
	for range 3 {
		w.seen(j)
		now = now.Add(patience + time.Second)
	}
	if len(said.lines) != 1 || !strings.Contains(said.lines[0], "No operator has taken pj/fresh up") {
		t.Errorf("%q", said.lines)
	}
}

type saying struct {
	silent
	lines []string
}

func (s *saying) Say(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}
