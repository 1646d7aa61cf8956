package storage

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
)

// keyFile makes the key of a Google service account, with changes.
func keyFile(t *testing.T, key *rsa.PrivateKey, tokenURI string, change map[string]any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	f := map[string]any{
		"type": "service_account", "client_email": "walker@project.example", "private_key_id": "key-1", "token_uri": tokenURI,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}
	maps.Copy(f, change)
	b, _ := json.Marshal(f)
	return string(b)
}

// testKey is made once: it takes a while.
var testKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// google is a token server and a bucket that takes its tokens alone.
type google struct {
	*httptest.Server
	key    *rsa.PrivateKey
	asked  atomic.Int32
	life   int
	revoke atomic.Bool // the next request finds its token revoked
}

func newGoogle(t *testing.T) *google {
	t.Helper()
	g := &google{key: newKey(t), life: 3600}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			if err := g.verify(r); err != nil {
				t.Errorf("assertion: %v", err)
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			fmt.Fprintf(w, `{"access_token":"token-%d","expires_in":%d,"token_type":"Bearer"}`, g.asked.Add(1), g.life)
			return
		}
		if r.Header.Get("Authorization") != fmt.Sprintf("Bearer token-%d", g.asked.Load()) || g.revoke.Swap(false) {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error":{"code":401,"errors":[{"reason":"authError"}]}}`))
			return
		}
		_, _ = w.Write([]byte(`{"size":"5","generation":"7","metadata":{"pose-sha256":"abc"}}`))
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *google) verify(r *http.Request) error {
	if err := r.ParseForm(); err != nil || r.Form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		return fmt.Errorf("form %v: %w", r.Form, err)
	}
	parts := strings.Split(r.Form.Get("assertion"), ".")
	if len(parts) != 3 {
		return errors.New("no JWT")
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&g.key.PublicKey, 5, sum[:], signature); err != nil { // 5 is SHA-256
		return err
	}
	raw, _ := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Iss, Scope, Aud string
		Iat, Exp        int64
	}
	if err := json.Unmarshal(raw, &claims); err != nil {
		return err
	}
	if claims.Iss != "walker@project.example" || claims.Scope != gcsScope || claims.Aud != g.URL+"/token" || claims.Exp <= claims.Iat || claims.Exp > claims.Iat+3600 {
		return fmt.Errorf("claims %+v", claims)
	}
	return nil
}

func (g *google) options(t *testing.T, change map[string]any) Options {
	return Options{
		Store:          report.StoreConfig{GCSEndpoint: g.URL},
		CredentialsDir: secret(t, map[string]string{"credentials.json": keyFile(t, g.key, g.URL+"/token", change)}),
	}
}

