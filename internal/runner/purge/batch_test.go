package purge

import "testing"

func TestClipOf(t *testing.T) {
	for key, want := range map[string]string{
		"a.mp4/attempts/abcde-1/pose.json":                    "a.mp4",
		"a.mp4/attempts/abcde-1/deep/er.json":                 "a.mp4",
		"a.mp4/manifest.json":                                 "a.mp4",
		"cam/1/a.mp4/attempts/abcde-12/manifest.json":         "cam/1/a.mp4",
		"attempts/a.mp4/attempts/abcde-1/pose.json":           "attempts/a.mp4",
		"cam/attempts/a.mp4/attempts/abcde-1/manifest.json":   "cam/attempts/a.mp4",
		"cam/attempts/a.mp4/manifest.json":                    "cam/attempts/a.mp4",
		"a.mp4/attempts/abcde-1/attempts/x.json":              "a.mp4",
		"a.mp4/attempts/x.json":                               "",
		"attempts/abcde-1/pose.json":                          "", // of a job at the very output
		"manifest.json":                                       "",
		"batch.json":                                          "",
		"notes.txt":                                           "",
		"a.mp4/pose.json":                                     "",
		"a.mp4/attempts-2/abcde-1/pose.json":                  "",
		"a.mp4/attempts//pose.json":                           "",
		"a.mp4/attempts/abcde-1/attempts/fghij-2/pose.json":   "a.mp4/attempts/abcde-1",
		"a.mp4/attempts/abcde-1/attempts/abcde-/other-x.json": "a.mp4",
	} {
		if got, ok := clipOf(key); got != want || ok != (want != "") {
			t.Errorf("%s: %q %v, want %q", key, got, ok, want)
		}
	}
}
