package v1alpha1_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
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
    boxes:
      uri: https://files.example/run.csv
      sha256: ` + digest + `
      credentialsSecretRef: {name: boxes}
    captureFPS: 240
    focalLengthPx: 1480
  output:
    uri: pvc://claim/run
    credentialsSecretRef: {name: out}
    overlay: Blurred
  engineName: phalp
  device: GPU
  variants: [b, a]
  fallback: {device: Deny, detector: Deny, engine: Allow}
  people: {max: 3}
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
		rate     = "captureFPS must be a number of frames a second from 1 to 100000"
		suffix   = "boxes are a .json or .csv file"
		image    = "oci://registry.example/team/clips@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
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
		"a video in Azure":                        {"spec.video.uri", "azblob://container/a.mp4", ""},
		"a video in Google's cloud":               {"spec.video.uri", "gs://bucket/a.mp4", ""},
		"a video in an image":                     {"spec.video.uri", image + "//clips/a.mp4", ""},
		"a video in an image of a port":           {"spec.video.uri", strings.Replace(image, ".example/", ".example:5000/", 1) + "//a.mp4", ""},
		"a video in an image by tag":              {"spec.video.uri", "oci://registry.example/clips:v1//a.mp4", "oci:// must name an image by digest"},
		"a video in an image without a file":      {"spec.video.uri", image, "oci:// must name an image by digest"},
		"a video in an image at its root":         {"spec.video.uri", image + "///a.mp4", "oci:// must name an image by digest"},
		"a video in an image that climbs":         {"spec.video.uri", image + "//../a.mp4", dots},
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

		// video.boxes
		"boxes in S3":                           {"spec.video.boxes", "{uri: s3://bucket/run.boxes.json}", ""},
		"boxes by HTTPS":                        {"spec.video.boxes", "{uri: https://host.example:8443/a.csv}", ""},
		"boxes by HTTP":                         {"spec.video.boxes", "{uri: http://host/a.csv}", ""},
		"boxes in a claim":                      {"spec.video.boxes", "{uri: pvc://my-claim.v1/a/b.csv}", ""},
		"boxes in Azure":                        {"spec.video.boxes", "{uri: azblob://container/b.csv}", ""},
		"boxes in Google's cloud":               {"spec.video.boxes", "{uri: gs://bucket/b.csv}", ""},
		"boxes in an image":                     {"spec.video.boxes", "{uri: " + quoted(image+"//b.csv") + "}", ""},
		"boxes in an image by tag":              {"spec.video.boxes", "{uri: " + quoted("oci://registry.example/clips:v1//b.csv") + "}", "oci:// must name an image by digest"},
		"boxes without a URI":                   {"spec.video.boxes", "{sha256: " + quoted(digest) + "}", "spec.video.boxes.uri: Required value"},
		"boxes in the spec itself":              {"spec.video.boxes", "{frames: []}", "unknown field"},
		"boxes in a pickle":                     {"spec.video.boxes.uri", "s3://bucket/a.pkl", suffix},
		"boxes in upper case":                   {"spec.video.boxes.uri", "s3://bucket/a.CSV", suffix},
		"boxes without a suffix":                {"spec.video.boxes.uri", "s3://bucket/json", suffix},
		"boxes by FTP":                          {"spec.video.boxes.uri", "ftp://host/a.csv", "unknown scheme: boxes are s3://bucket/key"},
		"a boxes URI with user and password":    {"spec.video.boxes.uri", "https://me:secret@host/a.csv", userinfo},
		"a signed boxes URL":                    {"spec.video.boxes.uri", "https://host/a.csv?sig=.csv", query},
		"a boxes URI with a fragment":           {"spec.video.boxes.uri", quoted("https://host/a#.csv"), query},
		"a boxes URI without an object":         {"spec.video.boxes.uri", "s3://bucket.csv", object},
		"a boxes path that climbs":              {"spec.video.boxes.uri", "s3://bucket/../a.csv", dots},
		"a boxes path that climbs in disguise":  {"spec.video.boxes.uri", "s3://bucket/%2e%2E/a.csv", dots},
		"a boxes URI with a space":              {"spec.video.boxes.uri", "s3://bucket/my boxes.csv", spaces},
		"a boxes URI with a newline":            {"spec.video.boxes.uri", `"s3://bucket/a\nb.csv"`, spaces},
		"boxes in a claim with a bad name":      {"spec.video.boxes.uri", "pvc://My_Claim/a.csv", claim},
		"a boxes URI that is too short":         {"spec.video.boxes.uri", "s3:.csv", "should be at least 8 chars long"},
		"a boxes URI of the greatest length":    {"spec.video.boxes.uri", "s3://bucket/" + long(1008) + ".csv", ""},
		"a boxes URI that is too long":          {"spec.video.boxes.uri", "s3://bucket/" + long(1009) + ".csv", "may not be more than 1024"},
		"a digest of the boxes":                 {"spec.video.boxes", "{uri: s3://b/a.csv, sha256: " + quoted(digest) + "}", ""},
		"a digest of the boxes in upper case":   {"spec.video.boxes", "{uri: s3://b/a.csv, sha256: " + quoted(strings.ToUpper(digest)) + "}", "spec.video.boxes.sha256 in body should match"},
		"credentials of the boxes":              {"spec.video.boxes", "{uri: s3://b/a.csv, credentialsSecretRef: {name: x}}", ""},
		"credentials of the boxes without name": {"spec.video.boxes", "{uri: s3://b/a.csv, credentialsSecretRef: {}}", "credentialsSecretRef.name: Required value"},

		// what the camera was, and who is wanted
		"slow motion":                         {"spec.video.captureFPS", "240", ""},
		"a rate of a broken number":           {"spec.video.captureFPS", quoted("239.76"), ""},
		"a rate in thousandths":               {"spec.video.captureFPS", "59940m", rate},
		"a rate of a broken number, lowest":   {"spec.video.captureFPS", quoted("1.0"), ""},
		"the lowest rate":                     {"spec.video.captureFPS", "1", ""},
		"the highest rate":                    {"spec.video.captureFPS", "100000", ""},
		"the highest rate with a suffix":      {"spec.video.captureFPS", "100k", rate},
		"a rate below the lowest":             {"spec.video.captureFPS", quoted("0.999"), rate},
		"no rate":                             {"spec.video.captureFPS", "0", rate},
		"a rate below nothing":                {"spec.video.captureFPS", "-30", rate},
		"a rate above the highest":            {"spec.video.captureFPS", quoted("100000.001"), rate},
		"a rate of two numbers":               {"spec.video.captureFPS", "30000/1001", rate},
		"a rate in words":                     {"spec.video.captureFPS", "fast", rate},
		"a rate of too many digits":           {"spec.video.captureFPS", quoted("239.7600000000000"), "may not be more than 16"},
		"a focal length":                      {"spec.video.focalLengthPx", "1480", ""},
		"the shortest focal length":           {"spec.video.focalLengthPx", "1", ""},
		"the longest focal length":            {"spec.video.focalLengthPx", "1000000", ""},
		"no focal length":                     {"spec.video.focalLengthPx", "0", "should be greater than or equal to 1"},
		"a focal length beyond the longest":   {"spec.video.focalLengthPx", "1000001", "should be less than or equal to 1000000"},
		"a focal length in parts of a pixel":  {"spec.video.focalLengthPx", "1480.5", "must be of type integer"},
		"one person":                          {"spec.people", "{max: 1}", ""},
		"a thousand people":                   {"spec.people", "{max: 1000}", ""},
		"no people":                           {"spec.people", "{max: 0}", "should be greater than or equal to 1"},
		"more than a thousand":                {"spec.people", "{max: 1001}", "should be less than or equal to 1000"},
		"people without a number":             {"spec.people", "{}", "spec.people.max: Required value"},
		"people by another rule":              {"spec.people", "{max: 1, id: 3}", "unknown field"},
		"a fallback that allows an engine":    {"spec.fallback", "{engine: Allow}", ""},
		"a fallback of the engine may be":     {"spec.fallback", "{engine: Maybe}", `Unsupported value: "Maybe"`},
		"a fallback to an engine of the jobs": {"spec.fallback", "{engineName: x}", "unknown field"},

		// output
		"results in S3":                        {"spec.output.uri", "s3://bucket/a/", ""},
		"results in a claim":                   {"spec.output.uri", "pvc://claim/a", ""},
		"results in Azure":                     {"spec.output.uri", "azblob://container/a", ""},
		"results in Google's cloud":            {"spec.output.uri", "gs://bucket/a", ""},
		"results in an image":                  {"spec.output.uri", image + "//a", scheme},
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
		"an output that replaces another's":    {"spec.output.overwrite", "Allow", ""},
		"an output that may replace":           {"spec.output.overwrite", "Maybe", `Unsupported value: "Maybe"`},
		"results that stay":                    {"spec.output.deletionPolicy", "Retain", ""},
		"results that go with their job":       {"spec.output.deletionPolicy", "Delete", ""},
		"results that are orphaned":            {"spec.output.deletionPolicy", "Orphan", `Unsupported value: "Orphan"`},
		"a result from before":                 {"spec.reuse", "IfVerified", ""},
		"a result of its own":                  {"spec.reuse", "Never", ""},
		"a result from before, whatever it is": {"spec.reuse", "Always", `Unsupported value: "Always"`},

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
		"spec.fallback.engine":            "Deny",
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
		"spec.video.boxes":                nil,
		"spec.video.captureFPS":           nil,
		"spec.video.focalLengthPx":        nil,
		"spec.people":                     nil,
	} {
		t.Run(path, func(t *testing.T) {
			got, _, err := unstructured.NestedFieldNoCopy(u.Object, strings.Split(path, ".")...)
			if err != nil || !cmp.Equal(want, got) {
				t.Errorf("%s = %v (%v), want %v", path, got, err, want)
			}
		})
	}
}
