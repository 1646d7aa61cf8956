package progress

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
)

func TestText(t *testing.T) {
	for want, p := range map[string]report.Progress{
		"stage=Tracking frames=120/795 15% 4.2 fps eta 2m41s": {Stage: "Tracking", Frames: 120, Total: 795, MilliFPS: 4200},
		"stage=Tracking frames=7":                             {Stage: "Tracking", Frames: 7},
		"stage=Tracking frames=10/10 100% 0.5 fps":            {Stage: "Tracking", Frames: 10, Total: 10, MilliFPS: 500},
		"stage=Tracking frames=0/36000 0% 1.0 fps eta 10h0m":  {Stage: "Tracking", Total: 36000, MilliFPS: 1000},
		"stage=Fetch bytes=1.5MiB/3.0MiB 50%":                 {Stage: "Fetch", Bytes: 3 << 19, TotalBytes: 3 << 20},
		"stage=Fetch bytes=12B":                               {Stage: "Fetch", Bytes: 12},
		"stage=EngineStart":                                   {Stage: "EngineStart"},
	} {
		if got := Text(p); got != want {
			t.Errorf("%q, expected %q", got, want)
		}
	}
}

func TestPace(t *testing.T) {
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var p Pace
	var got int64
	for i := range int64(200) {
		got = p.Add(t0.Add(time.Duration(i)*time.Second), i*4).Now
	}
	if got != 4000 {
		t.Errorf("4 frames a second are %d", got)
	}
	if got = p.Add(t0.Add(300*time.Second), 1).Now; got != 0 {
		t.Errorf("after a new beginning: %d", got)
	}
	if got = p.Add(t0.Add(301*time.Second), 3).Now; got != 2000 {
		t.Errorf("two frames in a second are %d", got)
	}
	if got = p.Add(t0.Add(302*time.Second), 3).Now; got != 1000 {
		t.Errorf("a pause must slow the pace: %d", got)
	}
}

// TestPaceLeavesLoadingAndPausesOut: whether a deadline can be met is judged by the
// best pace, which neither the load before the first frame nor a pause spoils.
func TestPaceLeavesLoadingAndPausesOut(t *testing.T) {
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var p Pace
	var s Speed
	for i := range int64(190) { // 95 s of loading
		s = p.Add(t0.Add(time.Duration(i)*500*time.Millisecond), 0)
	}
	if s != (Speed{}) {
		t.Fatalf("while it loads: %+v", s)
	}
	begin := t0.Add(95 * time.Second)
	for i := range int64(80) { // 25 frames a second for 40 s
		s = p.Add(begin.Add(time.Duration(i)*500*time.Millisecond), 1+i*12)
		if i == 10 && (s.Best != 0 || s.Tracked != 5*time.Second) {
			t.Fatalf("after five seconds nothing is sustained: %+v", s)
		}
	}
	if s.Best != 24000 || s.Now != 24000 {
		t.Fatalf("24 frames a second are %+v", s)
	}
	s = p.Add(begin.Add(340*time.Second), 1+80*12)
	if s.Best != 24000 || s.Now > 10000 {
		t.Fatalf("a pause spoils the present and not the best: %+v", s)
	}
	burst := Pace{}
	burst.Add(t0, 1)
	if s = burst.Add(t0.Add(time.Millisecond), 100); s.Best != 0 {
		t.Fatalf("a burst is no pace: %+v", s)
	}
}

// manager takes pushes.
type manager struct {
	mu   sync.Mutex
	got  []report.Progress
	auth []string
	code int
}

func (m *manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var p report.Progress
	_ = json.NewDecoder(r.Body).Decode(&p)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got, m.auth = append(m.got, p), append(m.auth, r.Header.Get("Authorization"))
	w.WriteHeader(m.code)
}

func start(t *testing.T, m *manager, caPEM string) (*Client, *strings.Builder, string) {
	t.Helper()
	srv := httptest.NewTLSServer(m)
	t.Cleanup(srv.Close)
	if caPEM == "" {
		caPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("tok-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := &strings.Builder{}
	return Start(&report.ProgressConfig{URL: srv.URL + report.ProgressPath, CAPEM: caPEM, IntervalSeconds: 3600}, token, report.RoleDeliver, log), log, token
}

func TestPush(t *testing.T) {
	m := &manager{code: http.StatusNoContent}
	c, log, token := start(t, m, "")
	c.Update(report.Progress{Stage: "Tracking", Frames: 1})
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		m.mu.Lock()
		n := len(m.got)
		m.mu.Unlock()
		if n == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("nothing was pushed")
		}
	}
	if err := os.WriteFile(token, []byte("tok-2"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range int64(1000) { // never blocks, and the interval holds
		c.Update(report.Progress{Stage: "Tracking", Frames: i})
	}
	c.Close()
	if len(m.got) != 2 || m.got[1].Frames != 999 || m.got[1].Version != report.Version || m.got[1].Role != report.RoleDeliver {
		t.Fatalf("%+v", m.got)
	}
	if m.auth[0] != "Bearer tok-1" || m.auth[1] != "Bearer tok-2" {
		t.Errorf("tokens %v", m.auth)
	}
	if !strings.Contains(log.String(), "stage=Tracking frames=999") {
		t.Errorf("log %q", log)
	}
}

func TestPushFailuresAreHarmless(t *testing.T) {
	for name, tc := range map[string]struct {
		code int
		ca   string
	}{
		"refused": {http.StatusForbidden, ""},
		"foreign": {http.StatusOK, "no certificate"},
	} {
		m := &manager{code: tc.code}
		c, log, _ := start(t, m, tc.ca)
		c.Update(report.Progress{Stage: "Fetch", Bytes: 1})
		c.Close()
		if !strings.Contains(log.String(), "progress cannot be pushed") || strings.Contains(log.String(), "tok-1") {
			t.Errorf("%s: log %q", name, log)
		}
		if name == "foreign" && len(m.got) > 0 {
			t.Error("the token went to a server with another certificate")
		}
	}
	var none *Client
	none.Update(report.Progress{})
	none.Close()
	c := Start(nil, "", report.RoleFetch, &strings.Builder{})
	c.Update(report.Progress{Stage: "Fetch"})
	c.Close()
}
