package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// Images of the clone, as `make images` names them.
const (
	ImageManager   = "localhost/pose-operator/manager:dev"
	ImageRunner    = "localhost/pose-operator/pose-runner:dev"
	ImageMedia     = "localhost/pose-operator/media:dev"
	ImageMediapipe = "localhost/pose-operator/mediapipe:dev"
	ImageStaged    = "localhost/pose-operator/staged-engine:dev"
	// ImagePHALPAdapter is the real adapter, ImageStagedPHALP a STAGED image of
	// PHALP: stand-ins for its libraries and weights.
	ImagePHALPAdapter = "localhost/pose-operator/phalp-adapter:dev"
	ImageStagedPHALP  = "localhost/pose-operator/staged-phalp:dev"
	ImageONNXPose     = "localhost/pose-operator/onnx-pose:dev"
)

func image(name string) map[string]any {
	return map[string]any{"repository": "localhost/pose-operator/" + name, "tag": "dev"}
}

// Values of the chart for the clone's own images and the given store.
func Values(s *Store) map[string]any {
	return map[string]any{
		"image": map[string]any{"manager": image("manager"), "runner": image("pose-runner"), "media": image("media"), "gateway": image("pose-gateway"), "pullPolicy": "IfNotPresent"},
		"engines": map[string]any{"mediapipe": map[string]any{
			"image": image("mediapipe"),
			// Two jobs side by side on a node of two cores.
			"resources": map[string]any{"requests": map[string]any{"cpu": "300m"}, "limits": map[string]any{"memory": "2Gi"}},
		}, "phalp": map[string]any{"adapter": image("phalp-adapter")}},
		"podLabels": map[string]any{"pose.dev/build": random(4)}, // the same tag holds another image: start anew
		"replicas":  2,
		"verbosity": 1,
		"config": map[string]any{"store": map[string]any{
			"s3Endpoint": s.Endpoint, "s3Region": "us-east-1", "s3PathStyle": true,
			"httpAllowedHosts": []string{Host()},
		}, "policy": map[string]any{"enginesWithoutRunner": true}},
	}
}

// ProxySecret is what a proxy of the tests, which signs users in, shows the gateway.
const ProxySecret = "staged-secret-of-a-proxy"

// Gateway adds the upload service to the chart's values: jobs in one namespace, whose
// Secret "store" they use, below a bucket of its own.
func (e *Env) Gateway(ctx context.Context, values map[string]any, s *Store, namespace, bucket string) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: SystemNamespace}}
	if err := e.Client.Create(ctx, ns); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create namespace %s: %w", SystemNamespace, err)
	}
	if err := e.Secret(ctx, SystemNamespace, "pose-store", s); err != nil {
		return err
	}
	for name, content := range map[string]map[string]string{"pose-gateway": {"key": random(32)}, "pose-proxy": {"secret": ProxySecret}} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: SystemNamespace, Name: name}, StringData: content}
		if err := e.Client.Create(ctx, secret); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("write Secret %s/%s: %w", SystemNamespace, name, err)
		}
	}
	if err := s.Bucket(ctx, bucket); err != nil {
		return err
	}
	images, ok := values["image"].(map[string]any)
	if !ok {
		return fmt.Errorf("the chart's values have no images: %v", values)
	}
	images["gateway"] = image("pose-gateway")
	// The page offers the engines that its user may read.
	values["rbac"] = map[string]any{"engineViewers": []string{"system:authenticated"}}
	values["gateway"] = map[string]any{
		"enabled": true, "publicURL": "http://pose.test", "namespaces": map[string]any{"default": namespace},
		"place": map[string]any{"base": "s3://" + bucket, "credentialsSecretName": "pose-store"},
		"jobs":  map[string]any{"credentialsSecret": "store", "engine": "mediapipe", "overlay": "Blurred"},
		"auth":  map[string]any{"proxy": map[string]any{"from": []string{"0.0.0.0/0"}, "secretName": "pose-proxy"}},
	}
	return nil
}

// InstallOperator installs or upgrades the chart with the real helm and waits
// until it is ready.
func (e *Env) InstallOperator(ctx context.Context, values map[string]any) error {
	raw, err := yaml.Marshal(values)
	if err != nil {
		return fmt.Errorf("encode the chart's values: %w", err)
	}
	dir := filepath.Join(e.Root, ".demo")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	file := filepath.Join(dir, "values.yaml")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		return fmt.Errorf("write the chart's values: %w", err)
	}
	// Helm makes the CRDs of crds/ once and never upgrades them.
	if _, err := e.Run(ctx, e.Tool("kube-assets/kubectl"), "apply", "--server-side", "--force-conflicts", "-f", "charts/pose-operator/crds"); err != nil {
		return err
	}
	_, err = e.Run(ctx, e.Tool("helm"), "upgrade", "--install", "pose-operator", "charts/pose-operator",
		"--namespace", SystemNamespace, "--create-namespace", "--values", file, "--wait", "--timeout", "3m")
	return err
}
