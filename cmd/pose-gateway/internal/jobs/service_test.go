package jobs

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
)

func TestFailure(t *testing.T) {
	jobs := schema.GroupResource{Group: "pose.dev", Resource: "posejobs"}
	kind := schema.GroupKind{Group: "pose.dev", Kind: "PoseJob"}
	long := field.Invalid(field.NewPath("spec"), "s3://poses/secret", strings.Repeat("x", 1000))
	for name, c := range map[string]struct {
		err    error
		status int
		says   string
	}{
		"invalid":        {apierrors.NewInvalid(kind, "x", field.ErrorList{field.Invalid(field.NewPath("spec", "video"), "s3://poses/secret", "is no video")}), 422, "spec.video: is no video"},
		"very invalid":   {apierrors.NewInvalid(kind, "x", field.ErrorList{long, long, long, long, long, long}), 422, "..."},
		"a quota":        {apierrors.NewForbidden(jobs, "x", errors.New("exceeded quota: q")), 422, "quota"},
		"a webhook":      {apierrors.NewForbidden(jobs, "x", errors.New(`admission webhook "w" denied the request: no`)), 422, "admission policy"},
		"no rights":      {apierrors.NewForbidden(jobs, "x", errors.New("system:serviceaccount:poses:pose-gateway cannot create")), 503, "the administrator"},
		"a conflict":     {apierrors.NewConflict(jobs, "x", errors.New("changed")), 409, "look again"},
		"not there":      {apierrors.NewNotFound(jobs, "x"), 404, "no such thing"},
		"a busy cluster": {apierrors.NewTooManyRequests("slow", 1), 503, "try again"},
		"no cluster":     {errors.New("dial tcp 10.0.0.1:443: connection refused"), 503, "try again"},
		"ours":           {problem.New(http.StatusTeapot, "tea"), 418, "tea"},
	} {
		p := problem.Of(Failure(c.err))
		if p.Status != c.status || !strings.Contains(p.Detail, c.says) || len(p.Detail) > 2000 {
			t.Errorf("%s: %d %s", name, p.Status, p.Detail)
		}
		for _, secret := range []string{"secret", "10.0.0.1", "serviceaccount"} {
			if strings.Contains(p.Detail, secret) {
				t.Errorf("%s tells %s: %s", name, secret, p.Detail)
			}
		}
	}
	if Failure(nil) != nil {
		t.Error("no error is one")
	}
}
