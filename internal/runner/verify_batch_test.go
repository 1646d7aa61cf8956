package runner_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
)

// TestVerifyOfABatch checks what a batch delivered, in a real S3 server and in a
// claim: whole, and with one result of two damaged.
func TestVerifyOfABatch(t *testing.T) {
	t.Parallel()
	for name, w := range worlds(t) {
		w.put("videos/v.mp4", "a video")
		var b bytes.Buffer
		index, err := clips.NewIndexWriter(&b, clips.IndexHead{
			APIVersion: clips.APIVersion, Kind: clips.KindIndex, Version: clips.IndexVersion, URI: w.base + "/team-a/many",
			Batch: clips.BatchRef{Namespace: "team-a", Name: "many", UID: "u"}, Counts: clips.IndexCounts{Total: 2, Succeeded: 2},
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, clip := range []string{"a.mp4", "cam/b.mp4"} {
			d := w.compute("videos/v.mp4", "team-a/many/"+clip, "aaaaa-1", clipRef("many", i), nil)
			if err := index.Add(clips.IndexEntry{Name: clip, Video: w.base + "/videos/v.mp4", State: clips.StateSucceeded, Result: d.URI, ManifestSHA256: d.ManifestSHA256, Frames: &d.Frames}); err != nil {
				t.Fatal(err)
			}
		}
		if err := index.Close(); err != nil {
			t.Fatal(err)
		}
		w.put("team-a/many/batch.json", b.String())
		sum := sha256.Sum256(b.Bytes())
		digest := hex.EncodeToString(sum[:])
		run := func(want string) (*report.Termination, int, string) {
			m, code, out := w.pod().run(report.Config{Role: report.RoleVerify, Verify: &report.VerifyConfig{
				URI: w.base + "/team-a/many", PVCMount: w.mount, Store: w.store, ManifestSHA256: want, Batch: true, TimeoutSeconds: 60,
			}})
			return m, code, out
		}
		m, code, out := run(digest)
		if v := m.Verify; code != 0 || v == nil || v.Results != 2 || v.Files < 2 || v.ManifestSHA256 != digest || v.URI != w.base+"/team-a/many/batch.json" || !strings.Contains(out, `pose-runner: batch {"apiVersion"`) {
			t.Errorf("%s: %d %+v %+v\n%s", name, code, m, m.Verify, out)
		}
		if m, code, out = run(strings.Repeat("0", 64)); code != 1 || m.Reason != report.ReasonOutputInvalid || !strings.Contains(m.Message, "it was changed, or written anew") {
			t.Errorf("%s: another digest: %d %+v\n%s", name, code, m, out)
		}
		w.put("team-a/many/cam/b.mp4/attempts/aaaaa-1/pose.json", "spoilt")
		if m, code, out = run(digest); code != 1 || m.Verify == nil || len(m.Verify.Problems) != 1 || !strings.Contains(m.Message, "cam/b.mp4: pose.json") || !strings.Contains(out, "pose-runner: damaged: cam/b.mp4: pose.json") || m.Verify.Results != 2 {
			t.Errorf("%s: a damaged file: %d %+v\n%s", name, code, m, out)
		}
		w.put("team-a/many/batch.json", "hello")
		if m, code, out = run(digest); code != 1 || m.Verify != nil || m.Reason != report.ReasonInputUnavailable || m.Temporary {
			t.Errorf("%s: no index: %d %+v\n%s", name, code, m, out)
		}
	}
}
