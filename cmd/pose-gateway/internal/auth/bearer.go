package auth

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"

	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
)

const (
	// tokenFor is how long a token that was reviewed is believed, badTokenFor how long
	// one is not asked about again that is no good.
	tokenFor    = time.Minute
	badTokenFor = 10 * time.Second
	// maxToken bounds a token, in bytes.
	maxToken = 8 << 10
)

// Bearer knows the users of bearer tokens by a TokenReview.
type Bearer struct {
	Reviews authenticationclient.TokenReviewInterface
	// Audiences of which a token must be for one; none means that of the API server.
	Audiences []string

	known recent[*User]
}

func badToken() error {
	return problem.New(http.StatusUnauthorized, "the bearer token is not valid for this service: get a new one, for the audience that the administrator names")
}

func (b *Bearer) identify(ctx context.Context, header string, now time.Time) (*User, error) {
	scheme, token, _ := strings.Cut(header, " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		return nil, problem.New(http.StatusUnauthorized, "the header Authorization is no bearer token: write Authorization: Bearer TOKEN")
	}
	if u, ok := b.known.get(token, now); ok {
		if u == nil {
			return nil, badToken()
		}
		return u, nil
	}
	review, err := b.Reviews.Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: b.Audiences}}, metav1.CreateOptions{})
	if err != nil {
		return nil, problem.Unavailable(err, "the cluster")
	}
	s := review.Status
	// An authenticator that knows no audiences answers with none: not good enough.
	audience := len(b.Audiences) == 0 || slices.ContainsFunc(s.Audiences, func(a string) bool { return slices.Contains(b.Audiences, a) })
	if !s.Authenticated || !audience || s.User.Username == "" {
		b.known.put(token, nil, now.Add(badTokenFor), now)
		return nil, badToken()
	}
	u := &User{Name: s.User.Username, UID: s.User.UID, Groups: s.User.Groups, Kind: KindToken}
	for k, v := range s.User.Extra {
		if u.Extra == nil {
			u.Extra = map[string][]string{}
		}
		u.Extra[k] = v
	}
	b.known.put(token, u, now.Add(tokenFor), now)
	return u, nil
}
