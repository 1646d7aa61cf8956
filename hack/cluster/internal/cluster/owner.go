package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pose-dev/pose-operator/hack/cluster/internal/layout"
)

// Owner says whose cluster this machine runs. Network names and addresses
// are one set for the machine, so there is at most one cluster.
type Owner struct {
	Dir     string    `json:"dir"`
	Program string    `json:"program"`
	Since   time.Time `json:"since"`
}

func ownerFile(run string) string { return filepath.Join(run, "owner.json") }

// readOwner returns nil when the machine runs no cluster.
func readOwner(run string) (*Owner, error) {
	data, err := os.ReadFile(ownerFile(run))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var o Owner
	if err := json.Unmarshal(data, &o); err != nil {
		return nil, fmt.Errorf("%s is damaged (%w): remove it once no cluster runs", ownerFile(run), err)
	}
	return &o, nil
}

func writeOwner(run string, o Owner) error {
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return os.WriteFile(ownerFile(run), data, 0o644)
}

// ErrForeign is the answer when another clone's cluster holds the machine.
type ErrForeign struct{ Owner Owner }

func (e ErrForeign) Error() string {
	return fmt.Sprintf("this machine runs the cluster of %s since %s: end it with `%s down --dir %s`, or take over with `up --replace`",
		e.Owner.Dir, e.Owner.Since.Local().Format("2006-01-02 15:04"), e.Owner.Program, e.Owner.Dir)
}

// checkOwner fails if the machine's cluster belongs to another folder.
func checkOwner(run, dir string) error {
	o, err := readOwner(run)
	if err != nil || o == nil || o.Dir == dir {
		return err
	}
	return ErrForeign{*o}
}

// lock keeps two ups or downs on one machine apart; the returned function
// releases it. The folder itself is locked, so that nothing stays behind.
func lock() (func(), error) {
	for {
		if err := os.MkdirAll(layout.RunDir, 0o755); err != nil {
			return nil, err
		}
		dir, err := os.Open(layout.RunDir)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
			dir.Close()
			return nil, fmt.Errorf("wait for another run of cluster: %w", err)
		}
		// A `down` that held the lock may have removed the folder meanwhile.
		ours, err1 := dir.Stat()
		now, err2 := os.Stat(layout.RunDir)
		if err1 == nil && err2 == nil && os.SameFile(ours, now) {
			return func() { dir.Close() }, nil
		}
		dir.Close()
	}
}
