package progress

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	"k8s.io/utils/clock"

	"github.com/pose-dev/pose-operator/internal/report"
)

// Names that a TokenReview gives of the pod that a token is bound to.
const (
	extraPodName = "authentication.kubernetes.io/pod-name"
	extraPodUID  = "authentication.kubernetes.io/pod-uid"
)

const (
	// reviewFor is how long a token that was reviewed is believed.
	reviewFor = time.Minute
	// retryKeys is how long it takes until the cluster's keys are asked for again
	// where they could not be had, and at least between two requests for keys.
	retryKeys = 10 * time.Second
	// maxToken bounds a token, in bytes.
	maxToken = 8 << 10
)

// identity of the pod that a token is bound to.
type identity struct {
	namespace, pod, uid string
	until               time.Time
}

// Tokens tells whose tokens are. A token is checked by the cluster's public keys,
// which costs the API server nothing; where the cluster does not tell them, by a
// TokenReview that is believed for a minute. That a pod lives still is not asked
// here: the manager knows its pods.
type Tokens struct {
	// Reviews checks tokens where the keys are not told.
	Reviews authenticationclient.TokenReviewsGetter
	// Server is the API server's URL, and HTTP a client that it accepts; without them
	// every token is reviewed.
	Server string
	HTTP   *http.Client
	Clock  clock.PassiveClock

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier
	asked    time.Time
	reviewed map[[32]byte]identity
	requests int64
}

// Requests that were sent to the API server about tokens: reviews and keys.
func (t *Tokens) Requests() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.requests
}

// identify the pod behind an Authorization header.
func (t *Tokens) identify(ctx context.Context, header string) (identity, error) {
	token, ok := strings.CutPrefix(header, "Bearer ")
	if !ok || token == "" || len(token) > maxToken {
		return identity{}, errors.New("no bearer token")
	}
	if v := t.keys(ctx); v != nil {
		return byKeys(ctx, v, token)
	}
	return t.review(ctx, token)
}

// keys gives the verifier of the cluster's tokens, nil while there is none.
func (t *Tokens) keys(ctx context.Context) *oidc.IDTokenVerifier {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.Clock.Now()
	if t.verifier != nil || t.HTTP == nil || (!t.asked.IsZero() && now.Sub(t.asked) < retryKeys) {
		return t.verifier
	}
	t.asked = now
	t.requests++
	issuer, err := t.issuer(ctx)
	if err != nil {
		return nil
	}
	// The keys come from the API server that this process trusts already, not from
	// the address that the issuer gives to the world: it may not be reachable here.
	client := &http.Client{Transport: &seldom{under: t.HTTP.Transport, clock: t.Clock, count: func() {
		t.mu.Lock()
		t.requests++
		t.mu.Unlock()
	}}, Timeout: retryKeys}
	set := oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), client), t.Server+"/openid/v1/jwks")
	t.verifier = oidc.NewVerifier(issuer, set, &oidc.Config{ClientID: report.ProgressAudience, Now: t.Clock.Now, SupportedSigningAlgs: []string{
		oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512,
	}})
	return t.verifier
}

// issuer of the cluster's tokens, as its discovery document names it.
func (t *Tokens) issuer(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, retryKeys)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.Server+"/.well-known/openid-configuration", nil)
	if err != nil {
		return "", fmt.Errorf("ask for the cluster's issuer: %w", err)
	}
	resp, err := t.HTTP.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask for the cluster's issuer: %w", err)
	}
	defer resp.Body.Close()
	var doc struct {
		Issuer string `json:"issuer"`
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask for the cluster's issuer: %s", resp.Status)
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 64<<10)).Decode(&doc); err != nil || doc.Issuer == "" {
		return "", fmt.Errorf("the cluster's discovery document names no issuer: %w", err)
	}
	return doc.Issuer, nil
}

// byKeys checks a token by the cluster's keys.
// https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens
func byKeys(ctx context.Context, v *oidc.IDTokenVerifier, token string) (identity, error) {
	valid, err := v.Verify(ctx, token)
	if err != nil {
		return identity{}, fmt.Errorf("token is not valid for %s: %w", report.ProgressAudience, err)
	}
	var claims struct {
		Kubernetes struct {
			Namespace string `json:"namespace"`
			Pod       struct {
				Name string `json:"name"`
				UID  string `json:"uid"`
			} `json:"pod"`
		} `json:"kubernetes.io"`
	}
	if err := valid.Claims(&claims); err != nil {
		return identity{}, fmt.Errorf("token has unknown claims: %w", err)
	}
	k := claims.Kubernetes
	if k.Namespace == "" || k.Pod.Name == "" || k.Pod.UID == "" {
		return identity{}, errors.New("token is not bound to a pod")
	}
	return identity{namespace: k.Namespace, pod: k.Pod.Name, uid: k.Pod.UID}, nil
}

// review asks the API server.
func (t *Tokens) review(ctx context.Context, token string) (identity, error) {
	key, now := sha256.Sum256([]byte(token)), t.Clock.Now()
	t.mu.Lock()
	id, known := t.reviewed[key]
	if known && now.Before(id.until) {
		t.mu.Unlock()
		return id, nil
	}
	t.requests++
	t.mu.Unlock()
	review, err := t.Reviews.TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{report.ProgressAudience}},
	}, metav1.CreateOptions{})
	if err != nil {
		return identity{}, fmt.Errorf("review token: %w", err)
	}
	if !review.Status.Authenticated || len(review.Status.Audiences) == 0 {
		return identity{}, errors.New("token is not valid for " + report.ProgressAudience)
	}
	user := review.Status.User
	parts := strings.Split(user.Username, ":")
	if len(parts) != 4 || parts[0] != "system" || parts[1] != "serviceaccount" ||
		len(user.Extra[extraPodUID]) != 1 || len(user.Extra[extraPodName]) != 1 {
		return identity{}, errors.New("token is not bound to a pod")
	}
	id = identity{namespace: parts[2], pod: user.Extra[extraPodName][0], uid: user.Extra[extraPodUID][0], until: now.Add(reviewFor)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reviewed == nil || len(t.reviewed) > maxEntries {
		t.reviewed = map[[32]byte]identity{}
	}
	t.reviewed[key] = id
	return id, nil
}

// errSeldom says that keys were asked for a moment ago.
var errSeldom = errors.New("the cluster's keys were asked for a moment ago")

// seldom lets a request through now and then: whoever sends tokens that name unknown
// keys must not make the manager ask for keys each time.
type seldom struct {
	under http.RoundTripper
	clock clock.PassiveClock
	count func()

	mu   sync.Mutex
	last time.Time
}

// RoundTrip is http.RoundTripper's.
func (s *seldom) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	now := s.clock.Now()
	if !s.last.IsZero() && now.Sub(s.last) < retryKeys {
		s.mu.Unlock()
		return nil, errSeldom
	}
	s.last = now
	s.mu.Unlock()
	s.count()
	return s.under.RoundTrip(r) //nolint:wrapcheck // it is the transport's own error
}
