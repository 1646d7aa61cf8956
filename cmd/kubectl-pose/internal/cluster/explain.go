package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
)

// Explain says what failed, on what, and what to do. verb is what was tried, as "list";
// what it was tried on, as "PoseJob snow/run-42" or "PoseJobs".
func (c *Cluster) Explain(err error, verb, what string) error {
	kind, name, _ := strings.Cut(what, " ")
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return exit.With(exit.Interrupted, fmt.Errorf("interrupted: %w", err))
	case unreachable(err):
		return exit.With(exit.Unreachable, fmt.Errorf("the cluster at %s cannot be reached: look at --context, the kubeconfig and your network: %w", c.Host, err))
	case unknownKind(err):
		return exit.With(exit.Unreachable, fmt.Errorf("the cluster at %s knows no %s: install the pose operator (its chart brings the CRDs), or choose another --context: %w", c.Host, plural(kind), err))
	case apierrors.IsUnauthorized(err):
		return exit.With(exit.Forbidden, fmt.Errorf("the cluster at %s does not accept your credentials: log in again, or choose another --context: %w", c.Host, err))
	case apierrors.IsForbidden(err):
		return exit.With(exit.Forbidden, fmt.Errorf("you may not %s %s: %s: %w", verb, what, remedy(kind, verb), err))
	case apierrors.IsNotFound(err):
		return exit.With(exit.NotFound, c.missing(kind, name, err))
	case apierrors.IsInvalid(err) || apierrors.IsBadRequest(err):
		return exit.With(exit.Usage, fmt.Errorf("the API server refuses to %s %s: %w", verb, what, err))
	case apierrors.IsAlreadyExists(err):
		return exit.With(exit.Usage, fmt.Errorf("there is a %s already: choose another name with --name: %w", what, err))
	case errors.As(err, &status):
		return fmt.Errorf("%s %s: %w", verb, what, err)
	}
	return fmt.Errorf("%s %s: %w", verb, what, err)
}

func (c *Cluster) missing(kind, name string, err error) error {
	namespace, name, ok := strings.Cut(name, "/")
	switch {
	case !ok:
		return fmt.Errorf("there is no such %s: %w", kind, err)
	case strings.Contains(err.Error(), "namespaces \""):
		return fmt.Errorf("there is no namespace %q: name that of your jobs with -n: %w", namespace, err)
	}
	list := "kubectl pose list -A"
	if kind == "pod" {
		list = "kubectl get pods -n " + namespace
	}
	return fmt.Errorf("there is no %s %q in namespace %q: `%s` lists all", kind, name, namespace, list)
}

// remedy of what RBAC forbids.
func remedy(kind, verb string) string {
	resource := map[string]string{"PoseJob": "posejobs", "PoseJobs": "posejobs", "PoseBatch": "posebatches", "PoseBatches": "posebatches"}[kind]
	switch {
	case strings.HasPrefix(kind, "PoseEngine"):
		return "they are no part of a namespace: ask for a ClusterRoleBinding to the chart's poseengine-viewer role, or its value rbac.engineViewers"
	case resource != "":
		return fmt.Sprintf("ask for a RoleBinding in the namespace to the ClusterRole edit or view, with which the chart's roles for %s are aggregated; `kubectl auth can-i %s %s.pose.dev` tells", resource, rbacVerb(verb), resource)
	}
	return "ask for a role that admits it in this namespace"
}

func rbacVerb(verb string) string {
	switch verb {
	case "read":
		return "get"
	case "change":
		return "patch"
	}
	return verb
}

func plural(kind string) string {
	switch {
	case kind == "":
		return "PoseJobs"
	case strings.HasSuffix(kind, "s"):
		return kind
	case strings.HasSuffix(kind, "ch"):
		return kind + "es"
	}
	return kind + "s"
}

func noConfig(err error) error {
	if clientcmd.IsEmptyConfig(err) {
		err = fmt.Errorf("no cluster is configured: set KUBECONFIG, or name a file with --kubeconfig: %w", err)
	} else {
		err = fmt.Errorf("read the kubeconfig: %w", err)
	}
	return exit.With(exit.Unreachable, err)
}

// unreachable says whether no API server answered. What it answered is another thing,
// also where a proxy in between did.
func unreachable(err error) bool {
	var discovery *apiutil.ErrResourceDiscoveryFailed
	if errors.As(err, &discovery) {
		for _, inner := range *discovery {
			if unreachable(inner) {
				return true
			}
		}
		return false
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err) && strings.Contains(err.Error(), "connect")
	}
	var (
		network net.Error
		at      *url.Error
		op      *net.OpError
	)
	return errors.As(err, &op) || errors.As(err, &at) || errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded)
}

// unknownKind says whether the API server has no such kind. A group without any
// is told by another error than a kind that its group lacks.
func unknownKind(err error) bool {
	var discovery *apiutil.ErrResourceDiscoveryFailed
	if meta.IsNoMatchError(err) || errors.As(err, &discovery) {
		return true
	}
	// Of a resource, rather than of an object of that name.
	var status apierrors.APIStatus
	return apierrors.IsNotFound(err) && errors.As(err, &status) && (status.Status().Details == nil || status.Status().Details.Name == "")
}
