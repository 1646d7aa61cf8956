// Package stand sets up what the gateway needs around it, for its tests and for trying
// it by hand: a real S3 server, users with tokens and rights in a real API server, a
// configuration, and an operator that plays what becomes of jobs without running any.
package stand

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/storetest"
)

// What the stand's pieces are called.
const (
	Bucket    = "poses"
	Base      = "s3://" + Bucket
	Namespace = "poses"
	Audience  = "pose-gateway"
)

// Store is a real S3 server over a folder.
type Store struct {
	Endpoint string
	// Dir holds the buckets; CredentialsDir the keys as a Secret's files.
	Dir, CredentialsDir string
}

// StartStore starts versitygw, the binary of which is given, below dir. It ends with
// ctx.
func StartStore(ctx context.Context, binary, dir string) (*Store, error) {
	addr, err := storetest.FreeAddress()
	if err != nil {
		return nil, err
	}
	s := &Store{Endpoint: "http://" + addr, Dir: filepath.Join(dir, "store"), CredentialsDir: filepath.Join(dir, "credentials")}
	sidecar := filepath.Join(dir, "sidecar")
	for _, d := range []string{filepath.Join(s.Dir, Bucket), s.CredentialsDir, sidecar} {
		if err := os.MkdirAll(d, 0o750); err != nil {
			return nil, fmt.Errorf("make the store's folder: %w", err)
		}
	}
	for name, v := range map[string]string{"AWS_ACCESS_KEY_ID": storetest.AccessKey, "AWS_SECRET_ACCESS_KEY": storetest.SecretKey} {
		if err := os.WriteFile(filepath.Join(s.CredentialsDir, name), []byte(v), 0o600); err != nil {
			return nil, fmt.Errorf("write the store's keys: %w", err)
		}
	}
	cmd := storetest.Gateway(ctx, binary, addr, s.Dir, sidecar)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the store: %w", err)
	}
	go func() { _ = cmd.Wait() }()
	return s, storetest.Await(ctx, addr)
}

// Options to reach the store.
func (s *Store) Options() storage.Options {
	return storage.Options{Store: s.config(), CredentialsDir: s.CredentialsDir}
}

func (s *Store) config() report.StoreConfig {
	return report.StoreConfig{S3Endpoint: s.Endpoint, S3Region: "us-east-1", S3PathStyle: true}
}

// User of the stand.
type User struct {
	Name  string
	Verbs []string
	// Names of the jobs that the verbs are for; none means all.
	Names []string
	Token string
}

// Users give each a service account in the namespace, its rights to jobs and engines,
// and a token for the gateway.
func Users(ctx context.Context, config *rest.Config, namespaces []string, users ...*User) error {
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	for _, ns := range namespaces {
		_, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("make namespace %s: %w", ns, err)
		}
	}
	for _, u := range users {
		if err := u.make(ctx, c, namespaces[0]); err != nil {
			return fmt.Errorf("make user %s: %w", u.Name, err)
		}
	}
	return nil
}

func (u *User) make(ctx context.Context, c kubernetes.Interface, ns string) error {
	meta := metav1.ObjectMeta{Namespace: ns, Name: u.Name}
	if _, err := c.CoreV1().ServiceAccounts(ns).Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{}); err != nil {
		return err //nolint:wrapcheck // Users says for whom
	}
	subject := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: ns, Name: u.Name}}
	if len(u.Verbs) > 0 {
		role := &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"pose.dev"}, Resources: []string{"posejobs"}, Verbs: u.Verbs, ResourceNames: u.Names}}}
		binding := &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: u.Name}, Subjects: subject}
		engines := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "engines-" + u.Name}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"pose.dev"}, Resources: []string{"poseengines"}, Verbs: []string{"get", "list"}}}}
		all := &rbacv1.ClusterRoleBinding{ObjectMeta: engines.ObjectMeta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: engines.Name}, Subjects: subject}
		_, e1 := c.RbacV1().Roles(ns).Create(ctx, role, metav1.CreateOptions{})
		_, e2 := c.RbacV1().RoleBindings(ns).Create(ctx, binding, metav1.CreateOptions{})
		_, e3 := c.RbacV1().ClusterRoles().Create(ctx, engines, metav1.CreateOptions{})
		_, e4 := c.RbacV1().ClusterRoleBindings().Create(ctx, all, metav1.CreateOptions{})
		if err := errors.Join(e1, e2, e3, e4); err != nil {
			return err
		}
	}
	hour := int64(3600)
	r, err := c.CoreV1().ServiceAccounts(ns).CreateToken(ctx, u.Name, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{Audience}, ExpirationSeconds: &hour}}, metav1.CreateOptions{})
	if err != nil {
		return err //nolint:wrapcheck // Users says for whom
	}
	u.Token = r.Status.Token
	return nil
}

// WriteConfig of a gateway for this store, with the fields of more over it, and give its
// path.
func WriteConfig(dir string, s *Store, more map[string]any) (string, error) {
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte("only-a-test-key-of-more-than-32-bytes\n"), 0o600); err != nil {
		return "", fmt.Errorf("write a key: %w", err)
	}
	c := map[string]any{
		"publicURL":  "http://localhost",
		"namespaces": map[string]any{"default": Namespace},
		"place":      map[string]any{"base": Base, "credentialsDir": s.CredentialsDir},
		"store":      s.config(),
		"keyFiles":   []string{key},
		"auth":       map[string]any{"tokens": map[string]any{"audiences": []string{Audience}}},
		"jobs":       map[string]any{"credentialsSecret": "store"},
		"limits":     map[string]any{"requestsPerMinute": 100000, "addressRequestsPerMinute": 100000},
	}
	for k, v := range more {
		c[k] = v
	}
	raw, err := yaml.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("write the configuration: %w", err)
	}
	name := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(name, raw, 0o600); err != nil {
		return "", fmt.Errorf("write the configuration: %w", err)
	}
	return name, nil
}
