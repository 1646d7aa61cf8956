package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
)

// Files of a clip's folder beside those of its layout.
const (
	lookFile   = "look.json"
	failedFile = "failed.json"
	doneFile   = "done"
)

// maxSignal bounds what is read of a file of another container, in bytes.
const maxSignal = 1 << 20

// Failure is why a clip has no result.
type Failure struct {
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message"`
}

// Look is what the role lookup found for a clip.
type Look struct {
	// Report is nil where nobody could look.
	Report *report.LookupReport `json:"report,omitempty"`
	// Refused is what no attempt could mend.
	Refused *Failure `json:"refused,omitempty"`
}

// Reused is a verified result that the clip has already, nil without one.
func (l *Look) Reused() *report.ReusedResult {
	if l == nil || l.Report == nil {
		return nil
	}
	return l.Report.Reused
}

// Seen is what is known of a clip.
type Seen struct {
	// Look is nil until somebody has looked.
	Look *Look
	// Failed says that the clip's video could not be fetched or prepared.
	Failed   *Failure
	Fetched  bool
	Prepared bool
	// Done says that deliver has finished with it, whatever came of it.
	Done bool
}

// Over says that nobody has to do anything more for the clip but deliver.
func (s Seen) Over() bool {
	return s.Done || s.Failed != nil || s.Look != nil && (s.Look.Refused != nil || s.Look.Reused() != nil)
}

// Seen reads what is known of c.
func (c Clip) Seen() Seen {
	s := Seen{Done: there(c.file(doneFile)), Fetched: there(c.Layout.SourceFacts), Prepared: there(c.Layout.FactsFile)}
	var look Look
	if read(c.file(lookFile), &look) {
		s.Look = &look
	}
	var f Failure
	if read(c.file(failedFile), &f) {
		s.Failed = &f
	}
	return s
}

func (c Clip) file(name string) string { return filepath.Join(c.dir, name) }

func there(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular()
}

// read a whole document; false when there is none yet.
func read(path string, v any) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSignal))
	return err == nil && json.Unmarshal(b, v) == nil
}

// Open makes the clip's folder, where the containers of the pod's group write.
func (c Clip) Open() error {
	if err := os.MkdirAll(c.dir, 0o770); err != nil {
		return fmt.Errorf("make the folder of clip %d: %w", c.Number, err)
	}
	// A umask takes nothing away. Another container may have made it.
	if err := os.Chmod(c.dir, 0o770|os.ModeSetgid); err != nil && !errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("open the folder of clip %d to the pod's group: %w", c.Number, err)
	}
	return nil
}

// Looked says what the look at a clip's places found.
func (c Clip) Looked(l Look) error { return c.tell(lookFile, l) }

// Fail says that a clip has no video to work on.
func (c Clip) Fail(err error) error { return c.tell(failedFile, FailureOf(err)) }

// FailureOf gives the reason and the message of an error.
func FailureOf(err error) *Failure {
	var t report.Termination
	outcome.Apply(&t, err)
	return &Failure{Reason: t.Reason, Message: t.Message}
}

func (c Clip) tell(file string, v any) error {
	if err := c.Open(); err != nil {
		return err
	}
	if err := Write(c.file(file), v, 0o644); err != nil {
		return fmt.Errorf("tell the other containers of clip %d: %w", c.Number, err)
	}
	return nil
}

// Finish removes what fills the disk of a clip, and then says that it is done.
func (c Clip) Finish() error {
	if err := c.Open(); err != nil {
		return err
	}
	if err := c.Clear(); err != nil {
		return err
	}
	return c.tell(doneFile, struct{}{})
}

// Clear removes what fills the disk of a clip.
func (c Clip) Clear() error {
	keep := map[string]bool{
		lookFile: true, failedFile: true, doneFile: true,
		filepath.Base(c.Layout.SourceFacts): true, filepath.Base(c.Layout.FactsFile): true,
	}
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return fmt.Errorf("make room after clip %d: %w", c.Number, err)
	}
	for _, e := range entries {
		if keep[e.Name()] {
			continue
		}
		if err := os.RemoveAll(c.file(e.Name())); err != nil {
			return fmt.Errorf("make room after clip %d: %w", c.Number, err)
		}
	}
	return nil
}

// Write leaves a document for the other containers: whoever sees the file sees all
// of it.
func Write(path string, v any, mode os.FileMode) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	temp := path + ".part"
	if err := os.WriteFile(temp, b, mode); err != nil {
		return err
	}
	// The containers are other users of the pod's group, and a umask takes away.
	if err := os.Chmod(temp, mode); err != nil {
		return err
	}
	return os.Rename(temp, path)
}
