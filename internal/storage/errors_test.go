package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
)

// secrets are all that must appear in no text, in no place's error.
var secrets = []string{"hunter2", "AKIDSECRET", "sessiontoken", "sasSignature", "c2VjcmV0a2V5", "upload_id", "PRIVATE KEY", "bearertoken", "X-Amz-Signature", "Basic ", "eyJ"}

// confidential gives each place every credential that it can have.
func confidential(t *testing.T, endpoint string) map[string]Options {
	t.Helper()
	store := report.StoreConfig{
		S3Endpoint: endpoint, S3Region: "us-east-1", S3PathStyle: true, GCSEndpoint: endpoint, AzureAccount: "account", AzureEndpoint: endpoint,
		HTTPAllowedHosts: []string{"127.0.0.1"},
	}
	with := func(keys map[string]string) Options { return Options{Store: store, CredentialsDir: secret(t, keys)} }
	return map[string]Options{
		"s3://bucket/key": with(map[string]string{"AWS_ACCESS_KEY_ID": "AKIDSECRET", "AWS_SECRET_ACCESS_KEY": "hunter2", "AWS_SESSION_TOKEN": "sessiontoken"}),
		"gs://bucket/key": with(map[string]string{"credentials.json": keyFile(t, newKey(t), endpoint+"/token", nil)}),
		"azblob://container/key": with(map[string]string{
			"AZURE_STORAGE_KEY": "c2VjcmV0a2V5",
		}),
		"azblob://container/sas": with(map[string]string{"AZURE_STORAGE_SAS_TOKEN": "?sv=2024-01-01&sp=rwdl&sig=sasSignature"}),
		endpoint + "/video":      with(map[string]string{"username": "walker", "password": "hunter2", "url": endpoint + "/video?X-Amz-Signature=sasSignature"}),
	}
}

// TestErrorsHoldNoSecrets lets every call of every place fail in every way that a
// server can choose, and reads the errors, also those within.
func TestErrorsHoldNoSecrets(t *testing.T) {
	echo := func(r *http.Request) string { // a server that says all that it was told
		var b bytes.Buffer
		_ = r.Header.Write(&b)
		return r.URL.String() + " " + b.String() + " hunter2 AKIDSECRET c2VjcmV0a2V5"
	}
	servers := map[string]http.HandlerFunc{}
	for _, code := range []int{200, 204, 206, 301, 302, 307, 308, 400, 401, 403, 404, 409, 412, 416, 429, 500, 503} {
		servers[fmt.Sprint(code)] = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "https://elsewhere.example/?sig=sasSignature&upload_id=1")
			w.Header().Set("X-Ms-Error-Code", "Failed")
			w.WriteHeader(code)
			fmt.Fprintf(w, "<Error><Code>Failed</Code><Message>%s</Message></Error>", strings.NewReplacer("<", "", "&", "").Replace(echo(r)))
		}
	}
	servers["json"] = func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"error":{"message":%q,"errors":[{"reason":%q}]}}`, echo(r), echo(r))
	}
	servers["a code with a secret"] = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Ms-Error-Code", echo(r))
		s3Error(w, http.StatusForbidden, "https://x/?sig=sasSignature", "no")
	}
	servers["broken off"] = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	servers["token, then nothing"] = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/token" {
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write([]byte(`{"access_token":"bearertoken","expires_in":3600}`))
	}
	servers["a session elsewhere"] = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			_, _ = w.Write([]byte(`{"access_token":"bearertoken","expires_in":3600}`))
			return
		}
		w.Header().Set("Location", "https://elsewhere.example/?upload_id=1")
	}
	for name, handler := range servers {
		srv := httptest.NewUnstartedServer(handler)
		srv.Config.ErrorLog = nil
		srv.Start()
		for uri, o := range confidential(t, srv.URL) {
			noSecrets(t, name+" "+uri, failures(t, uri, o))
		}
		srv.Close()
		if name == "200" {
			for uri, o := range confidential(t, srv.URL) { // nobody listens there now
				noSecrets(t, "refused "+uri, failures(t, uri, o))
			}
		}
	}
	for _, uri := range []string{"s3://hunter2:hunter2@bucket/key", "gs://bucket/key?sig=hunter2", "https://user:hunter2@host/x", "https://host/%zz?sig=hunter2", "ftp://u:hunter2@host/x", "azblob://c/k#hunter2"} {
		_, err1 := OpenSource(uri, Options{})
		_, err2 := OpenSink(uri, Options{})
		noSecrets(t, uri, []error{err1, err2})
	}
}

// failures makes every call, and gives what went wrong.
func failures(t *testing.T, uri string, o Options) []error {
	t.Helper()
	var errs []error
	s, err := OpenSource(uri, o)
	errs = append(errs, err)
	if err == nil {
		_, err = s.Stat(t.Context())
		errs = append(errs, err)
		for _, offset := range []int64{0, 5} {
			r, _, err := s.Open(t.Context(), offset, -1, "")
			if err == nil {
				_, err = io.Copy(io.Discard, r)
				_ = r.Close()
			}
			errs = append(errs, err)
		}
		_ = s.Close()
	}
	if strings.HasPrefix(uri, "http") {
		return errs
	}
	sink, _ := hurry(t, uri, o)
	data := bytes.Repeat([]byte("x"), partSize+1)
	_, err1 := sink.Stat(t.Context(), "a")
	_, _, err2 := sink.Get(t.Context(), "a", 10)
	err3 := sink.Put(t.Context(), object("a", data[:5]), bytes.NewReader(data[:5]))
	err4 := sink.Put(t.Context(), object("a", data), bytes.NewReader(data))
	err5 := sink.List(t.Context(), "a", func(Entry) error { return nil })
	_, err6 := AbortUploads(t.Context(), sink, "a", time.Time{})
	return append(errs, err1, err2, err3, err4, err5, err6, sink.Delete(t.Context(), "a"), sink.Check(t.Context()))
}

func noSecrets(t *testing.T, name string, errs []error) {
	t.Helper()
	for _, err := range errs {
		for ; err != nil; err = errors.Unwrap(err) {
			var own *Error
			if !errors.As(err, &own) && !strings.Contains(fmt.Sprintf("%T", err), "storage") {
				break // an SDK's own, which is kept for its kind and not shown
			}
			for _, s := range secrets {
				if strings.Contains(err.Error(), s) {
					t.Errorf("%s: %q is in: %v", name, s, err)
				}
			}
		}
	}
}
