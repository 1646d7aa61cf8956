package v1alpha1_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

const minimalJob = `
apiVersion: pose.dev/v1alpha1
kind: PoseJob
metadata: {}
spec:
  video: {uri: "s3://videos/run.mp4"}
  output: {uri: "s3://results/default/run"}
`

// fullJob sets every field of a spec.
const fullJob = `
apiVersion: pose.dev/v1alpha1
kind: PoseJob
metadata: {}
spec:
  video:
    uri: s3://videos/run.mp4
    sha256: ` + digest + `
    credentialsSecretRef: {name: in}
    frames: {start: 1, end: 2}
  output:
    uri: pvc://claim/run
    credentialsSecretRef: {name: out}
    overlay: Blurred
  engineName: phalp
  device: GPU
  variants: [b, a]
  fallback: {device: Deny, detector: Deny}
  suspend: true
  activeDeadlineSeconds: 3600
  pendingTimeoutSeconds: 60
  startTimeoutSeconds: 61
  stallTimeoutSeconds: 62
  deliveryTimeoutSeconds: 63
  backoffLimit: 0
  ttlSecondsAfterFinished: 0
  podTTLSecondsAfterFinished: 0
  managedBy: example.com/other
  scratchSize: 5Gi
  podTemplate:
    labels: {team: a}
    annotations: {note: b}
    nodeSelector: {zone: c}
    tolerations: [{key: gpu, operator: Exists}]
    serviceAccountName: sa
    priorityClassName: low
    runtimeClassName: nvidia
    imagePullSecrets: [{name: pull}]
    resources:
      cpu: {limits: {memory: 1Gi}}
      gpu: {requests: {cpu: "1"}, limits: {memory: 2Gi}}
`

const digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func quoted(s string) string { return `"` + s + `"` }

