package term

import (
	"bytes"
	"os"
	"os/signal"
	"syscall"
	"testing"
)

// TestEndsWithItsTerminal: the signals would end the test's own process, were they
// not caught.
func TestEndsWithItsTerminal(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM} {
		if signal.Ignored(s) {
			t.Skipf("%v is ignored here, as under nohup", s)
		}
		ctx, stop := UntilTold(t.Context())
		if err := syscall.Kill(os.Getpid(), s); err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
		stop()
	}
}

func TestNothingFromAStatusMovesTheTerminal(t *testing.T) {
	var out bytes.Buffer
	w := Safe(&out)
	if _, err := w.Write([]byte("  a\x1b[31mb\u202ec\u009b2J\n\nd\n")); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "  abc2J\n\nd\n" {
		t.Errorf("%q", got)
	}
}
