package v1alpha1_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const minimalBatch = `
apiVersion: pose.dev/v1alpha1
kind: PoseBatch
metadata: {namespace: default}
spec:
  videos: {prefix: "s3://videos/runs/"}
  output: {uri: "s3://results/default/runs"}
`

// fullBatch sets every field of a spec.
const fullBatch = `
apiVersion: pose.dev/v1alpha1
kind: PoseBatch
metadata: {namespace: default}
spec:
  videos:
    uris: ["s3://videos/a.mp4", "https://host:8443/b.mov"]
    include: ["**/*.mp4"]
    exclude: ["test-*"]
    maxVideos: 10
    credentialsSecretRef: {name: in}
  output:
    uri: pvc://claim/runs
    credentialsSecretRef: {name: out}
    overlay: Blurred
    overwrite: Allow
    deletionPolicy: Delete
  template:
    engineName: phalp
    device: GPU
    variants: [b, a]
    fallback: {device: Deny, detector: Deny, engine: Allow}
    people: {max: 3}
    reuse: IfVerified
    captureFPS: 240
    focalLengthPx: 1480
    activeDeadlineSeconds: 600
    pendingTimeoutSeconds: 60
    startTimeoutSeconds: 61
    stallTimeoutSeconds: 62
    deliveryTimeoutSeconds: 63
    backoffLimit: 0
    scratchSize: 5Gi
    podTemplate: {labels: {team: a}, resources: {gpu: {limits: {memory: 2Gi}}}}
  parallelism: 8
  suspend: true
  activeDeadlineSeconds: 86400
  failurePolicy: {maxFailed: 5%}
  budget: {gpuSeconds: 3600, cpuSeconds: 7200}
  failedJobsHistoryLimit: 0
  successfulJobsHistoryLimit: 1
`