func TestGoogleServiceAccount(t *testing.T) {
	g := newGoogle(t)
	s, err := OpenSource("gs://bucket/key", g.options(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	stat := func(tokens int32) {
		t.Helper()
		if info, err := s.Stat(t.Context()); err != nil || info != (Info{Size: 5, Version: "7", SHA256: "abc"}) || g.asked.Load() != tokens {
			t.Errorf("%+v with %d tokens: %v", info, g.asked.Load(), err)
		}
	}
	stat(1)
	stat(1)
	g.revoke.Store(true)
	stat(2)
	// One that ends soon is renewed before it does.
	g.life = 60
	g.revoke.Store(true)
	stat(3)
	stat(4)
}

func TestGoogleKeyFiles(t *testing.T) {
	g := newGoogle(t)
	for name, tc := range map[string]struct {
		change map[string]any
		want   string
	}{
		"a program":         {map[string]any{"type": "external_account", "credential_source": map[string]any{"executable": map[string]any{"command": "/bin/id"}}}, `type "external_account"`},
		"another address":   {map[string]any{"type": "external_account", "credential_source": map[string]any{"url": "http://169.254.169.254/"}}, "only keys of service accounts"},
		"impersonation":     {map[string]any{"type": "impersonated_service_account"}, "only keys of service accounts"},
		"a user":            {map[string]any{"type": "authorized_user"}, "only keys of service accounts"},
		"foreign token_uri": {map[string]any{"token_uri": "https://attacker.example/token"}, "not Google's own"},
		"a query":           {map[string]any{"token_uri": g.URL + "/token?x=1"}, "not Google's own"},
		"userinfo":          {map[string]any{"token_uri": "https://oauth2.googleapis.com@attacker.example/token"}, "not Google's own"},
		"plain http":        {map[string]any{"token_uri": "http://oauth2.googleapis.com/token"}, "not Google's own"},
		"universe":          {map[string]any{"universe_domain": "attacker.example"}, "universe"},
		"no key":            {map[string]any{"private_key": "none"}, "lacks"},
		"a broken key":      {map[string]any{"private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}, "cannot be read"},
	} {
		_, err := OpenSource("gs://bucket/key", g.options(t, tc.change))
		if KindOf(err) != Forbidden || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "attacker") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, uri := range []string{googleTokenURL, "https://www.googleapis.com/oauth2/v4/token", "https://accounts.google.com/o/oauth2/token", ""} {
		if _, err := OpenSource("gs://bucket/key", g.options(t, map[string]any{"token_uri": uri})); err != nil {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

// redirected sends all requests to one server, whatever they name.
type redirected struct {
	to   string
	seen *[]string
}

func (r redirected) RoundTrip(req *http.Request) (*http.Response, error) {
	*r.seen = append(*r.seen, cmp.Or(req.Method, http.MethodGet)+" "+req.URL.Scheme+"://"+req.URL.Host+req.URL.Path)
	c := req.Clone(req.Context())
	c.URL.Scheme, c.URL.Host = "http", r.to
	return http.DefaultTransport.RoundTrip(c)
}

func tokenFile(t *testing.T, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestAWSIdentity exchanges the service account's token for a role's credentials.
// The servers are the test's: what EKS really answers is not shown here.
func TestAWSIdentity(t *testing.T) {
	expires := time.Now().Add(time.Hour)
	asked := 0
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		_ = r.ParseForm()
		if r.Method == http.MethodGet { // EKS Pod Identity
			if r.Header.Get("Authorization") != "pod-token" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			fmt.Fprintf(w, `{"AccessKeyId":"AKID","SecretAccessKey":"shh","Token":"session","Expiration":%q}`, expires.UTC().Format(time.RFC3339))
			return
		}
		if r.Form.Get("WebIdentityToken") != "web-token" || r.Form.Get("RoleArn") != "arn:aws:iam::1:role/walker" {
			s3Error(w, http.StatusForbidden, "AccessDenied", "no")
			return
		}
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>AKID</AccessKeyId><SecretAccessKey>shh</SecretAccessKey><SessionToken>session</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, expires.UTC().Format(time.RFC3339))
	}))
	defer sts.Close()
	var seen []string
	transport := redirected{strings.TrimPrefix(sts.URL, "http://"), &seen}
	o := Options{Store: report.StoreConfig{WorkloadIdentity: true, S3Region: "eu-west-1"}}
	retrieve := func(t *testing.T) (string, error) {
		t.Helper()
		p, _, err := s3Credentials(o, transport)
		if err != nil {
			return "", err
		}
		c, err := p.Retrieve(t.Context())
		return c.AccessKeyID + c.SecretAccessKey + c.SessionToken, err
	}
	t.Run("role", func(t *testing.T) {
		t.Setenv(envRoleARN, "arn:aws:iam::1:role/walker")
		t.Setenv(envTokenFile, tokenFile(t, "web-token\n"))
		seen = nil
		if got, err := retrieve(t); err != nil || got != "AKIDshhsession" || seen[0] != "POST https://sts.eu-west-1.amazonaws.com/" {
			t.Errorf("%q from %q: %v", got, seen, err)
		}
		t.Setenv(envTokenFile, tokenFile(t, "stolen"))
		if _, err := retrieve(t); KindOf(err) != Forbidden || !strings.Contains(err.Error(), "the pod's service account was given no credentials") || strings.Contains(err.Error(), "stolen") {
			t.Errorf("error %v", err)
		}
		// Credentials that end soon are fetched anew for each request.
		t.Setenv(envTokenFile, tokenFile(t, "web-token"))
		p, _, _ := s3Credentials(o, transport)
		for _, left := range []time.Duration{time.Minute, time.Hour, time.Hour} {
			expires = time.Now().Add(left)
			if _, err := p.Retrieve(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if asked != 4 {
			t.Errorf("the token server was asked %d times", asked)
		}
	})
	t.Run("pod identity", func(t *testing.T) {
		t.Setenv(envContainerURI, "http://169.254.170.23/v1/credentials")
		t.Setenv(envContainerFile, tokenFile(t, "pod-token"))
		seen = nil
		if got, err := retrieve(t); err != nil || got != "AKIDshhsession" || seen[0] != "GET http://169.254.170.23/v1/credentials" {
			t.Errorf("%q from %q: %v", got, seen, err)
		}
		for _, uri := range []string{"http://169.254.169.254/latest/meta-data", "http://169.254.170.2/creds", "http://localhost/creds", "https://attacker.example/", "http://169.254.170.23:8080/", "http://169.254.170.23@attacker.example/"} {
			t.Setenv(envContainerURI, uri)
			if _, err := retrieve(t); KindOf(err) != Refused {
				t.Errorf("%s: %v", uri, err)
			}
		}
	})
	t.Run("none", func(t *testing.T) {
		_, acc, err := s3Credentials(o, transport)
		if err != nil || !strings.Contains(acc.how, envRoleARN) || !strings.Contains(acc.how, "anonymously") {
			t.Errorf("%+v %v", acc, err)
		}
	})
	t.Run("not allowed", func(t *testing.T) {
		t.Setenv(envRoleARN, "arn:aws:iam::1:role/walker")
		t.Setenv(envTokenFile, tokenFile(t, "web-token"))
		seen = nil
		_, acc, err := s3Credentials(Options{}, transport)
		if err != nil || acc != anonymous || len(seen) != 0 {
			t.Errorf("%+v %v %v", acc, err, seen)
		}
	})
	for endpoint, own := range map[string]bool{"": false, "https://s3.eu-west-1.amazonaws.com": false, "https://bucket.vpce-1.s3.eu-west-1.vpce.amazonaws.com": false, "https://minio.example:9000": true, "http://amazonaws.com.example": true} {
		if got := stsEndpoint(endpoint); (got != nil) != own {
			t.Errorf("%s: %v", endpoint, got)
		}
	}
}

// TestGKEIdentity asks the metadata server of GKE, which the test plays.
func TestGKEIdentity(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Metadata-Flavor") != "Google" || r.URL.Query().Get("scopes") != gcsScope {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = w.Write([]byte(`{"access_token":"gke","expires_in":3599,"token_type":"Bearer"}`))
	}))
	defer srv.Close()
	var seen []string
	client := &http.Client{Transport: redirected{strings.TrimPrefix(srv.URL, "http://"), &seen}}
	tokens, _, err := gcsCredentials(Options{Store: report.StoreConfig{WorkloadIdentity: true}}, client)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tokens.get(t.Context()); err != nil || got.value != "gke" || seen[0] != "GET http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token" {
		t.Errorf("%+v from %q: %v", got, seen, err)
	}
	if tokens, acc, err := gcsCredentials(Options{}, client); tokens != nil || acc != anonymous || err != nil {
		t.Errorf("without the admin's word: %v %v %v", tokens, acc, err)
	}
}

func TestAzureIdentity(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		if r.Form.Get("client_assertion") != "federated" || r.Form.Get("client_id") != "walker" || r.Form.Get("scope") != azureScope {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":"invalid_client","error_description":"AADSTS700016: federated hunter2"}`))
			return
		}
		_, _ = w.Write([]byte(`{"access_token":"azure","expires_in":3599}`))
	}))
	defer srv.Close()
	var seen []string
	transport := redirected{strings.TrimPrefix(srv.URL, "http://"), &seen}
	t.Setenv(envAzureClient, "walker")
	t.Setenv(envAzureTenant, "tenant-1")
	t.Setenv(envAzureFile, tokenFile(t, "federated"))
	get := func() (string, error) {
		c, err := azureIdentity(transport)
		if err != nil {
			return "", err
		}
		a, err := c.GetToken(t.Context(), struct {
			Claims    string
			EnableCAE bool
			Scopes    []string
			TenantID  string
		}{})
		return a.Token, err
	}
	if got, err := get(); err != nil || got != "azure" || seen[0] != "POST https://login.microsoftonline.com/tenant-1/oauth2/v2.0/token" {
		t.Errorf("%q from %q: %v", got, seen, err)
	}
	t.Setenv(envAzureClient, "other")
	if _, err := get(); KindOf(err) != Forbidden || strings.Contains(err.Error(), "federated") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	}
	for env, value := range map[string]string{envAzureAuthority: "https://attacker.example/", envAzureTenant: "../x"} {
		before, asked := os.Getenv(env), len(seen)
		t.Setenv(env, value)
		if _, err := get(); err == nil || Temporary(err) || len(seen) != asked {
			t.Errorf("%s=%s asks %q: %v", env, value, seen[asked:], err)
		}
		t.Setenv(env, before)
	}
}

func TestTokensOutliveAnOutage(t *testing.T) {
	fail := false
	tk := &tokens{fetch: func(context.Context) (token, error) {
		if fail {
			return token{}, &Error{Kind: Unreachable, Temporary: true}
		}
		return token{"one", time.Now().Add(renewBefore / 2)}, nil
	}}
	for range 2 {
		if got, err := tk.get(t.Context()); err != nil || got.value != "one" {
			t.Errorf("%+v %v", got, err)
		}
		fail = true
	}
	tk.forget("one")
	if _, err := tk.get(t.Context()); err == nil {
		t.Error("a token that was refused was used again")
	}
}
