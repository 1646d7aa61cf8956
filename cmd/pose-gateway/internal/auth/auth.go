// Package auth says who asks, and whether Kubernetes lets them.
//
// Who asks is told by a bearer token (TokenReview), by the cookie of a login (OpenID
// Connect), or by the headers of a proxy that is trusted by its address and a shared
// secret. What they may do is asked of the cluster (SubjectAccessReview) as that user.
// Nothing is kept here but answers, for a short while.
package auth

import (
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/seal"
)

// Kind is how a user became known.
type Kind string

// Kinds.
const (
	KindToken Kind = "Token"
	KindLogin Kind = "Login"
	KindProxy Kind = "Proxy"
)

// User is who asks, as Kubernetes names them.
type User struct {
	Name   string              `json:"n"`
	UID    string              `json:"u,omitempty"`
	Groups []string            `json:"g,omitempty"`
	Extra  map[string][]string `json:"x,omitempty"`
	// Namespace that the identity provider names for the user; empty for none.
	Namespace string `json:"ns,omitempty"`
	Kind      Kind   `json:"k"`
	// Session tells one login of a user from another; it is part of CSRF tokens.
	Session string `json:"s,omitempty"`
	// Expires is when the user must be asked for again; the zero time says nothing.
	Expires time.Time `json:"-"`
}

// Auth knows the users of requests.
type Auth struct {
	Keys *seal.Keys
	// Bearer, Login and Proxy are nil where they are not used.
	Bearer *Bearer
	Login  *Login
	Proxy  *Proxy
	Now    func() time.Time
}

// Mode is how a browser becomes known: OIDC, Proxy or Token.
func (a *Auth) Mode() string {
	switch {
	case a.Login != nil:
		return "OIDC"
	case a.Proxy != nil:
		return "Proxy"
	}
	return "Token"
}

// Identify gives the user of a request. The error is a Problem.
func (a *Auth) Identify(r *http.Request) (*User, error) {
	// A bad token is never passed over for a cookie: whoever sent it meant it.
	if h := r.Header.Get("Authorization"); h != "" && a.Bearer != nil {
		return a.Bearer.identify(r.Context(), h, a.Now())
	}
	if a.Proxy != nil {
		u, err := a.Proxy.identify(r)
		if u != nil || err != nil {
			return u, err
		}
	}
	if a.Login != nil {
		u, err := a.session(r)
		if u != nil || err != nil {
			return u, err
		}
	}
	return nil, problem.New(http.StatusUnauthorized, "nobody is signed in: %s", a.how())
}

func (a *Auth) how() string {
	switch a.Mode() {
	case "OIDC":
		return "sign in, or send a bearer token"
	case "Proxy":
		return "come through the proxy, or send a bearer token"
	}
	return "send the header Authorization: Bearer TOKEN"
}

// csrfHeader carries the token of a browser's session.
const csrfHeader = "X-CSRF-Token"

// csrfFor is how long a CSRF token is good: pages ask for the session now and then.
const csrfFor = 12 * time.Hour

const purposeCSRF = "csrf"

// CSRFToken for a browser's session; empty for bearer tokens, which no browser sends
// by itself.
func (a *Auth) CSRFToken(u *User) (string, error) {
	if u.Kind == KindToken {
		return "", nil
	}
	return a.Keys.Seal(purposeCSRF, u.ambient(), a.Now().Add(csrfFor))
}

// ambient names the session that a browser is in.
func (u *User) ambient() string { return string(u.Kind) + "\n" + u.Name + "\n" + u.Session }

var crossOrigin = http.NewCrossOriginProtection()

// CheckCSRF refuses what another site may have made a browser send.
func (a *Auth) CheckCSRF(r *http.Request, u *User) error {
	if u.Kind == KindToken || slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions}, r.Method) {
		return nil
	}
	if err := crossOrigin.Check(r); err != nil {
		return problem.Because(err, http.StatusForbidden, "the request came from another site: use the page of this service")
	}
	var of string
	if err := a.Keys.Open(purposeCSRF, r.Header.Get(csrfHeader), &of, a.Now()); err != nil || subtle.ConstantTimeCompare([]byte(of), []byte(u.ambient())) != 1 {
		return problem.Because(err, http.StatusForbidden, "the header %s is missing, too old or of another session: get a new one from /api/pose/session", csrfHeader)
	}
	return nil
}

// named gives a user whom an identity provider or proxy names. Names of Kubernetes
// itself (system:...) come from nobody but Kubernetes.
func named(kind Kind, name string, groups []string, userPrefix, groupPrefix string) (*User, error) {
	name = userPrefix + name
	if name == "" || len(name) > 256 || strings.HasPrefix(name, "system:") || hasControl(name) {
		return nil, problem.New(http.StatusForbidden, "the identity provider gives a user's name that cannot be used here")
	}
	u := &User{Name: name, Kind: kind}
	for _, g := range groups {
		if g = groupPrefix + g; g != "" && len(g) <= 256 && !strings.HasPrefix(g, "system:") && !hasControl(g) && len(u.Groups) < maxGroups {
			u.Groups = append(u.Groups, g)
		}
	}
	u.Groups = append(u.Groups, "system:authenticated")
	return u, nil
}

// maxGroups of a user bounds cookies and reviews.
const maxGroups = 64

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