func TestPoseJobFields(t *testing.T) {
	long := func(n int) string { return strings.Repeat("a", n) }
	list := func(n int, item string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + "]"
	}
	numbered := func(n int, format string) string {
		var items []string
		for i := range n {
			items = append(items, strings.ReplaceAll(format, "#", string(rune('a'+i%26))+string(rune('a'+i/26))))
		}
		return "{" + strings.Join(items, ",") + "}"
	}
	const (
		scheme   = "unknown scheme"
		userinfo = "no user or password in a URI"
		query    = "no query or fragment in a URI"
		object   = "the URI names no object"
		folder   = "the URI names no folder"
		dots     = "no . or .. in the path of a URI"
		spaces   = "no white space or control characters in a URI"
		claim    = "must name a PersistentVolumeClaim"
		engine   = "engineName must be the name of a PoseEngine"
		least    = "scratchSize must be at least 1Mi"
		unit     = "scratchSize must be a number and its unit without a space"
		noGPU    = "podTemplate.resources.cpu is for variants that run on the CPU, which have no GPU"
		limit    = "a limit of cpu or memory must be greater than zero"
		request  = "a request of cpu or memory must be greater than zero"
		memory   = "memory is always requested as much as it is limited: leave the request out"
	)
	for name, c := range map[string]struct{ path, value, refusal string }{
		"a job with nothing but video and output": {},
		"no spec":           {"spec", "", "spec: Required value"},
		"no video":          {"spec.video", "", "spec.video: Required value"},
		"no video URI":      {"spec.video.uri", "", "spec.video.uri: Required value"},
		"no output":         {"spec.output", "", "spec.output: Required value"},
		"no output URI":     {"spec.output.uri", "", "spec.output.uri: Required value"},
		"an unknown field":  {"spec.vidoe", "{}", `unknown field "spec.vidoe"`},
		"an unknown source": {"spec.boxes", "{}", `unknown field "spec.boxes"`},

		// video.uri
		"a video in S3":                           {"spec.video.uri", "s3://bucket/a/b/c.mp4", ""},
		"a video by HTTPS":                        {"spec.video.uri", "https://host.example:8443/a.mp4", ""},
		"a video by HTTP":                         {"spec.video.uri", "http://host/a.mp4", ""},
		"a video in a claim":                      {"spec.video.uri", "pvc://my-claim.v1/a.mp4", ""},
		"a video with an encoded space":           {"spec.video.uri", "s3://bucket/my%20video.mp4", ""},
		"a video with dots in its name":           {"spec.video.uri", "s3://bucket/a..b/.hidden/c.tar.mp4", ""},
		"a video with an at sign in its name":     {"spec.video.uri", "s3://bucket/me@home.mp4", ""},
		"a video in another script":               {"spec.video.uri", "s3://bucket/映像.mp4", ""},
		"a video by FTP":                          {"spec.video.uri", "ftp://host/a.mp4", scheme},
		"a video by a file path":                  {"spec.video.uri", "file:///etc/passwd", scheme},
		"a video by a plain path":                 {"spec.video.uri", "/videos/a.mp4", scheme},
		"a video with an upper-case scheme":       {"spec.video.uri", "S3://bucket/a.mp4", scheme},
		"a video in Azure":                        {"spec.video.uri", "azblob://container/a.mp4", scheme},
		"a video URI with user and password":      {"spec.video.uri", "https://me:secret@host/a.mp4", userinfo},
		"a video URI with a user":                 {"spec.video.uri", "s3://me@bucket/a.mp4", userinfo},
		"a signed video URL":                      {"spec.video.uri", "https://host/a.mp4?sig=abc", query},
		"a video URI with a fragment":             {"spec.video.uri", quoted("https://host/a.mp4#t=5"), query},
		"a video URI without an object":           {"spec.video.uri", "s3://bucket/", object},
		"a video URI with a bucket only":          {"spec.video.uri", "s3://bucket", object},
		"a video URI without a host":              {"spec.video.uri", "https:///a.mp4", object},
		"a video path that climbs":                {"spec.video.uri", "s3://bucket/../a.mp4", dots},
		"a video path that ends in two dots":      {"spec.video.uri", "s3://bucket/a/..", dots},
		"a video path with a dot":                 {"spec.video.uri", "s3://bucket/./a.mp4", dots},
		"a video path that climbs in disguise":    {"spec.video.uri", "s3://bucket/%2e%2E/a.mp4", dots},
		"a video path with a disguised slash":     {"spec.video.uri", "s3://bucket/..%2Fa.mp4", dots},
		"a video URI with a space":                {"spec.video.uri", "s3://bucket/my video.mp4", spaces},
		"a video URI with a newline":              {"spec.video.uri", `"s3://bucket/a\nb.mp4"`, spaces},
		"a video URI with a control character":    {"spec.video.uri", `"s3://bucket/a\eb.mp4"`, spaces},
		"a video in a claim with a bad name":      {"spec.video.uri", "pvc://My_Claim/a.mp4", claim},
		"a video URI that is too short":           {"spec.video.uri", "s3://b/", "should be at least 8 chars long"},
		"a video URI of the greatest length":      {"spec.video.uri", "s3://bucket/" + long(1012), ""},
		"a video URI that is too long":            {"spec.video.uri", "s3://bucket/" + long(1013), "may not be more than 1024"},
		"a digest":                                {"spec.video.sha256", quoted(digest), ""},
		"a digest in upper case":                  {"spec.video.sha256", quoted(strings.ToUpper(digest)), "spec.video.sha256 in body should match"},
		"a digest that is too short":              {"spec.video.sha256", quoted(digest[1:]), "spec.video.sha256 in body should match"},
		"credentials of the video":                {"spec.video.credentialsSecretRef", "{name: x}", ""},
		"credentials of the video without a name": {"spec.video.credentialsSecretRef", "{}", "credentialsSecretRef.name: Required value"},
		"credentials with an empty name":          {"spec.video.credentialsSecretRef", `{name: ""}`, "should be at least 1 chars long"},
		"credentials with too long a name":        {"spec.video.credentialsSecretRef", "{name: " + long(254) + "}", "may not be more than 253"},
		"frames from the start":                   {"spec.video.frames", "{start: 0, end: 1}", ""},
		"frames to the end":                       {"spec.video.frames", "{start: 5}", ""},
		"frames up to one":                        {"spec.video.frames", "{end: 10}", ""},
		"frames that end before they start":       {"spec.video.frames", "{start: 10, end: 9}", "frames.end must be greater than frames.start"},
		"frames that end where they start":        {"spec.video.frames", "{start: 10, end: 10}", "frames.end must be greater than frames.start"},
		"frames that start below nothing":         {"spec.video.frames", "{start: -1}", "should be greater than or equal to 0"},
		"frames that end at nothing":              {"spec.video.frames", "{end: 0}", "should be greater than or equal to 1"},

		// output
		"results in S3":                        {"spec.output.uri", "s3://bucket/a/", ""},
		"results in a claim":                   {"spec.output.uri", "pvc://claim/a", ""},
		"results by HTTPS":                     {"spec.output.uri", "https://host/a", scheme},
		"an output URI with a password":        {"spec.output.uri", "s3://me:secret@bucket/a", userinfo},
		"an output URI with a query":           {"spec.output.uri", "s3://bucket/a?x=1", query},
		"an output URI with a fragment":        {"spec.output.uri", quoted("s3://bucket/a#x"), query},
		"an output URI without a folder":       {"spec.output.uri", "s3://bucket/", folder},
		"an output path that climbs":           {"spec.output.uri", "s3://bucket/default/../x", dots},
		"an output path that climbs disguised": {"spec.output.uri", "s3://bucket/default/%2e%2e/x", dots},
		"an output URI with a space":           {"spec.output.uri", "s3://bucket/a b", spaces},
		"an output claim with a bad name":      {"spec.output.uri", "pvc://Claim/a", claim},
		"an output URI that is too short":      {"spec.output.uri", "s3://b/", "should be at least 8 chars long"},
		"an output URI that is too long":       {"spec.output.uri", "s3://bucket/" + long(1013), "may not be more than 1024"},
		"no overlay":                           {"spec.output.overlay", "None", ""},
		"a blurred overlay":                    {"spec.output.overlay", "Blurred", ""},
		"a full overlay":                       {"spec.output.overlay", "Full", ""},
		"an unknown overlay":                   {"spec.output.overlay", "Sharp", `Unsupported value: "Sharp"`},

		// choice of engine and device
		"an engine":                             {"spec.engineName", "phalp", ""},
		"an engine with an empty name":          {"spec.engineName", `""`, "should be at least 1 chars long"},
		"an engine with the longest name":       {"spec.engineName", long(63), ""},
		"an engine with too long a name":        {"spec.engineName", long(64), "may not be more than 63"},
		"an engine with dots in its name":       {"spec.engineName", "phalp-2.lab", ""},
		"an engine in upper case":               {"spec.engineName", "PHALP", engine},
		"an engine with an underscore":          {"spec.engineName", "phalp_gpu", engine},
		"an engine whose name ends with a dash": {"spec.engineName", "phalp-", engine},
		"an engine with an empty part":          {"spec.engineName", "phalp..lab", engine},
		"any device":                            {"spec.device", "Auto", ""},
		"a GPU":                                 {"spec.device", "GPU", ""},
		"a CPU":                                 {"spec.device", "CPU", ""},
		"an unknown device":                     {"spec.device", "TPU", `Unsupported value: "TPU"`},
		"variants in an order":                  {"spec.variants", "[b, a]", ""},
		"no variant in a list":                  {"spec.variants", "[]", "should have at least 1 items"},
		"a variant twice":                       {"spec.variants", "[a, b, a]", "must not name a variant twice"},
		"as many variants as there may be":      {"spec.variants", "[v1,v2,v3,v4,v5,v6,v7,v8,v9,v10,v11,v12,v13,v14,v15,v16]", ""},
		"too many variants":                     {"spec.variants", "[v1,v2,v3,v4,v5,v6,v7,v8,v9,v10,v11,v12,v13,v14,v15,v16,v17]", "must have at most 16 items"},
		"a variant without a name":              {"spec.variants", `[""]`, "should be at least 1 chars long"},
		"a variant with too long a name":        {"spec.variants", "[" + long(64) + "]", "may not be more than 63"},
		"a fallback that denies the device":     {"spec.fallback", "{device: Deny}", ""},
		"a fallback that denies the detector":   {"spec.fallback", "{detector: Deny}", ""},
		"a fallback that may be":                {"spec.fallback", "{device: Maybe}", `Unsupported value: "Maybe"`},
		"a fallback of the detector may be":     {"spec.fallback", "{detector: Maybe}", `Unsupported value: "Maybe"`},
		"managed by somebody else":              {"spec.managedBy", "example.com/x", ""},
		"managed by nobody":                     {"spec.managedBy", `""`, "should be at least 1 chars long"},
		"managed by somebody of too long name":  {"spec.managedBy", long(64), "may not be more than 63"},

		// times and bounds
		"a deadline of a second":           {"spec.activeDeadlineSeconds", "1", ""},
		"a deadline of nothing":            {"spec.activeDeadlineSeconds", "0", "should be greater than or equal to 1"},
		"a pending time-out of a second":   {"spec.pendingTimeoutSeconds", "1", ""},
		"a pending time-out of nothing":    {"spec.pendingTimeoutSeconds", "0", "should be greater than or equal to 1"},
		"a start time-out of a second":     {"spec.startTimeoutSeconds", "1", ""},
		"a start time-out of nothing":      {"spec.startTimeoutSeconds", "0", "should be greater than or equal to 1"},
		"a stall time-out of ten seconds":  {"spec.stallTimeoutSeconds", "10", ""},
		"a stall time-out of nine":         {"spec.stallTimeoutSeconds", "9", "should be greater than or equal to 10"},
		"a delivery time-out of ten":       {"spec.deliveryTimeoutSeconds", "10", ""},
		"a delivery time-out of nine":      {"spec.deliveryTimeoutSeconds", "9", "should be greater than or equal to 10"},
		"no repetition":                    {"spec.backoffLimit", "0", ""},
		"five repetitions":                 {"spec.backoffLimit", "5", ""},
		"six repetitions":                  {"spec.backoffLimit", "6", "should be less than or equal to 5"},
		"fewer repetitions than none":      {"spec.backoffLimit", "-1", "should be greater than or equal to 0"},
		"deleted at once":                  {"spec.ttlSecondsAfterFinished", "0", ""},
		"deleted before its end":           {"spec.ttlSecondsAfterFinished", "-1", "should be greater than or equal to 0"},
		"pods deleted at once":             {"spec.podTTLSecondsAfterFinished", "0", ""},
		"pods deleted before their end":    {"spec.podTTLSecondsAfterFinished", "-1", "should be greater than or equal to 0"},
		"a scratch size":                   {"spec.scratchSize", "500Mi", ""},
		"a scratch size that is no number": {"spec.scratchSize", "much", "spec.scratchSize in body should match"},
		"the least scratch size":           {"spec.scratchSize", "1Mi", ""},
		"a scratch size in bytes":          {"spec.scratchSize", "5368709120", ""},
		"a scratch size of nothing":        {"spec.scratchSize", "0", least},
		"a scratch size of no gigabyte":    {"spec.scratchSize", "0Gi", least},
		"a scratch size below nothing":     {"spec.scratchSize", "-5Gi", least},
		"a scratch size without a unit":    {"spec.scratchSize", quoted("20"), least},
		"a scratch size in thousandths":    {"spec.scratchSize", "500m", least},
		"a scratch size below the least":   {"spec.scratchSize", "1023Ki", least},
		"a scratch size with a space":      {"spec.scratchSize", "5 GB", unit},
		"a scratch size with a B":          {"spec.scratchSize", "5GB", unit},
		"a scratch size of no end":         {"spec.scratchSize", quoted("1" + strings.Repeat("0", 32)), "may not be more than 32"},
		"a suspension that is no boolean":  {"spec.suspend", `"yes"`, "must be of type boolean"},

		// podTemplate
		"labels of the user's":                 {"spec.podTemplate.labels", "{team: a}", ""},
		"a label of the operator's":            {"spec.podTemplate.labels", "{pose.dev/job: x}", "podTemplate.labels: the prefixes pose.dev/ and app.kubernetes.io/"},
		"a label of the application's":         {"spec.podTemplate.labels", "{app.kubernetes.io/name: x}", "podTemplate.labels: the prefixes pose.dev/ and app.kubernetes.io/"},
		"as many labels as there may be":       {"spec.podTemplate.labels", numbered(32, "#: x"), ""},
		"too many labels":                      {"spec.podTemplate.labels", numbered(33, "#: x"), "must have at most 32"},
		"annotations of the user's":            {"spec.podTemplate.annotations", "{note: x}", ""},
		"an annotation of the operator's":      {"spec.podTemplate.annotations", "{pose.dev/x: z}", "podTemplate.annotations: the prefix pose.dev/"},
		"too many annotations":                 {"spec.podTemplate.annotations", numbered(33, "#: x"), "must have at most 32"},
		"too many node selectors":              {"spec.podTemplate.nodeSelector", numbered(17, "#: x"), "must have at most 16"},
		"too many tolerations":                 {"spec.podTemplate.tolerations", list(17, "{key: a}"), "must have at most 16 items"},
		"a service account of too long a name": {"spec.podTemplate.serviceAccountName", long(254), "may not be more than 253"},
		"a priority class of too long a name":  {"spec.podTemplate.priorityClassName", long(254), "may not be more than 253"},
		"a runtime class of too long a name":   {"spec.podTemplate.runtimeClassName", long(254), "may not be more than 253"},
		"a pull secret twice":                  {"spec.podTemplate.imagePullSecrets", "[{name: a}, {name: a}]", "Duplicate value"},
		"too many pull secrets":                {"spec.podTemplate.imagePullSecrets", "[{name: a},{name: b},{name: c},{name: d},{name: e},{name: f},{name: g},{name: h},{name: i}]", "must have at most 8 items"},
		"resources by device":                  {"spec.podTemplate.resources", "{gpu: {limits: {memory: 1Gi}}}", ""},
		"no GPU, where the variant has one":    {"spec.podTemplate.resources", `{gpu: {limits: {nvidia.com/gpu: "0", amd.com/gpu: 1}}}`, ""},
		"a GPU for variants on the CPU":        {"spec.podTemplate.resources", `{cpu: {limits: {nvidia.com/gpu: "1"}}}`, noGPU},
		"another GPU for variants on the CPU":  {"spec.podTemplate.resources", "{cpu: {limits: {amd.com/gpu: 1}}}", noGPU},
		"Intel's GPU for variants on the CPU":  {"spec.podTemplate.resources", "{cpu: {limits: {gpu.intel.com/i915: 1}}}", noGPU},
		"Intel's new GPU for the CPU":          {"spec.podTemplate.resources", "{cpu: {limits: {gpu.intel.com/xe: 1}}}", noGPU},
		"a request for a GPU on the CPU":       {"spec.podTemplate.resources", `{cpu: {requests: {nvidia.com/gpu: "1"}}}`, noGPU},
		"a device that is no GPU on the CPU":   {"spec.podTemplate.resources", "{cpu: {limits: {example.com/fpga: 1}}}", ""},
		"resources in numbers":                 {"spec.podTemplate.resources", "{cpu: {requests: {cpu: 2}, limits: {memory: 4294967296}}}", ""},
		"parts of cores":                       {"spec.podTemplate.resources", "{cpu: {requests: {cpu: 250m}, limits: {cpu: 1.5k}}}", ""},
		"no memory":                            {"spec.podTemplate.resources", "{gpu: {limits: {memory: 0}}}", limit},
		"no memory, on the CPU":                {"spec.podTemplate.resources", "{cpu: {limits: {memory: 0Gi}}}", limit},
		"memory below nothing":                 {"spec.podTemplate.resources", "{gpu: {limits: {memory: -1Gi}}}", limit},
		"cores below nothing":                  {"spec.podTemplate.resources", "{cpu: {limits: {cpu: -1}}}", limit},
		"devices below nothing":                {"spec.podTemplate.resources", `{gpu: {limits: {nvidia.com/gpu: "-1"}}}`, limit},
		"a request for no cores":               {"spec.podTemplate.resources", `{gpu: {requests: {cpu: "0"}}}`, request},
		"a request for no cores, on the CPU":   {"spec.podTemplate.resources", "{cpu: {requests: {cpu: 0}}}", request},
		"a request for cores below nothing":    {"spec.podTemplate.resources", "{cpu: {requests: {cpu: -500m}}}", request},
		"a request for devices below nothing":  {"spec.podTemplate.resources", "{gpu: {requests: {nvidia.com/gpu: -1}}}", request},
		"a request for less memory":            {"spec.podTemplate.resources", "{gpu: {requests: {memory: 4Gi}, limits: {memory: 8Gi}}}", memory},
		"a request for less memory on the CPU": {"spec.podTemplate.resources", "{cpu: {requests: {memory: 1}, limits: {memory: 8Gi}}}", memory},
		"a request for more memory":            {"spec.podTemplate.resources", "{cpu: {requests: {memory: 9Gi}, limits: {memory: 8Gi}}}", memory},
		"a request for the same memory":        {"spec.podTemplate.resources", "{cpu: {requests: {memory: 2048Mi}, limits: {memory: 2Gi}}}", ""},
		"a request for memory without a limit": {"spec.podTemplate.resources", "{cpu: {requests: {memory: 2Gi}}}", ""},
		"resources that are no quantity":       {"spec.podTemplate.resources", "{cpu: {limits: {memory: 4 GB}}}", "should match"},
		"resources of an unknown device":       {"spec.podTemplate.resources", "{tpu: {}}", "unknown field"},
		"a scheduler":                          {"spec.podTemplate.schedulerName", "mine", "unknown field"},
	} {
		t.Run(name, func(t *testing.T) {
			o := parse(t, minimalJob)
			if c.path != "" {
				o.set(t, c.path, c.value)
			}
			_, err := create(t, o)
			expect(t, err, c.refusal)
		})
	}
}

