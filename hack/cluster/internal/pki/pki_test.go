package pki

import (
	"crypto/x509"
	"os"
	"testing"

	"github.com/pose-dev/pose-operator/hack/cluster/internal/layout"
)

func TestEnsureKeepsWhatIsThere(t *testing.T) {
	p := layout.Paths{Dir: t.TempDir()}
	if err := Ensure(p); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(p.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := Ensure(p); err != nil {
		t.Fatal(err)
	}
	if second, _ := os.ReadFile(p.Kubeconfig()); string(second) != string(first) {
		t.Error("a second run changed the kubeconfig")
	}
}

func TestANewAuthorityReplacesItsCertificates(t *testing.T) {
	dir := t.TempDir()
	id := Identity{File: "x", User: "system:x", Groups: []string{"g"}, Hosts: []string{"10.0.0.1", "name"}}
	for range 2 {
		ca, err := LoadAuthority(dir, "ca", "test")
		if err != nil {
			t.Fatal(err)
		}
		if err := ca.Issue(id); err != nil {
			t.Fatal(err)
		}
		cert, _, err := load(dir, "x")
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AddCert(ca.cert)
		if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, DNSName: "10.0.0.1"}); err != nil {
			t.Error(err)
		}
		if cert.Subject.CommonName != id.User || cert.Subject.Organization[0] != "g" {
			t.Errorf("the certificate names %s", cert.Subject)
		}
		for _, file := range []string{"/ca.crt", "/ca.key"} { // the next round makes another authority
			if err := os.Remove(dir + file); err != nil {
				t.Fatal(err)
			}
		}
	}
}
