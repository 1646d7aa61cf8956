package report_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
)

// FuzzParseTermination: an engine may forge the message. What is accepted is small,
// of this version, and what Marshal makes of it again fits, parses, and keeps what the
// controller judges by.
func FuzzParseTermination(f *testing.F) {
	code := int32(139)
	for _, m := range []report.Termination{
		{Role: report.RoleFetch, Result: report.ResultOK, Fetch: &report.FetchReport{Bytes: 7, SHA256: strings.Repeat("a", 64)}},
		{Role: report.RoleExec, Result: report.ResultFailed, Engine: &report.EngineReport{Stage: "DetectorLoad", ExitCode: &code, LogTail: "Segmentation fault"}},
		{Role: report.RoleDeliver, Result: report.ResultOK, Queue: &report.QueueReport{States: "S.F", Digests: "AAAAAAAAAAAAAAAA", Why: "no frames"}},
		{Role: report.RoleLookup, Result: report.ResultOK, Lookup: &report.LookupReport{VideoBytes: -1, Why: "nothing there"}},
		{Role: report.RolePurge, Result: report.ResultOK, Purge: &report.PurgeReport{Objects: 3, Kept: []string{"a file of somebody else"}}},
	} {
		f.Add(string(m.Marshal()))
	}
	f.Add(`{"v":1,"role":"deliver","result":"OK","engine":{"exitCode":0,"stageSeconds":{"":1e999}}}`)
	f.Add(`{"v":1,"role":"\u0000","result":"OK","deliver":{"files":[null]}}`)
	f.Fuzz(func(t *testing.T, message string) {
		got, err := report.ParseTermination(message)
		if err != nil {
			if !errors.Is(err, report.ErrNotTermination) || got != nil {
				t.Fatalf("%v with %+v", err, got)
			}
			return
		}
		if got.Version != report.Version || got.Role == "" || got.Result == "" || len(message) > 2*report.MaxTerminationBytes {
			t.Fatalf("accepted: %+v", got)
		}
		// Role, result and reason are words of ours; a forged one may be as long as the
		// whole message, which no code of ours writes again.
		if len(got.Role)+len(got.Result)+len(got.Reason) > 256 || got.Queue != nil {
			return
		}
		b := got.Marshal()
		again, err := report.ParseTermination(string(b))
		if err != nil || len(b) > report.MaxTerminationBytes {
			t.Fatalf("%d bytes, %v: %s", len(b), err, b)
		}
		if again.Role != got.Role || again.Result != got.Result || again.Reason != got.Reason {
			t.Fatalf("%+v became %+v", got, again)
		}
		if e := got.Engine; e != nil && (again.Engine == nil || !reflect.DeepEqual(e.ExitCode, again.Engine.ExitCode) || e.OOMKills != again.Engine.OOMKills) {
			t.Fatalf("%+v became %+v", e, again.Engine)
		}
	})
}

// FuzzParseConfig: a configuration that is accepted has the part of its role, and means
// the same when it is written again.
func FuzzParseConfig(f *testing.F) {
	f.Add(`{"v":1,"role":"copy"}`)
	f.Add(`{"v":1,"role":"fetch","fetch":{"uri":"s3://b/v.mp4","maxBytes":1}}`)
	f.Add(`{"v":1,"role":"lookup","lookup":{"uri":"pvc://c/out","video":{"uri":"pvc://c/v"},"candidates":[{"uri":"s3://b/x"}]}}`)
	f.Add(`{"v":1,"role":"send","send":null}`)
	f.Fuzz(func(t *testing.T, raw string) {
		c, err := report.ParseConfig(raw)
		if err != nil {
			return
		}
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := report.ParseConfig(string(b))
		if err != nil || again.Role != c.Role {
			t.Fatalf("%s: %v", b, err)
		}
		if text, err := json.Marshal(again); err != nil || string(text) != string(b) {
			t.Fatalf("%s became %s", b, text)
		}
	})
}

// FuzzDecodeDigests: what is accepted has one entry a clip, each a digest or nothing,
// and is written as it was read.
func FuzzDecodeDigests(f *testing.F) {
	f.Add("", uint16(3))
	f.Add("AAAAAAAAAAAAAAAA\n\nabcdefghijklmno_", uint16(3))
	f.Add("AAAAAAAAAAAAAAAA\n\n", uint16(3))
	f.Fuzz(func(t *testing.T, text string, clips uint16) {
		got, err := report.DecodeDigests(text, int(clips))
		if err != nil {
			if len(err.Error()) > 300 {
				t.Fatalf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if len(got) != int(clips) {
			t.Fatalf("%d digests of %d clips", len(got), clips)
		}
		for _, d := range got {
			if d != "" && !report.IsShortDigest(d) {
				t.Fatalf("%q", d)
			}
		}
		if again := report.EncodeDigests(got); again != strings.TrimRight(text, "\n") {
			t.Fatalf("%q became %q", text, again)
		}
	})
}

// FuzzClaim: a claim is a part of what names it.
func FuzzClaim(f *testing.F) {
	f.Add("pvc://videos/a.mp4")
	f.Add("pvc:///a")
	f.Add("s3://pvc://x/y")
	f.Fuzz(func(t *testing.T, uri string) {
		if c := report.Claim(uri); strings.Contains(c, "/") || c != "" && !strings.HasPrefix(uri, "pvc://"+c) {
			t.Fatalf("%q of %q", c, uri)
		}
	})
}