func TestPoseBatchFields(t *testing.T) {
	list := func(n int, item string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + "]"
	}
	const (
		one    = "spec.videos needs exactly one of prefix, uris and list"
		scheme = "unknown scheme"
		dots   = "no . or .. in the path of a URI"
		claim  = "must name a PersistentVolumeClaim"
		shape  = "spec.videos.uris[0] in body should match"
	)
	for name, c := range map[string]struct{ path, value, refusal string }{
		"videos and output alone":              {},
		"no videos":                            {"spec.videos", "", "spec.videos: Required value"},
		"videos of nothing":                    {"spec.videos", "{}", one},
		"a prefix and a list":                  {"spec.videos.list", "s3://videos/list.txt", one},
		"no output":                            {"spec.output", "", "spec.output: Required value"},
		"an unknown field":                     {"spec.clipsPerNode", "4", "unknown field"},
		"a field of one job":                   {"spec.template.video", "{}", "unknown field"},
		"a prefix in Google's cloud":           {"spec.videos.prefix", "gs://bucket/", ""},
		"a prefix in Azure":                    {"spec.videos.prefix", "azblob://container/x/", ""},
		"a prefix in a claim":                  {"spec.videos.prefix", "pvc://claim/x/", ""},
		"a whole bucket":                       {"spec.videos.prefix", "s3://videos/", ""},
		"a prefix without its slash":           {"spec.videos.prefix", "s3://videos/runs", "a prefix must end with /"},
		"a prefix by HTTP":                     {"spec.videos.prefix", "https://host/videos/", scheme},
		"a prefix in an image":                 {"spec.videos.prefix", "oci://host/videos/", scheme},
		"a prefix that climbs":                 {"spec.videos.prefix", "s3://videos/../", dots},
		"a prefix that climbs in disguise":     {"spec.videos.prefix", "s3://videos/%2e%2e/", dots},
		"a prefix with a password":             {"spec.videos.prefix", "s3://me:secret@videos/x/", "no user, password"},
		"a prefix with a query":                {"spec.videos.prefix", "s3://videos/x?y/", "no user, password"},
		"a prefix with white space":            {"spec.videos.prefix", "s3://videos/a b/", "no user, password"},
		"a prefix of no claim":                 {"spec.videos.prefix", "pvc://Claim/x/", claim},
		"a list":                               {"spec.videos", `{list: "https://host/list.csv"}`, ""},
		"a list in a claim":                    {"spec.videos", `{list: "pvc://claim/list.txt"}`, ""},
		"a list of no scheme":                  {"spec.videos", `{list: "/etc/passwd"}`, "a list is s3://bucket/key"},
		"a list with a query":                  {"spec.videos", `{list: "https://host/list?x"}`, "a list is s3://bucket/key"},
		"a list that climbs":                   {"spec.videos", `{list: "s3://videos/../list"}`, dots},
		"500 URIs":                             {"spec.videos", `{uris: ` + list(500, `"s3://videos/a.mp4"`) + `}`, ""},
		"501 URIs":                             {"spec.videos", `{uris: ` + list(501, `"s3://videos/a.mp4"`) + `}`, "must have at most 500 items"},
		"no URIs":                              {"spec.videos", `{uris: []}`, "should have at least 1 items"},
		"a URI of a file":                      {"spec.videos", `{uris: ["file:///etc/passwd"]}`, shape},
		"a URI with a password":                {"spec.videos", `{uris: ["https://me:secret@host/a"]}`, shape},
		"a URI with a query":                   {"spec.videos", `{uris: ["https://host/a?sig=1"]}`, shape},
		"a URI with white space":               {"spec.videos", `{uris: ["s3://videos/a b"]}`, shape},
		"too many patterns":                    {"spec.videos.include", list(33, "a"), "must have at most 32 items"},
		"a pattern that is too long":           {"spec.videos.exclude", "[" + strings.Repeat("a", 257) + "]", "may not be more than 256"},
		"more videos than there may be":        {"spec.videos.maxVideos", "100001", "less than or equal to 100000"},
		"an output by HTTP":                    {"spec.output.uri", "https://host/x", scheme},
		"an output of a bucket alone":          {"spec.output.uri", "s3://results/", "the URI names no folder"},
		"an output that climbs":                {"spec.output.uri", "s3://results/../x", dots},
		"an output with a password":            {"spec.output.uri", "s3://me:secret@results/x", "no user or password"},
		"an output of no claim":                {"spec.output.uri", "pvc://Claim/x", claim},
		"an output that leaves no room":        {"spec.output.uri", "s3://results/" + strings.Repeat("a", 500), "may not be more than 512"},
		"no jobs side by side":                 {"spec.parallelism", "0", "greater than or equal to 1"},
		"very many side by side":               {"spec.parallelism", "1001", "less than or equal to 1000"},
		"many clips a pod":                     {"spec.clipsPerPod", "50", ""},
		"no clips a pod":                       {"spec.clipsPerPod", "0", "greater than or equal to 1"},
		"too many clips a pod":                 {"spec.clipsPerPod", "51", "less than or equal to 50"},
		"no failure at all":                    {"spec.failurePolicy", "{maxFailed: 0}", ""},
		"all may fail":                         {"spec.failurePolicy", `{maxFailed: "100%"}`, ""},
		"fewer than none may fail":             {"spec.failurePolicy", "{maxFailed: -1}", "maxFailed must be"},
		"more than all may fail":               {"spec.failurePolicy", `{maxFailed: "101%"}`, "maxFailed must be"},
		"a part of a percent":                  {"spec.failurePolicy", `{maxFailed: ".5%"}`, "maxFailed must be"},
		"a number as a word":                   {"spec.failurePolicy", `{maxFailed: "5"}`, "maxFailed must be"},
		"a failure policy of nothing":          {"spec.failurePolicy", "{}", "maxFailed: Required value"},
		"a budget of nothing":                  {"spec.budget", "{}", "a budget needs gpuSeconds or cpuSeconds"},
		"a budget of no second":                {"spec.budget", "{gpuSeconds: 0}", "greater than or equal to 1"},
		"a policy of kept jobs that is large":  {"spec.failedJobsHistoryLimit", "201", "less than or equal to 200"},
		"an engine of no name":                 {"spec.template.engineName", "PHALP", "engineName must be the name of a PoseEngine"},
		"a variant twice":                      {"spec.template.variants", "[a, a]", "must not name a variant twice"},
		"a rate that is none":                  {"spec.template.captureFPS", "fast", "captureFPS must be"},
		"a size that is none":                  {"spec.template.scratchSize", "5GB", "scratchSize must be"},
		"a label of the operator's":            {"spec.template.podTemplate", `{labels: {pose.dev/x: "1"}}`, "belong to the operator"},
		"memory that is requested and limited": {"spec.template.podTemplate", "{resources: {cpu: {requests: {memory: 1Gi}, limits: {memory: 2Gi}}}}", "memory is always requested"},
	} {
		t.Run(name, func(t *testing.T) {
			o := parse(t, minimalBatch)
			if c.path != "" {
				o.set(t, c.path, c.value)
			}
			_, err := create(t, o)
			expect(t, err, c.refusal)
		})
	}
	t.Run("every field", func(t *testing.T) {
		want := parse(t, fullBatch)
		got, err := create(t, parse(t, fullBatch))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(normal(want["spec"]), normal(got.Object["spec"])); diff != "" {
			t.Errorf("spec (-written +kept):\n%s", diff)
		}
	})
}

