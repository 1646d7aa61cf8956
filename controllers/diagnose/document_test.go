package diagnose_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/controllers/internal/failure"
	"github.com/pose-dev/pose-operator/controllers/internal/plan"
)

var update = flag.Bool("update", false, "write the table of reasons into the document")

const (
	document = "../../docs/failures.md"
	begin    = "<!-- reasons: made by go test ./controllers/diagnose -update -->\n"
	end      = "<!-- end of reasons -->\n"
)

// TestTheDocumentHasEveryReason keeps the table of docs/failures.md equal to what
// the code says.
func TestTheDocumentHasEveryReason(t *testing.T) {
	raw, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(raw), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the table", document)
	}
	var b strings.Builder
	b.WriteString("| reason | what happened | the operator | you can |\n|---|---|---|---|\n")
	for _, r := range failure.Reasons() {
		cause, remedy := failure.Meaning(r)
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s |\n", r, cell(cause), plan.ActionFor(r), cell(remedy))
	}
	want := head + begin + b.String() + end + tail
	if want == string(raw) {
		return
	}
	if !*update {
		t.Fatalf("%s is out of date: run go test ./controllers/diagnose -update", document)
	}
	if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
