package auth

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
)

// How long an answer of the cluster is believed.
const (
	allowedFor = 30 * time.Second
	deniedFor  = 5 * time.Second
)

// Action is one thing that somebody wants to do.
type Action struct {
	Verb string `json:"v"`
	// Resource of pose.dev: posejobs or poseengines.
	Resource string `json:"r"`
	// Namespace is empty for what has none, Name for all.
	Namespace string `json:"ns,omitempty"`
	Name      string `json:"n,omitempty"`
}

// Authorizer asks the cluster what users may do.
type Authorizer struct {
	Reviews authorizationclient.SubjectAccessReviewInterface
	Now     func() time.Time

	known recent[bool]
}

// Allowed says whether a user may.
func (a *Authorizer) Allowed(ctx context.Context, u *User, act Action) (bool, error) {
	key, err := json.Marshal(struct {
		User   *User
		Action Action
	}{u, act})
	if err != nil {
		return false, problem.Because(err, http.StatusInternalServerError, "the service failed")
	}
	now := a.Now()
	if ok, known := a.known.get(string(key), now); known {
		return ok, nil
	}
	spec := authorizationv1.SubjectAccessReviewSpec{User: u.Name, UID: u.UID, Groups: u.Groups, ResourceAttributes: &authorizationv1.ResourceAttributes{
		Verb: act.Verb, Group: v1alpha1.GroupVersion.Group, Version: v1alpha1.GroupVersion.Version, Resource: act.Resource, Namespace: act.Namespace, Name: act.Name,
	}}
	for k, v := range u.Extra {
		if spec.Extra == nil {
			spec.Extra = map[string]authorizationv1.ExtraValue{}
		}
		spec.Extra[k] = v
	}
	review, err := a.Reviews.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		return false, problem.Unavailable(err, "the cluster")
	}
	ok, until := review.Status.Allowed, now.Add(allowedFor)
	if !ok {
		until = now.Add(deniedFor)
	}
	a.known.put(string(key), ok, until, now)
	return ok, nil
}

// Check is Allowed with a Problem for what is not.
func (a *Authorizer) Check(ctx context.Context, u *User, act Action) error {
	ok, err := a.Allowed(ctx, u, act)
	switch {
	case err != nil:
		return err
	case ok:
		return nil
	case act.Namespace == "":
		return problem.New(http.StatusForbidden, "user %q may not %s %s: the administrator of the cluster gives that right (RBAC: %s on %s.%s)", u.Name, act.Verb, act.Resource, act.Verb, act.Resource, v1alpha1.GroupVersion.Group)
	}
	return problem.New(http.StatusForbidden, "user %q may not %s %s in namespace %q: its administrator gives that right (RBAC: %s on %s.%s)", u.Name, act.Verb, act.Resource, act.Namespace, act.Verb, act.Resource, v1alpha1.GroupVersion.Group)
}
