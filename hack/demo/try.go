package main

import (
	"path/filepath"
	"strings"

	"github.com/pose-dev/pose-operator/hack/e2e/harness"
)

// example is a job for whoever wants to go on after the demo.
const example = `apiVersion: pose.dev/v1alpha1
kind: PoseJob
metadata:
  name: mine
  namespace: ` + namespace + `
spec:
  video:
    uri: s3://` + bucket + `/videos/pedestrians.mp4
    credentialsSecretRef: {name: store}
    frames: {start: 500, end: 600}
  output:
    uri: s3://` + bucket + `/` + namespace + `/mine   # the path begins with the namespace
    credentialsSecretRef: {name: store}
    overlay: Blurred
`

// tryMore says how to go on: the operator and its S3 server still run.
func tryMore(env *harness.Env, s *harness.Store) string {
	return strings.NewReplacer(
		"KUBECONFIG_FILE", env.Kubeconfig, "PLUGIN", filepath.Join(env.Root, "bin"), "BIN", filepath.Dir(env.Tool("helm")),
		"KUBECTL_FOLDER", filepath.Dir(env.Tool("kube-assets/kubectl")), "ENDPOINT", s.Endpoint, "STORE", s.Dir, "JOB\n", example,
	).Replace(`
TRY MORE
The cluster, the operator and the S3 server go on. kubectl, its plugin kubectl pose, and helm:

export KUBECONFIG=KUBECONFIG_FILE PATH=PLUGIN:KUBECTL_FOLDER:BIN:$PATH
kubectl get pj -A
kubectl pose describe walk-auto -n ` + namespace + `

A job of your own, on the default engine mediapipe:

kubectl apply -f - <<'EOF'
JOB
EOF
kubectl -n ` + namespace + ` get pj mine --watch

Its results lie as files below STORE/` + bucket + `/` + namespace + `/mine. Buckets are folders there: for a video of
yours, copy it into STORE/` + bucket + `/videos.
S3 itself: ENDPOINT, keys in STORE.json and in the Secret store of namespace ` + namespace + `.
` + "`make test-e2e` and `make figures` point the operator at stores of their own, which end with them; `make demo` points" + `
it back. ` + "End it all with: make cluster-down" + `
`)
}