func TestPoseJobDefaults(t *testing.T) {
	u, err := create(t, parse(t, minimalJob))
	if err != nil {
		t.Fatal(err)
	}
	if err := api.Get(context.Background(), client.ObjectKeyFromObject(u), u); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]any{
		"spec.device":                     "Auto",
		"spec.fallback.device":            "Allow",
		"spec.fallback.detector":          "Allow",
		"spec.suspend":                    false,
		"spec.startTimeoutSeconds":        int64(600),
		"spec.stallTimeoutSeconds":        int64(900),
		"spec.deliveryTimeoutSeconds":     int64(900),
		"spec.backoffLimit":               int64(2),
		"spec.podTTLSecondsAfterFinished": int64(600),
		"spec.scratchSize":                "20Gi",
		"spec.output.overlay":             "None",
		"status.observedGeneration":       int64(-1),
		"spec.activeDeadlineSeconds":      nil,
		"spec.pendingTimeoutSeconds":      nil,
		"spec.ttlSecondsAfterFinished":    nil,
		"spec.managedBy":                  nil,
		"spec.engineName":                 nil,
		"spec.variants":                   nil,
		"spec.podTemplate":                nil,
		"spec.video.frames":               nil,
	} {
		t.Run(path, func(t *testing.T) {
			got, _, err := unstructured.NestedFieldNoCopy(u.Object, strings.Split(path, ".")...)
			if err != nil || !cmp.Equal(want, got) {
				t.Errorf("%s = %v (%v), want %v", path, got, err, want)
			}
		})
	}
}

