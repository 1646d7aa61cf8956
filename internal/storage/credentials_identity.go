package storage

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// identityTime bounds one question for a token.
const identityTime = 30 * time.Second

// maxToken bounds a token, in bytes.
const maxToken = 64 << 10

// access says by which right a place was asked, for a person whom it refused.
type access struct{ how string }

var anonymous = access{how: "no Secret is named for it, so it was asked for anonymously"}

func (a access) explain(err error) error {
	if e, ok := err.(*Error); ok && e.Kind == Forbidden && a.how != "" && !strings.Contains(e.Cause, a.how) { //nolint:errorlint // classify gives an Error
		e.Cause += ": " + a.how
	}
	return err
}

// identityError is a failure to get the right of the pod's service account.
func identityError(err error) error {
	e := *classify("", err).(*Error) //nolint:errorlint,forcetypeassert // classify gives an Error
	e.Cause = "the pod's service account was given no credentials: " + e.Cause
	if e.Kind == NotFound {
		e.Kind = Forbidden // of the token, not of the object
	}
	return &e
}

// readToken reads a projected token of the pod's service account.
func readToken(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("read the token of the pod's service account: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("read the token of the pod's service account: %w", err)
	}
	if len(b) > maxToken || len(b) == 0 {
		return "", &Error{Kind: Forbidden, Cause: "the token of the pod's service account is empty or too long"}
	}
	return strings.TrimSpace(string(b)), nil
}

// noRedirect gives a redirect back as the answer: a server that holds credentials
// of ours must not send them on.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
