package storage

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/pose-dev/pose-operator/internal/runner/clean"
)

// Kind says what went wrong with a place.
type Kind int

// Kinds of Error.
const (
	Other       Kind = iota
	NotFound         // no such object, bucket, host path or file
	Forbidden        // missing, wrong or insufficient credentials
	Unreachable      // name, connection, TLS or time-out
	Refused          // the operator's policy does not allow the place
	Changed          // the object changed while it was read
)

// Error is a failure to reach, read or write a place. Its text holds no
// credentials, query strings or userinfo.
type Error struct {
	Kind  Kind
	Place string // redacted
	Cause string // one line
	// Temporary says that the same call may succeed later.
	Temporary bool
	err       error
}

// remedies say what a person can do about each kind.
var remedies = map[Kind]string{
	NotFound:    "check the URI, and that what it names exists",
	Forbidden:   "check the Secret that the job names for this location, and the rights of its user",
	Unreachable: "check the address and the network, or try later",
	Changed:     "do not change the object while jobs read it",
}

func (e *Error) Error() string {
	s := e.Place + ": " + e.Cause
	r := remedies[e.Kind]
	if e.Kind == Forbidden && strings.Contains(e.Cause, anonymous.how) {
		r = "name a Secret with credentials for it in credentialsSecretRef (a command of kubectl pose takes your own, or those of the job with --credentials-from-job)"
	}
	if r != "" {
		s += "; " + r
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.err }

// KindOf gives the kind of err, Other when it is no Error.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Other
}

// Temporary says whether another try may help.
func Temporary(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Temporary
}

// invalid is a URI that no retry makes good.
func invalid(uri, format string, args ...any) error {
	return &Error{Kind: Refused, Place: clean.URL(uri), Cause: fmt.Sprintf(format, args...)}
}

// explanations of the codes of stores that alone say too little.
var explanations = map[string]string{
	"ExpiredToken":          "the credentials have expired, put fresh ones into the Secret",
	"TokenRefreshRequired":  "the credentials have expired, put fresh ones into the Secret",
	"InvalidAccessKeyId":    "the server does not know the access key",
	"XAdminUserNotFound":    "the server does not know the access key", // versitygw, with status 404
	"SignatureDoesNotMatch": "the secret key is not the access key's",
	"RequestTimeTooSkewed":  clockText,
	"RequestExpired":        clockText,
	"invalid_grant":         "the key was removed, or the clock of this node is wrong",
	"NoSuchBucket":          "there is no such bucket",
	"ContainerNotFound":     "there is no such container",
	"SlowDown":              "it asks for fewer requests",
	"ServerBusy":            "it asks for fewer requests",
	"InvalidRange":          "the object is shorter than what was asked for",
	"InvalidObjectState":    "the object is archived and must be restored first",
	"BlobArchived":          "the object is archived and must be restored first",
	"AuthenticationFailed":  "the key or SAS token is wrong or has expired, or the clock of this node is wrong",
	"AuthorizationFailure":  "the key or SAS token is wrong or has expired, or the account's firewall keeps this cluster out",
	"QuotaExceeded":         "the store is full",
	"BadDigest":             "other bytes arrived than were sent",
	"Md5Mismatch":           "other bytes arrived than were sent",
}

const clockText = "the clock of this node and the server's differ by more than the server allows, one of them must be set"

// classify turns the error of an SDK, client or file system into an Error.
func classify(place string, err error) error {
	if err == nil {
		return nil
	}
	var known *Error
	if errors.As(err, &known) {
		if known.Place == "" {
			known.Place = place
		}
		return known
	}
	e := &Error{Place: place, Cause: cause(err), err: err}
	switch {
	case errors.Is(err, context.Canceled):
		e.Cause = "the transfer was cancelled"
	case classifyStatus(e, err), classifyAPI(e, err), classifyFile(e, err), classifyNetwork(e, err):
	}
	return e
}

// statusOf and codeOf are implemented by the SDK's and our own errors.
type (
	statusOf interface{ HTTPStatusCode() int }
	codeOf   interface{ ErrorCode() string }
)

func classifyStatus(e *Error, err error) bool {
	var s statusOf
	if !errors.As(err, &s) {
		return false
	}
	code := s.HTTPStatusCode()
	kind, temporary, ok := kindOfStatus(code)
	if k, t, known := kindOfCode(errorCode(err)); known {
		kind, temporary, ok = k, t, true
	}
	if !ok {
		return false
	}
	e.Kind, e.Temporary = kind, temporary
	e.Cause = fmt.Sprintf("the server answered %d %s%s", code, http.StatusText(code), apiCode(err))
	return true
}