func TestPoseJobImmutability(t *testing.T) {
	const (
		video    = "spec.video cannot be changed"
		output   = "spec.output cannot be changed"
		device   = "spec.device cannot be changed"
		engine   = "spec.engineName cannot be set, unset or changed later"
		variants = "spec.variants cannot be set, unset or changed later"
		managed  = "spec.managedBy cannot be set, unset or changed later"
		template = "spec.podTemplate can be changed only while spec.suspend is true"
	)
	for name, c := range map[string]struct {
		path, before, after string
		suspend             string // before and after, as "true"; "true false" resumes in the same request
		refusal             string
	}{
		"the video's URI":                                 {path: "spec.video.uri", before: "s3://v/a.mp4", after: "s3://v/b.mp4", refusal: video},
		"the video's digest is set":                       {path: "spec.video.sha256", after: quoted(digest), refusal: video},
		"the video's digest is unset":                     {path: "spec.video.sha256", before: quoted(digest), refusal: video},
		"the video's frames are set":                      {path: "spec.video.frames", after: "{start: 1}", refusal: video},
		"the video's credentials are set":                 {path: "spec.video.credentialsSecretRef", after: "{name: x}", refusal: video},
		"the output's URI":                                {path: "spec.output.uri", before: "s3://o/default/a", after: "s3://o/default/b", refusal: output},
		"the output's overlay":                            {path: "spec.output.overlay", before: "None", after: "Full", refusal: output},
		"the output's overlay is unset, which is None":    {path: "spec.output.overlay", before: "Full", refusal: output},
		"the output's credentials are unset":              {path: "spec.output.credentialsSecretRef", before: "{name: x}", refusal: output},
		"the device":                                      {path: "spec.device", before: "GPU", after: "CPU", refusal: device},
		"the device is set from its default":              {path: "spec.device", after: "CPU", refusal: device},
		"the device is unset to its default":              {path: "spec.device", before: "CPU", refusal: device},
		"the device is set to its default":                {path: "spec.device", after: "Auto"},
		"the engine is set":                               {path: "spec.engineName", after: "a", refusal: engine},
		"the engine is unset":                             {path: "spec.engineName", before: "a", refusal: engine},
		"the engine is changed":                           {path: "spec.engineName", before: "a", after: "b", refusal: engine},
		"the variants are set":                            {path: "spec.variants", after: "[a]", refusal: variants},
		"the variants are unset":                          {path: "spec.variants", before: "[a]", refusal: variants},
		"the variants are changed":                        {path: "spec.variants", before: "[a]", after: "[b]", refusal: variants},
		"the variants are put into another order":         {path: "spec.variants", before: "[a, b]", after: "[b, a]", refusal: variants},
		"the manager is set":                              {path: "spec.managedBy", after: "a", refusal: managed},
		"the manager is unset":                            {path: "spec.managedBy", before: "a", refusal: managed},
		"the manager is changed":                          {path: "spec.managedBy", before: "a", after: "b", refusal: managed},
		"the pod template is set":                         {path: "spec.podTemplate", after: "{labels: {a: b}}", refusal: template},
		"the pod template is unset":                       {path: "spec.podTemplate", before: "{labels: {a: b}}", refusal: template},
		"the pod template is changed":                     {path: "spec.podTemplate.labels", before: "{a: b}", after: "{a: c}", refusal: template},
		"the pod template is set while suspended":         {path: "spec.podTemplate", after: "{labels: {a: b}}", suspend: "true"},
		"the pod template is unset while suspended":       {path: "spec.podTemplate", before: "{labels: {a: b}}", suspend: "true"},
		"the pod template is changed while suspended":     {path: "spec.podTemplate.labels", before: "{a: b}", after: "{a: c}", suspend: "true"},
		"the pod template is changed with the resumption": {path: "spec.podTemplate.labels", before: "{a: b}", after: "{a: c}", suspend: "true false"},
		"the video while suspended":                       {path: "spec.video.uri", before: "s3://v/a.mp4", after: "s3://v/b.mp4", suspend: "true", refusal: video},
		"suspend":                                         {path: "spec.suspend", before: "false", after: "true"},
		"the deadline":                                    {path: "spec.activeDeadlineSeconds", before: "10", after: "20"},
		"the deadline is unset":                           {path: "spec.activeDeadlineSeconds", before: "10"},
		"the backoff limit":                               {path: "spec.backoffLimit", before: "1", after: "3"},
		"the TTL":                                         {path: "spec.ttlSecondsAfterFinished", after: "3"},
		"the fallback":                                    {path: "spec.fallback.device", before: "Allow", after: "Deny"},
	} {
		t.Run(name, func(t *testing.T) {
			o := parse(t, minimalJob)
			o.set(t, c.path, c.before)
			before, after, _ := strings.Cut(c.suspend, " ")
			if before != "" {
				o.set(t, "spec.suspend", before)
			}
			u, err := create(t, o)
			if err != nil {
				t.Fatal(err)
			}
			changed := object(u.Object).set(t, c.path, c.after)
			if after != "" {
				changed.set(t, "spec.suspend", after)
			}
			expect(t, api.Update(context.Background(), changed.unstructured()), c.refusal)
		})
	}
}

