package report

import (
	"strings"
	"testing"
)

func TestParseConfig(t *testing.T) {
	for raw, want := range map[string]string{
		`{"version":1,"role":"copy"}`:             "",
		`{"version":1,"role":"adapter"}`:          "",
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
