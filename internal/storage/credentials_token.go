package storage

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// token is what a store is asked with.
type token struct {
	value   string
	expires time.Time
}

// tokens keeps a token and has it renewed before it expires, however long a
// transfer is.
type tokens struct {
	fetch func(context.Context) (token, error)

	mu   sync.Mutex
	last token
}

func (t *tokens) get(ctx context.Context) (token, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last.value != "" && time.Until(t.last.expires) > renewBefore {
		return t.last, nil
	}
	fresh, err := t.fetch(ctx)
	switch {
	case err == nil:
		t.last = fresh
	case t.last.value != "" && time.Until(t.last.expires) > 0 && Temporary(classify("", err)):
		return t.last, nil // it still holds; the next request asks again
	}
	return fresh, err
}

// forget drops a token that a server refused, when it is still the one that is
// kept.
func (t *tokens) forget(value string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last.value == value {
		t.last = token{}
	}
}

// askToken sends r, which asks a token server, and reads the answer of OAuth 2.
func askToken(client *http.Client, r *http.Request) (token, error) {
	resp, err := client.Do(r)
	if err != nil {
		return token{}, withoutURL(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxToken))
	if err != nil {
		return token{}, err
	}
	var answer struct {
		AccessToken string  `json:"access_token"`
		ExpiresIn   float64 `json:"expires_in"` // seconds
		Error       string  `json:"error"`
	}
	bad := json.Unmarshal(body, &answer)
	if resp.StatusCode != http.StatusOK {
		return token{}, apiError{statusError{resp.StatusCode, retryAfter(resp.Header)}, word(answer.Error)}
	}
	if bad != nil {
		answer.AccessToken = ""
	}
	return newToken(answer.AccessToken, answer.ExpiresIn)
}

// newToken checks what a token server gave. The life is in seconds.
func newToken(value string, life float64) (token, error) {
	if value == "" || strings.ContainsAny(value, "\r\n") || life <= 0 {
		return token{}, &Error{Cause: "the token server's answer is none"}
	}
	// Bounded, as a token that never expires would never be renewed.
	return token{value, time.Now().Add(time.Duration(min(life, 24*3600) * float64(time.Second)))}, nil
}

// postForm makes a request for askToken.
func postForm(ctx context.Context, target string, form url.Values) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, &Error{Cause: "the token server's address is none"}
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	return r, nil
}

// withoutURL takes the URL, which may be a credential, out of a client's error.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// apiError is an answer with a code of the server's own.
type apiError struct {
	statusError
	reason string
}

func (e apiError) ErrorCode() string { return e.reason }

// word is a server's code, unless it is none: a text could hold anything.
func word(s string) string {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-' {
			return ""
		}
	}
	if len(s) > 64 {
		return ""
	}
	return s
}