func TestPoseJobStatusBounds(t *testing.T) {
	for name, c := range map[string]struct{ status, refusal string }{
		"phases that exist":            {"{phase: Running}", ""},
		"a phase that does not":        {"{phase: Sleeping}", "Unsupported value"},
		"an attempt":                   {"{attempts: [{number: 1, state: Intended, variant: a, device: GPU}]}", ""},
		"attempt 0":                    {"{attempts: [{number: 0, state: Intended, variant: a, device: GPU}]}", "should be greater than or equal to 1"},
		"an attempt twice":             {"{attempts: [{number: 1, state: Intended, variant: a, device: GPU}, {number: 1, state: Failed, variant: a, device: GPU}]}", "Duplicate value"},
		"an attempt of unknown state":  {"{attempts: [{number: 1, state: Lost, variant: a, device: GPU}]}", "Unsupported value"},
		"an attempt of unknown device": {"{attempts: [{number: 1, state: Failed, variant: a, device: TPU}]}", "Unsupported value"},
		"an action that is none":       {"{attempts: [{number: 1, state: Failed, variant: a, device: CPU, action: Wait}]}", "Unsupported value"},
		"a condition's reason":         {`{conditions: [{type: Ready, status: "True", reason: "no reason!", message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}]}`, "reason in body should match"},
	} {
		t.Run(name, func(t *testing.T) {
			u, err := create(t, parse(t, minimalJob))
			if err != nil {
				t.Fatal(err)
			}
			object(u.Object).set(t, "status", c.status)
			expect(t, api.Status().Update(context.Background(), u), c.refusal)
		})
	}
}

