package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// line of an audit log, as the API server writes it.
func line(user, verb, uri, resource, subresource, code string) string {
	ref := ""
	if resource != "" {
		ref = `"objectRef":{"resource":"` + resource + `","namespace":"bench","name":"a","subresource":"` + subresource + `"},`
	}
	return `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"x","stage":"ResponseComplete","requestURI":"` + uri +
		`","verb":"` + verb + `","user":{"username":"` + user + `","groups":["system:masters"]},` + ref + `"responseStatus":{"metadata":{},"code":` + code + "}}\n"
}

func TestCountAudit(t *testing.T) {
	log := strings.Join([]string{
		line("controller", "create", "/api/v1/namespaces/bench/pods", "pods", "", "201"),
		line("controller", "patch", "/apis/pose.dev/v1alpha1/namespaces/bench/posejobs/a/status", "posejobs", "status", "200"),
		line("controller", "patch", "/apis/pose.dev/v1alpha1/namespaces/bench/posejobs/a/status", "posejobs", "status", "409"),
		line("controller", "get", "/api/v1/namespaces/bench/pods/a", "pods", "", "404"),
		line("controller", "list", "/api/v1/pods", "pods", "", "200"),
		line("controller", "watch", "/api/v1/pods?watch=1", "pods", "", "200"),
		line("controller", "create", "/apis/authentication.k8s.io/v1/tokenreviews", "tokenreviews", "", "201"),
		line("controller", "get", "/openid/v1/jwks", "", "", "200"),
		line("controller", "get", "/version", "", "", "200"),
		line("kubelet", "create", "/api/v1/namespaces/bench/pods/a/binding", "pods", "binding", "201"),
		line("kubelet", "delete", "/api/v1/namespaces/bench/pods/a", "pods", "", "200"),
		strings.Replace(line("controller", "create", "/api/v1/namespaces/bench/pods/a/exec", "pods", "exec", "101"), "ResponseComplete", "ResponseStarted", 1),
	}, "")
	counted, read, err := countAudit(strings.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	if read != int64(len(log)) {
		t.Errorf("read %d bytes of %d", read, len(log))
	}
	own := counted.of("controller")
	if want := map[string]int{"create pods": 1, "patch posejobs/status": 2}; !maps.Equal(own.writes, want) {
		t.Errorf("the controller's writes are %v, want %v", own.writes, want)
	}
	if own.written() != 3 || own.refused != 1 || own.reads != 3 || own.tokenChecks != 2 {
		t.Errorf("the controller: %d writes, %d refused, %d reads, %d token checks; want 3, 1, 3, 2", own.written(), own.refused, own.reads, own.tokenChecks)
	}
	if counted.written() != 5 {
		t.Errorf("all users' writes are %d, want 5", counted.written())
	}
	if n := counted.of("nobody").written(); n != 0 {
		t.Errorf("a user who is not in the log has %d writes", n)
	}
}

func TestCountAuditLeavesHalfALine(t *testing.T) {
	whole := line("controller", "create", "/api/v1/namespaces/bench/pods", "pods", "", "201")
	counted, read, err := countAudit(strings.NewReader(whole + whole[:40]))
	if err != nil || read != int64(len(whole)) || counted.of("controller").written() != 1 {
		t.Errorf("countAudit = %v, %d bytes, %v; want the one whole line of %d bytes", counted, read, err, len(whole))
	}
}

func TestCountAuditRefusesWhatIsNone(t *testing.T) {
	if _, _, err := countAudit(strings.NewReader("W0101 rotated\n")); err == nil || !strings.Contains(err.Error(), "rotated") {
		t.Errorf("err = %v, want one that names the line", err)
	}
}

func TestAuditLogGoesOnWhereItWasReadLast(t *testing.T) {
	a := auditLog{path: filepath.Join(t.TempDir(), "audit.log")}
	one := line("controller", "create", "/api/v1/namespaces/bench/pods", "pods", "", "201")
	text := one + one + one[:30]
	for i, want := range []int{2, 0, 1} {
		if i == 2 {
			text += one[30:]
		}
		if err := os.WriteFile(a.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		counted, err := a.next()
		if err != nil || counted.written() != want {
			t.Errorf("reading %d: %d writes, %v; want %d", i, counted.written(), err, want)
		}
	}
}
