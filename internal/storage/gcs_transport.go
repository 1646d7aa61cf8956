package storage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"google.golang.org/api/googleapi"
)

// maxAnswer bounds one answer that is no object, in bytes: a page of a listing.
const maxAnswer = 16 << 20

// gcsTransport is what the library sends its requests by. It does what the library
// does not: tokens that are renewed and dropped when they are refused, an end to
// requests that stand still, bounded answers, and errors that keep what the server
// asks for. Its errors hold no address.
type gcsTransport struct {
	base   *http.Transport
	own    *url.URL // the server's, without a path
	tokens *tokens  // nil for anonymous requests
	policy Policy
}

// RoundTrip sends a request. Every answer but a good one is an error.
func (t *gcsTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	if r.Body != nil {
		defer r.Body.Close()
	}
	if r.Method == http.MethodGet && r.URL.Query().Get("alt") == "media" {
		return t.send(ctx, r, http.Header{"Accept-Encoding": {"gzip"}}) // as stored, also what is stored compressed
	}
	upload, _ := ctx.Value(gcsUploadKey{}).(*gcsUpload)
	if err := upload.expects(r); err != nil {
		return nil, err
	}
	var resp *http.Response
	err := watched(ctx, t.policy, func(ctx context.Context) (err error) {
		if resp, err = t.send(ctx, r, nil); err != nil { //nolint:bodyclose // wholeAnswer closes it
			return err
		}
		return wholeAnswer(resp)
	})
	if err = upload.saw(r, resp, err); err != nil {
		return nil, err
	}
	return resp, nil
}

// send sends r, and once more with a fresh token when the first was refused.
func (t *gcsTransport) send(ctx context.Context, r *http.Request, header http.Header) (*http.Response, error) {
	body := r.Body
	for again := false; ; again = true {
		c := r.Clone(ctx)
		for k, v := range header {
			c.Header[k] = v
		}
		if body != nil {
			c.Body = gatedBody(ctx, body)
		}
		if r.GetBody != nil { // after a connection that the server closed meanwhile
			c.GetBody = func() (io.ReadCloser, error) {
				b, err := r.GetBody()
				return gatedBody(ctx, b), err
			}
		}
		var used token
		if t.tokens != nil {
			var err error
			if used, err = t.tokens.get(ctx); err != nil {
				return nil, err
			}
			c.Header.Set("Authorization", "Bearer "+used.value)
		}
		resp, err := t.base.RoundTrip(c)
		if err != nil {
			return nil, err
		}
		if err = googleError(resp); err == nil {
			return resp, nil
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized || t.tokens == nil || again || body != nil && r.GetBody == nil {
			return nil, err
		}
		t.tokens.forget(used.value) // revoked, perhaps, and the next one good
		if body != nil {
			if body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

func gatedBody(ctx context.Context, body io.ReadCloser) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{newGated(ctx, body), body}
}

// googleError reads an error of Google's APIs.
func googleError(resp *http.Response) error {
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxToken)) // the status is what counts
	err := googleapi.CheckResponseWithBody(resp, text)
	e := apiError{statusError{resp.StatusCode, retryAfter(resp.Header)}, ""}
	var told *googleapi.Error
	if errors.As(err, &told) && len(told.Errors) > 0 {
		e.reason = word(told.Errors[0].Reason)
	}
	return e
}

// wholeAnswer reads an answer, which the library would do without a bound.
func wholeAnswer(resp *http.Response) error {
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // cut, it is no JSON
	if err != nil {
		return err
	}
	// The library would take no content for an object of which all is zero.
	if resp.StatusCode == http.StatusNoContent && resp.Request.Method != http.MethodDelete {
		return errAnswer()
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	return nil
}