// Server-Side Apply of the same manifest again changes nothing: no default
// drifts, which a GitOps tool would fight over.
func TestApplyTwiceChangesNothing(t *testing.T) {
	for name, manifest := range map[string]string{"minimal-job": minimalJob, "full-job": fullJob, "engine": fullEngine} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			apply := func() *unstructured.Unstructured {
				u := parse(t, manifest).unstructured()
				u.SetName("apply-" + name)
				if u.GetKind() == "PoseJob" {
					u.SetNamespace("default")
				}
				if err := api.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("gitops"), client.ForceOwnership); err != nil {
					t.Fatal(err)
				}
				return u
			}
			first := apply()
			t.Cleanup(func() { _ = api.Delete(ctx, first) })
			second := apply()
			third := apply()
			// The first update after a creation writes the default of the status,
			// which the creation leaves out; it is there when read, all the same.
			if second.GetResourceVersion() != third.GetResourceVersion() || third.GetGeneration() != 1 {
				t.Errorf("resourceVersion %s after %s, generation %d", third.GetResourceVersion(), second.GetResourceVersion(), third.GetGeneration())
			}
			for _, u := range []*unstructured.Unstructured{first, second, third} {
				u.SetResourceVersion("")
				u.SetManagedFields(nil)
			}
			if diff := cmp.Diff(first.Object, second.Object) + cmp.Diff(second.Object, third.Object); diff != "" {
				t.Errorf("applying again changes the object:\n%s", diff)
			}
		})
	}
}

