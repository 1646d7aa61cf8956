package stand

import (
	"context"
	"errors"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
)

// Rights of the gateway's own service account: those in each namespace that it serves,
// and those in the whole cluster.
var (
	NamespaceRights = []rbacv1.PolicyRule{
		{APIGroups: []string{"pose.dev"}, Resources: []string{"posejobs"}, Verbs: []string{"get", "list", "watch", "create", "patch", "delete"}},
	}
	ClusterRights = []rbacv1.PolicyRule{
		{APIGroups: []string{"pose.dev"}, Resources: []string{"poseengines"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"tokenreviews"}, Verbs: []string{"create"}},
		{APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"subjectaccessreviews"}, Verbs: []string{"create"}},
	}
)

// Account makes the gateway's service account with its rights and no others, and gives
// a configuration that uses it.
func Account(ctx context.Context, config *rest.Config, namespaces []string) (*rest.Config, error) {
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	const name = "pose-gateway"
	own := namespaces[0]
	subject := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: own, Name: name}}
	_, err = c.CoreV1().ServiceAccounts(own).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	all := metav1.ObjectMeta{Name: name}
	_, e1 := c.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: all, Rules: ClusterRights}, metav1.CreateOptions{})
	_, e2 := c.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: all, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}, Subjects: subject}, metav1.CreateOptions{})
	err = errors.Join(err, e1, e2)
	for _, ns := range namespaces {
		meta := metav1.ObjectMeta{Namespace: ns, Name: name}
		_, e1 := c.RbacV1().Roles(ns).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: NamespaceRights}, metav1.CreateOptions{})
		_, e2 := c.RbacV1().RoleBindings(ns).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}, Subjects: subject}, metav1.CreateOptions{})
		err = errors.Join(err, e1, e2)
	}
	if err != nil {
		return nil, fmt.Errorf("make the gateway's account: %w", err)
	}
	day := int64(24 * 3600)
	r, err := c.CoreV1().ServiceAccounts(own).CreateToken(ctx, name, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &day}}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("make the gateway's token: %w", err)
	}
	out := rest.AnonymousClientConfig(config)
	out.BearerToken = r.Status.Token
	return out, nil
}

// Grant verbs on all jobs of a namespace to a user or group.
func Grant(ctx context.Context, config *rest.Config, namespace, name, kind, subject string, verbs []string) error {
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name}
	_, e1 := c.RbacV1().Roles(namespace).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"pose.dev"}, Resources: []string{"posejobs"}, Verbs: verbs}}}, metav1.CreateOptions{})
	_, e2 := c.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: kind, Name: subject}},
	}, metav1.CreateOptions{})
	if err := errors.Join(e1, e2); err != nil {
		return fmt.Errorf("grant %s: %w", name, err)
	}
	return nil
}
