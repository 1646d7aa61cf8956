package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
)

const (
	// loginFor is how long somebody may take at the identity provider.
	loginFor = 15 * time.Minute
	// askFor bounds a request to the identity provider.
	askFor       = 15 * time.Second
	purposeLogin = "login"
	maxReturn    = 512
)

// LoginConfig of an OpenID Connect client.
type LoginConfig struct {
	Issuer, ClientID, ClientSecret string
	Scopes                         []string
	// UserClaim and GroupsClaim name the claims of the ID token; a prefix keeps the
	// names apart from those of other authenticators, as the API server's own flags do.
	UserClaim, UserPrefix, GroupsClaim, GroupPrefix, NamespaceClaim string
	// Session is how long a login lasts.
	Session time.Duration
	// PublicURL of the gateway.
	PublicURL *url.URL
	HTTP      *http.Client
}

// Login signs browsers in (OpenID Connect: authorization code with PKCE, state and
// nonce in a sealed cookie).
type Login struct {
	config LoginConfig
	secure bool

	mu       sync.Mutex
	provider *oidc.Provider
}

// NewLogin prepares logins. The identity provider is asked when the first comes: the
// gateway starts without it.
func NewLogin(c LoginConfig) *Login {
	return &Login{config: c, secure: c.PublicURL.Scheme == "https"}
}

// begun is what the browser brings back from the identity provider.
type begun struct {
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
	Return   string `json:"r"`
}

func (l *Login) asking(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	return oidc.ClientContext(ctx, l.config.HTTP), cancel
}

func (l *Login) client(ctx context.Context) (*oidc.Provider, *oauth2.Config, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.provider == nil {
		p, err := oidc.NewProvider(ctx, l.config.Issuer)
		if err != nil {
			return nil, nil, problem.Unavailable(err, "the identity provider")
		}
		l.provider = p
	}
	return l.provider, &oauth2.Config{
		ClientID: l.config.ClientID, ClientSecret: l.config.ClientSecret, Endpoint: l.provider.Endpoint(),
		RedirectURL: l.config.PublicURL.JoinPath("/api/pose/login/callback").String(),
		Scopes:      append([]string{oidc.ScopeOpenID}, l.config.Scopes...),
	}, nil
}

// Begin sends the browser to the identity provider.
func (a *Auth) Begin(w http.ResponseWriter, r *http.Request) error {
	if a.Login == nil {
		return problem.New(http.StatusNotFound, "this service has no login of its own: %s", a.how())
	}
	ctx, cancel := a.Login.asking(r.Context())
	defer cancel()
	_, client, err := a.Login.client(ctx)
	if err != nil {
		return err
	}
	b := begun{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Return: safeReturn(r.URL.Query().Get("return"))}
	text, err := a.Keys.Seal(purposeLogin, b, a.Now().Add(loginFor))
	if err != nil {
		return err
	}
	http.SetCookie(w, a.Login.cookie(purposeLogin, text, loginFor))
	http.Redirect(w, r, client.AuthCodeURL(b.State, oidc.Nonce(b.Nonce), oauth2.S256ChallengeOption(b.Verifier)), http.StatusFound)
	return nil
}

// safeReturn gives a path of this service and nothing that a browser could take for
// another host.
func safeReturn(to string) string {
	u, err := url.Parse(to)
	if err != nil || len(to) > maxReturn || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") || u.Host != "" || u.Scheme != "" {
		return "/"
	}
	return to
}

// Finish takes the browser back from the identity provider.
func (a *Auth) Finish(w http.ResponseWriter, r *http.Request) error {
	if a.Login == nil {
		return problem.New(http.StatusNotFound, "this service has no login of its own: %s", a.how())
	}
	var b begun
	c, err := r.Cookie(cookieName(a.Login.secure, purposeLogin))
	if err == nil {
		err = a.Keys.Open(purposeLogin, c.Value, &b, a.Now())
	}
	q := r.URL.Query()
	if err != nil || b.State == "" || q.Get("state") != b.State {
		return problem.Because(err, http.StatusBadRequest, "this login was not begun here or took longer than %s: begin again at /api/pose/login", loginFor)
	}
	http.SetCookie(w, a.Login.cookie(purposeLogin, "", 0))
	if q.Get("error") != "" || q.Get("code") == "" {
		return problem.Because(fmt.Errorf("the identity provider answered %.200q", q.Get("error")), http.StatusForbidden, "the identity provider refused the login")
	}
	u, expires, err := a.exchange(r.Context(), q.Get("code"), b)
	if err != nil {
		return err
	}
	cookie, err := a.seal(u, expires)
	if err != nil {
		return err
	}
	http.SetCookie(w, cookie)
	http.Redirect(w, r, b.Return, http.StatusFound)
	return nil
}

// exchange the code for an ID token, and that for the user.
func (a *Auth) exchange(ctx context.Context, code string, b begun) (*User, time.Time, error) {
	ctx, cancel := a.Login.asking(ctx)
	defer cancel()
	provider, client, err := a.Login.client(ctx)
	if err != nil {
		return nil, time.Time{}, err
	}
	refused := func(err error) (*User, time.Time, error) {
		return nil, time.Time{}, problem.Because(err, http.StatusForbidden, "the identity provider's answer could not be used: begin again at /api/pose/login, and tell the administrator if it happens twice")
	}
	token, err := client.Exchange(ctx, code, oauth2.VerifierOption(b.Verifier))
	if err != nil {
		return refused(err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return refused(errors.New("no id_token"))
	}
	id, err := provider.VerifierContext(ctx, &oidc.Config{ClientID: a.Login.config.ClientID, Now: a.Now}).Verify(ctx, raw)
	if err != nil {
		return refused(err)
	}
	if id.Nonce != b.Nonce {
		return refused(errors.New("another nonce"))
	}
	var claims map[string]any
	if err := id.Claims(&claims); err != nil {
		return refused(err)
	}
	u, err := a.Login.user(claims)
	if err != nil {
		return nil, time.Time{}, err
	}
	u.Session = rand.Text()
	return u, a.Now().Add(a.Login.config.Session), nil
}

// user of an ID token's claims.
func (l *Login) user(claims map[string]any) (*User, error) {
	c := l.config
	name, _ := claims[c.UserClaim].(string)
	if name == "" {
		return nil, problem.New(http.StatusForbidden, "the identity provider names no user: the claim %s is missing", c.UserClaim)
	}
	// As the API server has it: an address that was not proved is nobody's.
	if verified, ok := claims["email_verified"]; c.UserClaim == "email" && ok && verified != true {
		return nil, problem.New(http.StatusForbidden, "the identity provider has not verified this user's e-mail address")
	}
	var groups []string
	switch v := claims[c.GroupsClaim].(type) {
	case string:
		groups = []string{v}
	case []any:
		for _, g := range v {
			if s, ok := g.(string); ok {
				groups = append(groups, s)
			}
		}
	}
	u, err := named(KindLogin, name, groups, c.UserPrefix, c.GroupPrefix)
	if err != nil {
		return nil, err
	}
	u.Namespace, _ = claims[c.NamespaceClaim].(string)
	return u, nil
}

// Logout removes the session's cookie. A session that was copied before lives until
// it expires: nothing is kept here that could end it.
func (a *Auth) Logout(w http.ResponseWriter) {
	if a.Login != nil {
		http.SetCookie(w, a.Login.cookie(purposeSession, "", 0))
	}
}