// A spec that passes through the Go types is the same: a client that reads and
// writes typed objects loses and invents nothing.
func TestRoundTripThroughGoTypes(t *testing.T) {
	ctx := context.Background()
	for name, manifest := range map[string]string{"minimal-job": minimalJob, "full-job": fullJob} {
		t.Run(name, func(t *testing.T) {
			u, err := create(t, parse(t, manifest))
			if err != nil {
				t.Fatal(err)
			}
			var typed v1alpha1.PoseJob
			if err := api.Get(ctx, client.ObjectKeyFromObject(u), &typed); err != nil {
				t.Fatal(err)
			}
			sameSpec(t, u, &typed)
			if err := api.Update(ctx, &typed); err != nil {
				t.Fatal(err)
			}
			if typed.Generation != 1 {
				t.Errorf("writing it back makes generation %d", typed.Generation)
			}
		})
	}
	t.Run("engine", func(t *testing.T) {
		u, err := create(t, parse(t, fullEngine))
		if err != nil {
			t.Fatal(err)
		}
		var typed v1alpha1.PoseEngine
		if err := api.Get(ctx, client.ObjectKeyFromObject(u), &typed); err != nil {
			t.Fatal(err)
		}
		sameSpec(t, u, &typed)
		if err := api.Update(ctx, &typed); err != nil {
			t.Fatal(err)
		}
		if typed.Generation != 1 {
			t.Errorf("writing it back makes generation %d", typed.Generation)
		}
	})
	t.Run("a typed job that sets nothing gets the defaults", func(t *testing.T) {
		job := v1alpha1.PoseJob{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "typed-"},
			Spec:       v1alpha1.PoseJobSpec{Video: v1alpha1.VideoSource{URI: "s3://videos/run.mp4"}, Output: v1alpha1.Output{URI: "s3://results/default/run"}},
		}
		if err := api.Create(ctx, &job); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = api.Delete(ctx, &job) })
		if job.Spec.BackoffLimit == nil || *job.Spec.BackoffLimit != 2 || job.Spec.ScratchSize == nil || job.Spec.ScratchSize.String() != "20Gi" ||
			job.Spec.PodTTLSecondsAfterFinished == nil || *job.Spec.PodTTLSecondsAfterFinished != 600 || job.Spec.Device != v1alpha1.DeviceAuto || job.Spec.Fallback.Detector != v1alpha1.Allow {
			t.Errorf("spec = %+v", job.Spec)
		}
	})
}

func sameSpec(t *testing.T, u *unstructured.Unstructured, typed runtime.Object) {
	t.Helper()
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plain(t, u.Object["spec"]), plain(t, raw["spec"])); diff != "" {
		t.Errorf("spec (-API server +Go types):\n%s", diff)
	}
}

// plain JSON, so that numbers have one type.
func plain(t *testing.T, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := yaml.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
