package exec

import (
	"os"
	"testing"

	"github.com/pose-dev/pose-operator/internal/runner/child"
)

// TestMain lets the test binary play the hidden entry point, which starts tools.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == child.Entry {
		os.Exit(child.Main())
	}
	os.Exit(m.Run())
}