// normal makes numbers of one kind.
func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = normal(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = normal(e)
		}
		return out
	case int64, float64, int:
		return fmt.Sprint(v)
	}
	return v
}

func TestPoseBatchDefaults(t *testing.T) {
	u, err := create(t, parse(t, minimalBatch))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"videos":      map[string]any{"prefix": "s3://videos/runs/", "maxVideos": int64(100000)},
		"output":      map[string]any{"uri": "s3://results/default/runs", "overlay": "None", "overwrite": "Deny", "deletionPolicy": "Retain"},
		"template":    map[string]any{},
		"parallelism": int64(4), "suspend": false, "failedJobsHistoryLimit": int64(20), "successfulJobsHistoryLimit": int64(0),
	}
	if diff := cmp.Diff(normal(want), normal(u.Object["spec"])); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	if g, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration"); g != -1 {
		t.Errorf("status.observedGeneration = %d before the operator saw it", g)
	}
}

func TestPoseBatchChanges(t *testing.T) {
	for name, c := range map[string]struct{ path, value, refusal string }{
		"parallelism":                  {"spec.parallelism", "9", ""},
		"clips a pod":                  {"spec.clipsPerPod", "9", ""},
		"suspend":                      {"spec.suspend", "false", ""},
		"a deadline":                   {"spec.activeDeadlineSeconds", "5", ""},
		"no deadline":                  {"spec.activeDeadlineSeconds", "", ""},
		"a failure policy":             {"spec.failurePolicy", "{maxFailed: 1}", ""},
		"a larger budget":              {"spec.budget", "{gpuSeconds: 9000}", ""},
		"no budget":                    {"spec.budget", "", ""},
		"what is kept":                 {"spec.failedJobsHistoryLimit", "5", ""},
		"deletionPolicy":               {"spec.output.deletionPolicy", "Retain", ""},
		"the videos":                   {"spec.videos.uris", `["s3://videos/c.mp4"]`, "spec.videos cannot be changed"},
		"the patterns":                 {"spec.videos.exclude", "", "spec.videos cannot be changed"},
		"the output":                   {"spec.output.uri", "pvc://claim/other", "spec.output cannot be changed"},
		"the output's Secret":          {"spec.output.credentialsSecretRef", "", "spec.output cannot be changed"},
		"the overlay":                  {"spec.output.overlay", "Full", "spec.output cannot be changed"},
		"the engine":                   {"spec.template.engineName", "mediapipe", "spec.template cannot be changed"},
		"a time-out of the template's": {"spec.template.stallTimeoutSeconds", "90", "spec.template cannot be changed"},
		"the whole template":           {"spec.template", "", "spec.template cannot be changed"},
	} {
		t.Run(name, func(t *testing.T) {
			u, err := create(t, parse(t, fullBatch))
			if err != nil {
				t.Fatal(err)
			}
			o := object(u.Object).set(t, c.path, c.value)
			expect(t, api.Update(context.Background(), o.unstructured()), c.refusal)
		})
	}
}
