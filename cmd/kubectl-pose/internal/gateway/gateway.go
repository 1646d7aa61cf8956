// Package gateway speaks to the upload service, for people who may reach it and not
// the store or the cluster.
package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 4 << 20

// idle ends a connection on which nothing is answered for so long, once all was sent.
const idle = 10 * time.Minute

// short bounds a request that carries no video.
const short = time.Minute

// Client of one gateway.
type Client struct {
	base      *url.URL
	token     string
	namespace string
	http      *http.Client
	// notes is the folder of what is remembered of uploads; empty where there is none.
	notes string
	// part of a video that one request carries, in bytes.
	part int64
	// still is how long the connection may take no bytes of a video.
	still time.Duration
	// wait between tries, unless ctx ends; a test has no time.
	wait func(ctx context.Context, d time.Duration) error
	now  func() time.Time
}

// Open a gateway by its URL. The token is read from a file, or else from the variable
// POSE_TOKEN: on a command line others of the machine would see it. namespace may be
// empty, which is the gateway's choice.
func Open(base, tokenFile, ca, namespace string) (*Client, error) {
	u, err := url.Parse(base)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return nil, exit.Usagef("--gateway %s is no URL of a gateway: write https://host, without user, query or fragment", clean.URL(base))
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, exit.Usagef("--gateway %s: the token would be sent without encryption: use https", base)
	}
	c := &Client{base: u, namespace: namespace, notes: notesFolder(), part: partBytes, still: stillFor, wait: storage.Sleep, now: time.Now}
	if c.token, err = readToken(tokenFile); err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = idle
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM([]byte(ca)) {
			return nil, exit.Usagef("--ca-file holds no certificates as PEM")
		}
		transport.TLSClientConfig.RootCAs = roots
	}
	c.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func readToken(file string) (string, error) {
	if file == "" {
		return os.Getenv("POSE_TOKEN"), nil
	}
	f, err := os.Open(file) //nolint:gosec // the person's own file
	if err != nil {
		return "", fmt.Errorf("--gateway-token-file: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return "", fmt.Errorf("--gateway-token-file: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// Job asks how a job stands.
func (c *Client) Job(ctx context.Context, name string) (*v1alpha1.PoseJob, error) {
	ctx, stop := context.WithTimeout(ctx, short)
	defer stop()
	r, err := c.request(ctx, http.MethodGet, "api/pose/jobs/"+url.PathEscape(name), nil)
	if err != nil {
		return nil, err
	}
	_, raw, err := c.do(r)
	if err != nil {
		return nil, err
	}
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil || a.ID == "" {
		return nil, c.foreign()
	}
	job := &v1alpha1.PoseJob{ObjectMeta: metav1.ObjectMeta{Name: a.ID, Namespace: a.Namespace, CreationTimestamp: a.CreatedAt}, Status: a.Status}
	if a.Cancelled {
		job.Annotations = map[string]string{"pose.dev/cancelled": "true"}
	}
	return job, nil
}

// foreign is the error of an answer that no gateway of ours gives.
func (c *Client) foreign() error {
	return fmt.Errorf("%s did not answer as a gateway of the pose operator does: is it one?", c.base)
}

// answer is a job as the gateway's API has it.
type answer struct {
	ID        string                 `json:"id"`
	Namespace string                 `json:"namespace"`
	CreatedAt metav1.Time            `json:"createdAt"`
	Cancelled bool                   `json:"cancelled"`
	Status    v1alpha1.PoseJobStatus `json:"status"`
}

// request of this client, with its namespace and token.
func (c *Client) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	at := c.base.JoinPath(path)
	if c.namespace != "" {
		at.RawQuery = url.Values{"namespace": {c.namespace}}.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, at.String(), body) //nolint:gosec // the person names the gateway
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", c.base, err)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	return r, nil
}

// do a request, and read what it is answered. Any answer but a success is a *refusal.
func (c *Client) do(r *http.Request) (http.Header, []byte, error) {
	response, err := c.http.Do(r) //nolint:gosec // the person names the gateway
	if err != nil {
		if cause := context.Cause(r.Context()); cause != nil {
			return nil, nil, exit.With(exit.Unreachable, fmt.Errorf("the gateway at %s did not answer: %w", c.base, cause))
		}
		return nil, nil, exit.With(exit.Unreachable, fmt.Errorf("the gateway at %s cannot be reached, or ended the connection: %w", c.base, err))
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, nil, exit.With(exit.Unreachable, fmt.Errorf("read the answer of the gateway at %s: %w", c.base, err))
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return nil, nil, &refusal{error: refused(c.base, response.StatusCode, raw), status: response.StatusCode, after: retryAfter(response.Header)}
	}
	return response.Header, raw, nil
}

// refusal is an answer that is no success.
type refusal struct {
	error
	status int
	// after which another try may help; 0 where the gateway does not say.
	after time.Duration
}

func (r *refusal) Unwrap() error { return r.error }

// retryAfter of an answer, where it is a number of seconds that somebody can wait for.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.ParseUint(h.Get("Retry-After"), 10, 16)
	if err != nil {
		return 0
	}
	return min(time.Duration(n)*time.Second, maxPause)
}

// refused is an answer that is no success, in words.
func refused(base *url.URL, status int, raw []byte) error {
	var p struct {
		Title   string `json:"title"`
		Detail  string `json:"detail"`
		Message string `json:"message"`
	}
	_ = json.Unmarshal(raw, &p) // what is no JSON says nothing more than its status
	said := ""
	for _, s := range []string{p.Detail, p.Message, p.Title} {
		if s != "" {
			said = ": " + clean.Line(s, 500)
			break
		}
	}
	err := fmt.Errorf("the gateway at %s answered %d %s%s", base, status, http.StatusText(status), said)
	switch status {
	case http.StatusUnauthorized:
		return exit.With(exit.Forbidden, fmt.Errorf("%w; give a token by --gateway-token-file or POSE_TOKEN, as `kubectl create token` makes one", err))
	case http.StatusForbidden:
		return exit.With(exit.Forbidden, err)
	case http.StatusNotFound:
		return exit.With(exit.NotFound, err)
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return exit.With(exit.Usage, err)
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return exit.With(exit.Unreachable, err)
	}
	return err
}
