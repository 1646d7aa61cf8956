package cluster

import (
	"io"
	"strings"
	"testing"
)

// A command in a pod can say without end; io.Copy must find no way around the bound.
func TestBoundedKeepsTheFirstBytes(t *testing.T) {
	t.Parallel()
	var b bounded
	n, err := io.Copy(&b, io.MultiReader(strings.NewReader("why"), strings.NewReader(strings.Repeat("x", 3*maxSaid))))
	if said := b.String(); n != 3*maxSaid+3 || err != nil || len(said) != maxSaid || !strings.HasPrefix(said, "whyx") {
		t.Errorf("%d bytes taken, %v; %d kept: %.10q", n, err, len(said), said)
	}
}
