// Package gateway speaks to the upload service, for people who may reach it and not
// the store or the cluster.
package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/place"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 4 << 20

// idle ends a connection on which nothing is answered for so long, once all was sent.
const idle = 10 * time.Minute

// Client of one gateway.
type Client struct {
	base      *url.URL
	token     string
	namespace string
	http      *http.Client
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
	c := &Client{base: u, namespace: namespace}
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

// Send a video. The fields are those of the gateway's form. tell is told of bytes as
// they go. The job has a name, a namespace and a status, and no spec.
func (c *Client) Send(ctx context.Context, u *place.Upload, fields map[string]string, tell func(int64)) (*v1alpha1.PoseJob, error) {
	f, err := os.Open(u.Path)
	if err != nil {
		return nil, fmt.Errorf("open the video: %w", err)
	}
	defer f.Close()
	reader, writer := io.Pipe()
	form := multipart.NewWriter(writer)
	go func() {
		// The reader's end ends a write, so this ends with the request.
		_ = writer.CloseWithError(fill(form, f, u, fields, tell))
	}()
	defer func() { _ = reader.Close() }() // which ends the writer, too
	return c.ask(ctx, http.MethodPost, "api/pose/video", form.FormDataContentType(), reader)
}

func fill(form *multipart.Writer, f io.Reader, u *place.Upload, fields map[string]string, tell func(int64)) error {
	for name, value := range fields {
		if value == "" {
			continue
		}
		if err := form.WriteField(name, value); err != nil {
			return err //nolint:wrapcheck // the pipe's own error
		}
	}
	part, err := form.CreateFormFile("video", place.SafeName(u.Path))
	if err != nil {
		return err //nolint:wrapcheck // the pipe's own error
	}
	buf := make([]byte, 256<<10)
	for {
		n, err := f.Read(buf)
		if n > 0 {
			if _, err := part.Write(buf[:n]); err != nil {
				return err //nolint:wrapcheck // the pipe's own error
			}
			tell(int64(n))
		}
		if errors.Is(err, io.EOF) {
			return form.Close() //nolint:wrapcheck // the pipe's own error
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", u.Path, err)
		}
	}
}

// Job asks how a job stands.
func (c *Client) Job(ctx context.Context, name string) (*v1alpha1.PoseJob, error) {
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	return c.ask(ctx, http.MethodGet, "api/pose/jobs/"+url.PathEscape(name), "", nil)
}

// answer is a job as the gateway's API has it.
type answer struct {
	ID        string                 `json:"id"`
	Namespace string                 `json:"namespace"`
	CreatedAt metav1.Time            `json:"createdAt"`
	Cancelled bool                   `json:"cancelled"`
	Status    v1alpha1.PoseJobStatus `json:"status"`
}

func (c *Client) ask(ctx context.Context, method, path, mediaType string, body io.Reader) (*v1alpha1.PoseJob, error) {
	at := c.base.JoinPath(path)
	if c.namespace != "" {
		at.RawQuery = url.Values{"namespace": {c.namespace}}.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, at.String(), body)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", c.base, err)
	}
	if mediaType != "" {
		r.Header.Set("Content-Type", mediaType)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(r)
	if err != nil {
		return nil, exit.With(exit.Unreachable, fmt.Errorf("the gateway at %s cannot be reached, or ended the connection: %w", c.base, err))
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, exit.With(exit.Unreachable, fmt.Errorf("read the answer of the gateway at %s: %w", c.base, err))
	}
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusCreated {
		return nil, refused(c.base, response.StatusCode, raw)
	}
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil || a.ID == "" {
		return nil, fmt.Errorf("%s answered what is no job: is it a gateway of the pose operator?", c.base)
	}
	job := &v1alpha1.PoseJob{ObjectMeta: metav1.ObjectMeta{Name: a.ID, Namespace: a.Namespace, CreationTimestamp: a.CreatedAt}, Status: a.Status}
	if a.Cancelled {
		job.Annotations = map[string]string{"pose.dev/cancelled": "true"}
	}
	return job, nil
}

// refused is an answer that is no job, in words.
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
