package enginecheck

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/errand"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
)

// Levels of findings.
const (
	LevelOK      = "ok"
	LevelWarning = "warning"
	LevelError   = "error"
)

// levels, the worst last.
var levels = []string{LevelOK, LevelWarning, LevelError}

// Finding is one thing that was looked at.
type Finding struct {
	Level string `json:"level"`
	Name  string `json:"name"`
	What  string `json:"what"`
	// Remedy is what to do; empty where nothing is to be mended.
	Remedy string `json:"remedy,omitempty"`
}

// Document is what an adapter's `check --json` prints, as one line of its log.
type Document struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Engine     string    `json:"engine"`
	Adapter    string    `json:"adapter,omitempty"`
	Detector   string    `json:"detector,omitempty"`
	Device     string    `json:"device,omitempty"`
	Findings   []Finding `json:"findings"`
}

const (
	documentKind = "PoseEngineCheck"
	maxFindings  = 500
)

// errNoDocument says that a log holds no document of a check.
var errNoDocument = errors.New("the log holds no findings")

// Read finds the document in the log of a check. Other lines may stand around it.
// One that says nothing, or what is not understood here, is an error: it does not
// show that anything was looked at.
func Read(log string) (*Document, error) {
	none := errNoDocument
	for line := range strings.Lines(log) {
		i := strings.IndexByte(line, '{')
		if i < 0 || !strings.Contains(line, documentKind) {
			continue
		}
		var d Document
		if err := json.Unmarshal([]byte(line[i:]), &d); err != nil || d.Kind != documentKind {
			continue
		}
		if err := d.check(); err != nil {
			none = err
			continue
		}
		if len(d.Findings) > maxFindings { // what is wrong is not what is left out
			slices.SortStableFunc(d.Findings, func(a, b Finding) int {
				return cmp.Compare(slices.Index(levels, b.Level), slices.Index(levels, a.Level))
			})
			d.Findings = d.Findings[:maxFindings]
		}
		return &d, nil
	}
	return nil, none
}

func (d *Document) check() error {
	if want := v1alpha1.GroupVersion.String(); d.APIVersion != want {
		return fmt.Errorf("its apiVersion is %.100q, not %s", d.APIVersion, want)
	}
	if len(d.Findings) == 0 {
		return errors.New("it has no findings")
	}
	for _, f := range d.Findings {
		if !slices.Contains(levels, f.Level) {
			return fmt.Errorf("its finding %.100q has the unknown level %.100q", f.Name, f.Level)
		}
	}
	return nil
}

// Findings of a check whose pod has ended and left this log; never none. whole is
// that of its request.
func Findings(pod *corev1.Pod, log string, whole bool) []Finding {
	doc, err := Read(log)
	switch {
	case err == nil:
		return append(doc.Findings, unexplained(pod, doc.Findings)...)
	case !errors.Is(err, errNoDocument):
		return []Finding{{
			Level: LevelError, Name: "check", What: "the check's document cannot be used: " + err.Error(),
			Remedy: "use the engine's adapter and kubectl-pose of one release of the operator",
		}}
	case whole:
		return []Finding{Silent(pod, log)}
	}
	return []Finding{Started(pod, log)}
}

// unexplained is the finding about a check that ended badly though it found no error.
func unexplained(pod *corev1.Pod, found []Finding) []Finding {
	ended := ending(pod)
	if ended != nil && ended.ExitCode == 0 || slices.ContainsFunc(found, func(f Finding) bool { return f.Level == LevelError }) {
		return nil
	}
	f := Finding{Level: LevelError, Name: "check", Remedy: "look at the log of the check's pod, which --keep leaves"}
	switch {
	case ended == nil:
		f.What = "it is not known how it ended: " + pod.Status.Message
	case ended.Reason == "OOMKilled":
		f.What = "it ran out of memory after its findings"
		f.Remedy = "raise resources.limits.memory of the variant"
	default:
		f.What = fmt.Sprintf("it ended with exit code %d, and none of its findings says why", ended.ExitCode)
	}
	return []Finding{f}
}

// Started is the finding about an engine of which only its start can be seen:
// the pod ended, and this is its log.
func Started(pod *corev1.Pod, log string) Finding {
	f := Finding{Level: LevelOK, Name: "start", What: "the image was pulled and its program starts"}
	ended := ending(pod)
	switch {
	case ended == nil:
		f.Level, f.What = LevelError, "the engine's container did not run: "+pod.Status.Message
		f.Remedy = "look at the pod's events"
	case ended.ExitCode != 0:
		f.Level, f.What = LevelError, fmt.Sprintf("its program ended with exit code %d%s", ended.ExitCode, words(log))
		f.Remedy = "check the image and the variant's command; the program ran with --help alone"
	}
	return f
}

// Silent is the finding about a check that ended without its document.
func Silent(pod *corev1.Pod, log string) Finding {
	f := Finding{
		Level: LevelError, Name: "check",
		Remedy: "the first words of the variant's command must start Python 3.9 or newer in the image (the chart's value engines.phalp.python)",
	}
	switch ended := ending(pod); {
	case ended == nil:
		f.What = "the engine's container did not run: " + pod.Status.Message
		f.Remedy = "look at the pod's events"
	case ended.Reason == "OOMKilled":
		f.What = "it ran out of memory while it imported the engine's libraries"
		f.Remedy = "raise resources.limits.memory of the variant"
	default:
		f.What = fmt.Sprintf("it ended with exit code %d and said nothing of its findings%s", ended.ExitCode, words(log))
	}
	return f
}

func ending(pod *corev1.Pod) *corev1.ContainerStateTerminated { return errand.Ended(pod, Container) }

// words are the last of a log.
func words(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	lines = lines[max(0, len(lines)-3):]
	if said := strings.TrimSpace(strings.Join(lines, " | ")); said != "" {
		return ": " + said[max(0, len(said)-600):]
	}
	return ""
}

// Look at a pod of a check.
func Look(pod *corev1.Pod) errand.Progress {
	for _, s := range pod.Status.InitContainerStatuses {
		if t := s.State.Terminated; t != nil && t.ExitCode != 0 && s.Name == attempt.ContainerAdapter {
			return errand.Progress{Step: "failed", Stuck: "the adapter's image cannot be used: " + errand.Said(t) + ". Its folder /adapter must hold the adapter's files"}
		}
	}
	return errand.Look(pod, Container)
}
