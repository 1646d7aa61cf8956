package auth

import (
	"errors"
	"net/http"
	"time"

	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/seal"
)

const (
	purposeSession = "session"
	// maxCookie is what browsers keep of one cookie, name included.
	maxCookie = 4000
)

// held is a session as a cookie holds it.
type held struct {
	User    User      `json:"u"`
	Expires time.Time `json:"e"`
}

// cookieName begins with __Host- where the page is served by HTTPS, so that no
// neighbouring host can set it.
func cookieName(secure bool, name string) string {
	if secure {
		return "__Host-pose-" + name
	}
	return "pose-" + name
}

func (l *Login) cookie(name, value string, age time.Duration) *http.Cookie {
	c := &http.Cookie{ //nolint:gosec // Secure wherever the page is served by HTTPS
		Name: cookieName(l.secure, name), Value: value, Path: "/", MaxAge: int(age.Seconds()),
		HttpOnly: true, Secure: l.secure, SameSite: http.SameSiteLaxMode,
	}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}

// session gives the user of a login's cookie, nil where there is none.
func (a *Auth) session(r *http.Request) (*User, error) {
	c, err := r.Cookie(cookieName(a.Login.secure, purposeSession))
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // no cookie, nobody
	}
	var h held
	switch err := a.Keys.Open(purposeSession, c.Value, &h, a.Now()); {
	case errors.Is(err, seal.ErrExpired):
		return nil, problem.New(http.StatusUnauthorized, "the session has ended: sign in again")
	case err != nil:
		return nil, problem.Because(err, http.StatusUnauthorized, "the session is not valid here: sign in again")
	}
	u := h.User
	u.Kind, u.Expires = KindLogin, h.Expires
	return &u, nil
}

// seal a session into a cookie.
func (a *Auth) seal(u *User, expires time.Time) (*http.Cookie, error) {
	h := held{User: *u, Expires: expires}
	for {
		text, err := a.Keys.Seal(purposeSession, h, expires)
		if err != nil {
			return nil, err
		}
		if len(text) <= maxCookie {
			return a.Login.cookie(purposeSession, text, expires.Sub(a.Now())), nil
		}
		// Fewer groups mean fewer rights, never more; the first are kept, and the last,
		// which is Kubernetes' own.
		n := len(h.User.Groups)
		if n < 2 {
			return nil, problem.New(http.StatusForbidden, "the identity provider says more of this user than a cookie holds")
		}
		h.User.Groups = append(append([]string{}, h.User.Groups[:(n-1)/2]...), h.User.Groups[n-1])
	}
}
