package sweep

import (
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		`{"entries":[{"uri":"s3://b/up"}]}`:                                            "",
		`{"store":{"s3Region":"r"},"entries":[{"uri":"gs://b/up","olderThan":"24h"}]}`: "",
		`{"entries":[{"uri":"pvc://c/up","pvcMount":"/m","keep":["*.keep","a/b"]}]}`:   "",
		`{"entries":[{"uri":"azblob://c","allowRoot":true}]}`:                          "",
		`{"entries":[{"uri":"s3://b"}]}`:                                               "allowRoot",
		`{"entries":[{"uri":"s3://b//"}]}`:                                             "allowRoot",
		`{"entries":[{"uri":"pvc://c/","pvcMount":"/m"}]}`:                             "allowRoot",
		`{"entries":[{"uri":"pvc://c/up"}]}`:                                           "pvcMount",
		`{"entries":[{"uri":"https://h/up"}]}`:                                         "entries[0]: uri must be",
		`{"entries":[{"uri":"s3:///up"}]}`:                                             "uri must be",
		`{"entries":[{"uri":"s3://b/up"},{"uri":"s3://b/up","olderThan":"1s"}]}`:       "entries[1]: olderThan is 1s",
		`{"entries":[{"uri":"s3://b/up","olderThan":"-168h"}]}`:                        "olderThan",
		`{"entries":[{"uri":"s3://b/up","olderThan":7}]}`:                              `"168h"`,
		`{"entries":[{"uri":"s3://b/up","olderThan":"a week"}]}`:                       "duration",
		`{"entries":[{"uri":"s3://b/up","keep":["["]}]}`:                               "glob",
		`{"entries":[{"uri":"s3://b/up","keep":["/"]}]}`:                               "glob",
		`{"entries":[{"uri":"s3://b/up","older":"1h"}]}`:                               "unknown field",
		`{"entries":[]}`: "1 to 256",
		`[]`:             "no sense",
		`{"entries":[` + strings.Repeat(`{"uri":"s3://b/up"},`, 300) + `{"uri":"s3://b/up"}]}`: "1 to 256",
		strings.Repeat(" ", maxConfig+1): "larger than",
	} {
		c, err := Parse(strings.NewReader(text))
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) || want == "" && err != nil {
			t.Errorf("%.80s: %v, want %q", text, err, want)
		}
		if err == nil && strings.Contains(text, "s3://b/up") && time.Duration(c.Entries[0].OlderThan) != 168*time.Hour {
			t.Errorf("%s: %v", text, c.Entries[0])
		}
	}
}

func TestKeeps(t *testing.T) {
	e := Entry{Keep: []string{"*.keep", "precious", "demo/*", "/a/b/"}}
	for key, want := range map[string]bool{
		"x.keep": true, "d/x.keep": true, "x.keep/y": true, "precious": true, "d/precious/y.mp4": true, "demo/v.mp4": true, "demo/d/v.mp4": true, "a/b": true, "a/b/c": true,
		"demo": false, "x/demo/v.mp4": false, "x.keeper": false, "imprecious": false, "a/c": false, "x/a/b": false,
	} {
		if e.keeps(key) != want {
			t.Errorf("%s: want %v", key, want)
		}
	}
}
