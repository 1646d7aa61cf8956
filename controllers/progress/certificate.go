package progress

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
)

// Life of a certificate, and how long before its end another is made: pods that
// trust the one before report nothing to a manager that began after that.
const (
	certificateLife = 5 * 365 * 24 * time.Hour
	renewBefore     = 365 * 24 * time.Hour
)

// Certificate of the server, which is the only root that its pods trust.
type Certificate struct {
	// CertPEM and KeyPEM, as a Secret of type kubernetes.io/tls has them.
	CertPEM, KeyPEM []byte
	pair            tls.Certificate
	leaf            *x509.Certificate
}

// NewCertificate for a server of these names.
func NewCertificate(names []string, now time.Time) (*Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of the progress server: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make the certificate of the progress server: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "pose-operator progress"},
		DNSNames:     names,
		NotBefore:    now.Add(-time.Hour), NotAfter: now.Add(certificateLife),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make the certificate of the progress server: %w", err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the key of the progress server: %w", err)
	}
	return readCertificate(
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

func readCertificate(certPEM, keyPEM []byte) (*Certificate, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("read a certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("read a certificate: %w", err)
	}
	return &Certificate{CertPEM: certPEM, KeyPEM: keyPEM, pair: pair, leaf: leaf}, nil
}

// fits says whether the certificate will do for a manager that begins now.
func (c *Certificate) fits(names []string, now time.Time) bool {
	return slices.Equal(c.leaf.DNSNames, names) && now.After(c.leaf.NotBefore) && now.Add(renewBefore).Before(c.leaf.NotAfter)
}

// SharedCertificate is that of a Secret, so that all replicas, and the next process
// of each, have the same: a pod's progress does not end with the manager that made
// it. The Secret must be there, and may be empty: then, and where its certificate will
// not do, one is put into it. So the manager needs no right to create Secrets.
func SharedCertificate(ctx context.Context, secrets corev1client.SecretInterface, name string, names []string, now time.Time) (*Certificate, error) {
	const tries = 5
	var err error
	for range tries {
		var c *Certificate
		c, err = sharedOnce(ctx, secrets, name, names, now)
		if err == nil {
			return c, nil
		}
		// After a conflict another replica's certificate is there.
		if !apierrors.IsConflict(err) {
			break
		}
	}
	return nil, fmt.Errorf("keep the progress server's certificate in Secret %s (the chart makes it, empty; the manager must be allowed to get and update it): %w", name, err)
}

func sharedOnce(ctx context.Context, secrets corev1client.SecretInterface, name string, names []string, now time.Time) (*Certificate, error) {
	have, err := secrets.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read it: %w", err)
	}
	if c, err := readCertificate(have.Data[corev1.TLSCertKey], have.Data[corev1.TLSPrivateKeyKey]); err == nil && c.fits(names, now) {
		return c, nil
	}
	c, err := NewCertificate(names, now)
	if err != nil {
		return nil, err
	}
	if have.Data == nil {
		have.Data = map[string][]byte{}
	}
	have.Data[corev1.TLSCertKey], have.Data[corev1.TLSPrivateKeyKey] = c.CertPEM, c.KeyPEM
	if _, err := secrets.Update(ctx, have, metav1.UpdateOptions{}); err != nil {
		return nil, fmt.Errorf("write it: %w", err)
	}
	return c, nil
}