func kindOfStatus(code int) (kind Kind, temporary, ok bool) {
	switch {
	case code == http.StatusNotFound || code == http.StatusGone:
		return NotFound, false, true
	case code == http.StatusUnauthorized || code == http.StatusForbidden || code == http.StatusProxyAuthRequired:
		return Forbidden, false, true
	case code == http.StatusPreconditionFailed:
		return Changed, false, true
	case code == http.StatusNotImplemented || code == http.StatusInsufficientStorage:
		return Other, false, true // no retry helps
	case code == http.StatusRequestTimeout || code == http.StatusTooManyRequests || code >= 500:
		return Unreachable, true, true
	case code >= 300:
		return Other, false, true
	}
	return Other, false, false
}

// kindOfCode knows the codes that say more than their status does.
func kindOfCode(code string) (kind Kind, temporary, ok bool) {
	switch code {
	case "NoSuchKey", "NoSuchBucket", "NotFound", "BlobNotFound", "ContainerNotFound":
		return NotFound, false, true
	case "AccessDenied", "Forbidden", "InvalidAccessKeyId", "XAdminUserNotFound", "SignatureDoesNotMatch", "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired",
		"InvalidToken", "InvalidIdentityToken", "AuthenticationFailed", "AuthorizationFailure", "invalid_grant", "invalid_client", "unauthorized_client":
		return Forbidden, false, true
	case "PreconditionFailed", "ConditionalRequestConflict", "ConditionNotMet", "BlobAlreadyExists":
		return Changed, false, true
	case "RequestTimeTooSkewed", "RequestExpired", "InvalidObjectState", "BlobArchived", "QuotaExceeded":
		return Other, false, true
	case "SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "ServerBusy", "OperationTimedOut", "BadDigest", "Md5Mismatch",
		"rateLimitExceeded", "userRateLimitExceeded", "backendError":
		return Unreachable, true, true
	}
	return Other, false, false
}

// classifyAPI is for errors that came with a good status, in the body.
func classifyAPI(e *Error, err error) bool {
	kind, temporary, ok := kindOfCode(errorCode(err))
	if !ok {
		return false
	}
	e.Kind, e.Temporary, e.Cause = kind, temporary, "the server answered"+apiCode(err)
	return true
}

func errorCode(err error) string {
	var api codeOf
	if !errors.As(err, &api) {
		return ""
	}
	return api.ErrorCode()
}

func apiCode(err error) string {
	code := errorCode(err)
	if code == "" {
		return ""
	}
	if why := explanations[code]; why != "" {
		return " (" + code + ": " + why + ")"
	}
	return " (" + clean.Line(clean.Redact(code), 64) + ")"
}

func classifyFile(e *Error, err error) bool {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Kind, e.Cause = NotFound, "there is no such file"
	case errors.Is(err, fs.ErrPermission):
		e.Kind, e.Cause = Forbidden, "reading or writing is not permitted (file permissions, fsGroup)"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Cause = "the volume is full"
	case errors.Is(err, syscall.EROFS):
		e.Kind, e.Cause = Forbidden, "the volume is mounted read-only"
	default:
		return false
	}
	return true
}

func classifyNetwork(e *Error, err error) bool {
	var (
		dns     *net.DNSError
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
		netErr  net.Error
		op      *net.OpError
	)
	switch {
	case errors.As(err, &dns):
		e.Kind, e.Temporary = Unreachable, dns.IsTemporary || dns.IsTimeout || dns.IsNotFound
		e.Cause = fmt.Sprintf("host %s cannot be resolved", clean.Line(dns.Name, 253))
	case errors.As(err, &unknown), errors.As(err, &host), errors.As(err, &invalid):
		// No retry: a wrong certificate stays wrong.
		e.Kind, e.Cause = Unreachable, "the server's certificate is not trusted: "+cause(err)
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Kind, e.Temporary, e.Cause = Unreachable, true, "connection refused"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		e.Kind, e.Temporary, e.Cause = Unreachable, true, "the connection broke"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		e.Kind, e.Temporary, e.Cause = Unreachable, true, "no answer in time"
	case errors.As(err, &op):
		e.Kind, e.Temporary = Unreachable, true
	default:
		return false
	}
	return true
}

// cause gives the innermost text of err: the outer ones repeat request URLs and
// request ids.
func cause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			break
		}
		err = inner
	}
	return clean.Line(clean.Redact(strings.ReplaceAll(err.Error(), "\n", " ")), 200)
}
