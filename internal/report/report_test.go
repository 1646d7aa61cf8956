package report

import (
	"strings"
	"testing"
)

// FuzzMarshal: whatever an engine says, the message fits, parses, and keeps
// role, result and reason.
func FuzzMarshal(f *testing.F) {
	f.Add("message", "log", 3, 1.5)
	f.Add(strings.Repeat("ä\x00\"", 900), strings.Repeat("\x1b\\", 2000), 200, 1e300)
	f.Fuzz(func(t *testing.T, message, log string, files int, seconds float64) {
		m := Termination{
			Role: RoleDeliver, Result: ResultFailed, Reason: ReasonOutputInvalid, Message: message, Seconds: seconds,
			Engine:  &EngineReport{LogTail: log, StageSeconds: map[string]float64{log: 1}},
			Deliver: &DeliveryReport{URI: "s3://b/k"},
		}
		for i := range min(max(files, 0), 200) {
			m.Deliver.Files = append(m.Deliver.Files, DeliveredFile{Name: "n", Path: strings.Repeat("p", i), SHA256: strings.Repeat("0", 64)})
		}
		b := m.Marshal()
		if len(b) > MaxTerminationBytes {
			t.Fatalf("%d bytes", len(b))
		}
		got, err := ParseTermination(string(b))
		if err != nil || got.Role != m.Role || got.Result != m.Result || got.Reason != m.Reason {
			t.Fatalf("%q: %v", b, err)
		}
		if m.Engine.LogTail != log {
			t.Fatal("Marshal changed its receiver")
		}
	})
}

func TestParseConfig(t *testing.T) {
	for raw, want := range map[string]string{
		`{"version":1,"role":"copy"}`:             "",
		`{"version":1,"role":"fetch","fetch":{}}`: "",
		`{"version":1,"role":"fetch"}`:            "its part is missing",
		`{"version":1,"role":"dance"}`:            "unknown",
		`{"version":2,"role":"copy"}`:             "different releases",
		`not json`:                                "POSE_RUNNER_CONFIG",
	} {
		_, err := ParseConfig(raw)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", raw, err)
		}
	}
}
