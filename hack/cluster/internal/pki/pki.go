// Package pki makes the cluster's certificates, keys and kubeconfigs.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	lifetime = 365 * 24 * time.Hour
	// renewBefore makes a cluster that is brought up late in the year last.
	renewBefore = 7 * 24 * time.Hour
)

// Identity is what a certificate says of its holder.
type Identity struct {
	File   string // base name of the .crt and .key files
	User   string
	Groups []string
	Hosts  []string // names and addresses; a server certificate if there are any
}

// Authority signs certificates.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string
}

// LoadAuthority reads the authority in dir, or makes it if there is none.
func LoadAuthority(dir, file, name string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if cert, key, err := load(dir, file); err == nil && fresh(cert) {
		return &Authority{cert: cert, key: key, dir: dir}, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := template(pkix.Name{CommonName: name})
	template.IsCA = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	cert, err := sign(template, template, key, key)
	if err != nil {
		return nil, fmt.Errorf("make the authority %s: %w", name, err)
	}
	return &Authority{cert: cert, key: key, dir: dir}, save(dir, file, cert, key)
}

// Issue makes a certificate for id unless a fresh one of this authority is
// there already.
func (a *Authority) Issue(id Identity) error {
	if cert, _, err := load(a.dir, id.File); err == nil && fresh(cert) && cert.CheckSignatureFrom(a.cert) == nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := template(pkix.Name{CommonName: id.User, Organization: id.Groups})
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for _, h := range id.Hosts {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	cert, err := sign(t, a.cert, key, a.key)
	if err != nil {
		return fmt.Errorf("issue the certificate %s: %w", id.File, err)
	}
	return save(a.dir, id.File, cert, key)
}

// EnsureKey makes a lone key pair (service-account tokens are signed with
// one) as <file>.key and <file>.pub unless it exists.
func EnsureKey(dir, file string) error {
	keyFile, pubFile := filepath.Join(dir, file+".key"), filepath.Join(dir, file+".pub")
	if _, err := os.Stat(pubFile); err == nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	if err := writePEM(keyFile, "EC PRIVATE KEY", private); err != nil {
		return err
	}
	return writePEM(pubFile, "PUBLIC KEY", public)
}

func template(name pkix.Name) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic("no random numbers: " + err.Error())
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: name,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(lifetime),
		BasicConstraintsValid: true,
	}
}

func sign(t, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func fresh(cert *x509.Certificate) bool {
	return time.Now().Before(cert.NotAfter.Add(-renewBefore))
}

func load(dir, file string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	cert, err := readPEM(filepath.Join(dir, file+".crt"))
	if err != nil {
		return nil, nil, err
	}
	key, err := readPEM(filepath.Join(dir, file+".key"))
	if err != nil {
		return nil, nil, err
	}
	parsed, err := x509.ParseCertificate(cert)
	if err != nil {
		return nil, nil, err
	}
	private, err := x509.ParseECPrivateKey(key)
	return parsed, private, err
}

func save(dir, file string, cert *x509.Certificate, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, file+".key"), "EC PRIVATE KEY", der); err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, file+".crt"), "CERTIFICATE", cert.Raw)
}

func readPEM(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block", path)
	}
	return block.Bytes, nil
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
