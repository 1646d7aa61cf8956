package posejob

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"
)

func TestLastBytes(t *testing.T) {
	long := strings.Repeat("x", 100000)
	for in, want := range map[string]string{"": "", "abc": "abc", "abcdefgh": "efgh", long + "tail": "tail"} {
		got, err := lastBytes(iotest.OneByteReader(strings.NewReader(in)), 4)
		if err != nil || string(got) != want {
			t.Errorf("lastBytes of %d bytes = %q, %v; want %q", len(in), got, err, want)
		}
	}
	if _, err := lastBytes(iotest.ErrReader(errors.New("broken")), 4); err == nil {
		t.Error("want the reader's error")
	}
}
