package storage

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"cloud.google.com/go/auth"
)

const (
	// gcsScope lets a token read and write objects and no more.
	gcsScope = "https://www.googleapis.com/auth/devstorage.read_write"
	// googleTokenURL is where a service account's key is exchanged for a token.
	googleTokenURL = "https://oauth2.googleapis.com/token" //nolint:gosec // an address
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
		key.Client = client
		provider, err := auth.New2LOTokenProvider(key)
		if err != nil {
			return nil, access{}, err
		}
		return &tokens{fetch: func(ctx context.Context) (token, error) { return exchange(ctx, provider) }}, access{}, nil
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

// parseServiceAccount takes keys of service accounts alone. The other forms of such
// a file name programs to run, files to read or addresses to ask, and whoever wrote
// the Secret would have this pod do so.
func parseServiceAccount(raw []byte, endpoint string) (*auth.Options2LO, error) {
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
	if !isRSA(block.Bytes) {
		return nil, bad("holds a private_key that cannot be read")
	}
	return &auth.Options2LO{
		Email: f.ClientEmail, PrivateKeyID: f.PrivateKeyID, PrivateKey: []byte(f.PrivateKey), TokenURL: f.TokenURI,
		Scopes: []string{gcsScope}, Expires: jwtLife, Logger: slog.New(slog.DiscardHandler),
	}, nil
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

// isRSA says now what the library would say with the first request.
func isRSA(der []byte) bool {
	if _, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return true
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	_, ok := key.(*rsa.PrivateKey)
	return err == nil && ok
}

// exchange gets a token for a key (RFC 7523).
func exchange(ctx context.Context, provider auth.TokenProvider) (token, error) {
	t, err := provider.Token(ctx)
	var refused *auth.Error
	switch {
	case errors.As(err, &refused) && refused.Response != nil:
		var answer struct {
			Error string `json:"error"`
		}
		_ = json.Unmarshal(refused.Body, &answer) // the status is what counts
		err = apiError{statusError{refused.Response.StatusCode, retryAfter(refused.Response.Header)}, word(answer.Error)}
	case err == nil:
		var fresh token
		if fresh, err = newToken(t.Value, time.Until(t.Expiry).Seconds()); err == nil {
			return fresh, nil
		}
	}
	e := *classify("", withoutURL(err)).(*Error) //nolint:errorlint,forcetypeassert // classify gives an Error
	e.Cause = "Google gives no token for the service account's key: " + e.Cause
	if e.Kind == Other {
		e.Kind = Forbidden
	}
	return token{}, &e
}

// gkeToken asks GKE's metadata server. The library's way of asking it ends with no
// context and takes its address from the environment.
func gkeToken(ctx context.Context, client *http.Client) (token, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, gkeTokenURL+"?scopes="+url.QueryEscape(gcsScope), nil)
	if err != nil {
		return token{}, err
	}
	r.Header.Set("Metadata-Flavor", "Google")
	return askToken(client, r)
}
