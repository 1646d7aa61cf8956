package storage

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
)

const (
	// gcsScope lets a token read and write objects and no more.
	gcsScope = "https://www.googleapis.com/auth/devstorage.read_write"
	// googleTokenURL is where a service account's key is exchanged for a token.
	googleTokenURL = "https://oauth2.googleapis.com/token" //nolint:gosec // an address
	// jwtGrant is the type of that exchange (RFC 7523).
	jwtGrant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	// jwtLife is how long one assertion may be used.
	jwtLife = 10 * time.Minute
	// gkeTokenURL answers in pods of GKE with the identity of the pod's service
	// account. Without GKE's Workload Identity Federation it would be the node's: that
	// is why the platform admin alone can turn this on.
	gkeTokenURL = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token" //nolint:gosec // an address
)

// googleTokenHosts are Google's own token servers.
var googleTokenHosts = []string{"oauth2.googleapis.com", "www.googleapis.com", "accounts.google.com"}

// gcsCredentials gives what requests are made with, nil for anonymous ones.
func gcsCredentials(o Options, client *http.Client) (*tokens, access, error) {
	c, err := secretKeys(o.CredentialsDir, fileGoogle)
	switch {
	case err != nil:
		return nil, access{}, err
	case c[fileGoogle] != "":
		key, err := parseServiceAccount([]byte(c[fileGoogle]), o.Store.GCSEndpoint)
		if err != nil {
			return nil, access{}, err
		}
		return &tokens{fetch: func(ctx context.Context) (token, error) { return key.exchange(ctx, client) }}, access{}, nil
	case !o.Store.WorkloadIdentity:
		return nil, anonymous, nil
	}
	return &tokens{fetch: func(ctx context.Context) (token, error) {
		t, err := gkeToken(ctx, client)
		if err != nil {
			err = identityError(err)
		}
		return t, err
	}}, access{how: "the identity of the pod's service account was used"}, nil
}

// serviceAccount is a key of a Google service account.
type serviceAccount struct {
	email, keyID, tokenURL string
	key                    *rsa.PrivateKey
}

// parseServiceAccount takes keys of service accounts alone. The other forms of such
// a file name programs to run, files to read or addresses to ask, and whoever wrote
// the Secret would have this pod do so.
func parseServiceAccount(raw []byte, endpoint string) (*serviceAccount, error) {
	bad := func(format string, args ...any) error {
		return &Error{Kind: Forbidden, Cause: fmt.Sprintf("key %s of the location's Secret ", fileGoogle) + fmt.Sprintf(format, args...)}
	}
	var f struct {
		Type         string `json:"type"`
		ClientEmail  string `json:"client_email"`
		PrivateKeyID string `json:"private_key_id"`
		PrivateKey   string `json:"private_key"`
		TokenURI     string `json:"token_uri"`
		Universe     string `json:"universe_domain"`
	}
	if json.Unmarshal(raw, &f) != nil {
		return nil, bad("is not JSON")
	}
	if f.Type != "service_account" {
		return nil, bad("is of type %q: only keys of service accounts (type service_account) are taken", word(f.Type))
	}
	if f.Universe != "" && f.Universe != "googleapis.com" {
		return nil, bad("is of another universe than googleapis.com")
	}
	if f.TokenURI == "" {
		f.TokenURI = googleTokenURL
	}
	if !ownTokenServer(f.TokenURI, endpoint) {
		return nil, bad("names a token_uri that is not Google's own")
	}
	block, _ := pem.Decode([]byte(f.PrivateKey))
	if f.ClientEmail == "" || block == nil {
		return nil, bad("lacks client_email or private_key")
	}
	key, err := parseRSA(block.Bytes)
	if err != nil {
		return nil, bad("holds a private_key that cannot be read")
	}
	return &serviceAccount{email: f.ClientEmail, keyID: f.PrivateKeyID, tokenURL: f.TokenURI, key: key}, nil
}

// ownTokenServer says whether uri is Google's, or lies on the admin's own server.
func ownTokenServer(uri, endpoint string) bool {
	u, err := url.Parse(uri)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	if u.Scheme == "https" && slices.Contains(googleTokenHosts, u.Host) {
		return true
	}
	own, err := url.Parse(endpoint)
	return err == nil && own.Host != "" && own.Host == u.Host && own.Scheme == u.Scheme
}

func parseRSA(der []byte) (*rsa.PrivateKey, error) {
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	if k, ok := key.(*rsa.PrivateKey); ok {
		return k, nil
	}
	return nil, fmt.Errorf("the key is no RSA key")
}

// exchange gets a token for the key (RFC 7523, RS256).
func (s *serviceAccount) exchange(ctx context.Context, client *http.Client) (token, error) {
	now := time.Now()
	encode := func(v map[string]any) string {
		b, _ := json.Marshal(v) // strings and numbers
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := encode(map[string]any{"alg": "RS256", "typ": "JWT", "kid": s.keyID}) + "." + encode(map[string]any{
		"iss": s.email, "scope": gcsScope, "aud": s.tokenURL, "iat": now.Unix(), "exp": now.Add(jwtLife).Unix(),
	})
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, sum[:])
	if err != nil {
		return token{}, &Error{Kind: Forbidden, Cause: "the private key of the location's Secret cannot sign"}
	}
	r, err := postForm(ctx, s.tokenURL, url.Values{
		"grant_type": {jwtGrant}, "assertion": {text + "." + base64.RawURLEncoding.EncodeToString(signature)},
	})
	if err != nil {
		return token{}, err
	}
	t, err := askToken(client, r)
	if err != nil {
		e := *classify("", err).(*Error) //nolint:errorlint,forcetypeassert // classify gives an Error
		e.Cause = "Google gives no token for the service account's key: " + e.Cause
		if e.Kind == Other {
			e.Kind = Forbidden
		}
		return token{}, &e
	}
	return t, nil
}

func gkeToken(ctx context.Context, client *http.Client) (token, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, gkeTokenURL+"?scopes="+url.QueryEscape(gcsScope), nil)
	if err != nil {
		return token{}, err
	}
	r.Header.Set("Metadata-Flavor", "Google")
	return askToken(client, r)
}
