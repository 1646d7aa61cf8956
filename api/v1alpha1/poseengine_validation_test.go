package v1alpha1_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

const minimalEngine = `
apiVersion: pose.dev/v1alpha1
kind: PoseEngine
metadata: {}
spec:
  variants:
    - {name: cpu, device: CPU, command: [run]}
  outputs:
    - {name: pose, path: pose.json, format: PoseJSON, required: true}
`

// fullEngine sets every field of a spec.
const fullEngine = `
apiVersion: pose.dev/v1alpha1
kind: PoseEngine
metadata:
  annotations: {pose.dev/is-default-engine: "true"}
spec:
  fallbackEngineName: mediapipe
  variants:
    - name: gpu
      device: GPU
      image: registry.example/phalp@sha256:` + digest + `
      imagePullPolicy: IfNotPresent
      command: [python3, track.py, --video=$(VIDEO), --boxes=$(BOXES)]
      clipsCommand: [python3, track.py, --clips]
      env: [{name: HF_HOME, value: /tmp}]
      workingDir: /opt
      detector: vitdet
      resources: {requests: {cpu: "2"}, limits: {memory: 16Gi, nvidia.com/gpu: "1"}}
      maxMemory: 32Gi
      nodeSelector: {gpu: "yes"}
      tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
      runtimeClassName: nvidia
      securityContext: {runAsUser: 0, readOnlyRootFilesystem: false}
      allowNetwork: true
      models:
        - {name: smpl, mountPath: /models, persistentVolumeClaim: smpl}
        - {name: hmr2, mountPath: /hmr2, image: "registry.example/hmr2:1"}
      sharedMemorySize: 1Gi
      runner: Inject
      preflight: {command: [python3, detector.py], stage: DetectorLoad, timeoutSeconds: 60, gpuMemory: 6Gi}
      estimate: {loadSeconds: 95, milliFPS: 4000}
      adapter: {image: "registry.example/pose-phalp:1", imagePullPolicy: IfNotPresent}
      boxes: Optional
      onRequest: true
    - {name: cpu, device: CPU, command: [run]}
  stages:
    - {name: DetectorLoad, pattern: "Loading detector$", stallTimeoutSeconds: 300}
  progressPattern: "frame (?P<frame>[0-9]+)/(?P<total>[0-9]+)"
  failureRules:
    - {stages: [DetectorLoad], exitCodes: [1, 3], signals: [SIGSEGV], logPattern: "CUDA out of memory", reason: CUDAOutOfMemory, action: NextVariant, memory: BelowLimit, silent: true, explanation: It is too small, remedy: Take less.}
  outputs:
    - {name: pose, path: pose.json, format: PoseJSON, required: true}
    - {name: overlay, path: out/overlay.mp4, format: MP4}
`

func TestPoseEngineFields(t *testing.T) {
	long := func(n int) string { return strings.Repeat("a", n) }
	repeat := func(n int, format string) string {
		var items []string
		for i := range n {
			items = append(items, fmt.Sprintf(format, i))
		}
		return "[" + strings.Join(items, ",") + "]"
	}
	const (
		variant, output, model = "spec.variants.0.", "spec.outputs.0.", "spec.variants.0.models"

		placeholder = "unknown placeholder: the known ones are $(VIDEO), $(OUTPUT_DIR), $(OVERLAY), $(DEVICE), $(START_FRAME), $(BOXES), $(CAPTURE_FPS), $(FOCAL_LENGTH_PX) and $(MAX_PEOPLE)"
		nowhere     = "put $(BOXES) into command, or leave boxes out"
		clips       = "clipsCommand knows the placeholder $(DEVICE) alone"
		fallback    = "fallbackEngineName must be the name of a PoseEngine"
		below       = "maxMemory must not be below resources.limits.memory"
	)
	for name, c := range map[string]struct{ path, value, refusal string }{
		"an engine with one variant and one output": {},
		"no variants":                            {"spec.variants", "", "spec.variants: Required value"},
		"no variant in the list":                 {"spec.variants", "[]", "should have at least 1 items"},
		"as many variants as there may be":       {"spec.variants", repeat(16, "{name: v%d, device: CPU, command: [x]}"), ""},
		"too many variants":                      {"spec.variants", repeat(17, "{name: v%d, device: CPU, command: [x]}"), "must have at most 16 items"},
		"a variant twice":                        {"spec.variants", "[{name: a, device: CPU, command: [x]}, {name: a, device: GPU, command: [x]}]", "Duplicate value"},
		"a variant without a device":             {variant + "device", "", "device: Required value"},
		"a variant with an unknown device":       {variant + "device", "TPU", "Unsupported value"},
		"a variant without a command":            {variant + "command", "", "command: Required value"},
		"a variant with an empty command":        {variant + "command", "[]", "should have at least 1 items"},
		"the longest command":                    {variant + "command", repeat(48, "a%d"), ""},
		"too long a command":                     {variant + "command", repeat(49, "a%d"), "must have at most 48 items"},
		"the same argument twice":                {variant + "command", "[a, a]", ""},
		"an argument that is too long":           {variant + "command", "[" + long(1025) + "]", "may not be more than 1024"},
		"every placeholder":                      {variant + "command", "[$(VIDEO), $(OUTPUT_DIR)/a, x$(OVERLAY)y, $(DEVICE)$(START_FRAME), $(BOXES), '--fps=$(CAPTURE_FPS)', $(FOCAL_LENGTH_PX), $(MAX_PEOPLE)]", ""},
		"a misspelt new placeholder":             {variant + "command", "[run, $(MAXPEOPLE)]", placeholder},
		"a new placeholder in a new one":         {variant + "command", "[run, '$(MAX_$(BOXES)PEOPLE)']", ""},
		"the longest arguments":                  {variant + "command", repeat(48, strings.Repeat("$(FOCAL_LENGTH_PX)", 56)+"%d"), ""},
		"an unknown placeholder":                 {variant + "command", "[run, --in=$(VIDOE)]", placeholder},
		"an unknown placeholder behind known":    {variant + "command", "[run, '$(VIDEO) $(OUTPUT)']", placeholder},
		"an unknown placeholder between dollars": {variant + "command", "[run, '$$(HOME)$']", placeholder},
		"a placeholder in a placeholder":         {variant + "command", "[run, '$(VIDEO$(DEVICE))']", ""},
		"a placeholder in lower case":            {variant + "command", "[run, $(video)]", placeholder},
		"a placeholder in mixed case":            {variant + "command", "[run, $(Output_Dir)]", placeholder},
		"what a shell expands":                   {variant + "command", "[sh, -c, 'run -j $(nproc) $HOME ${TMPDIR} $((1+2)) $(cat /proc/cpuinfo) $(LS -l) $']", ""},
		"a placeholder without an end":           {variant + "command", "[run, $(VIDEO]", ""},
		"the longest argument":                   {variant + "command", "[" + strings.Repeat("$(VIDEO)", 128) + "]", ""},
		"a variant's name in upper case":         {variant + "name", "GPU", "should match"},
		"a variant's name that ends with a dash": {variant + "name", "gpu-", "should match"},
		"a variant's longest name":               {variant + "name", long(63), ""},
		"a variant's name that is too long":      {variant + "name", long(64), "may not be more than 63"},
		"a variant without an image":             {variant + "image", "", ""},
		"an image whose name is too long":        {variant + "image", long(513), "may not be more than 512"},
		"a pull policy":                          {variant + "imagePullPolicy", "Always", ""},
		"an unknown pull policy":                 {variant + "imagePullPolicy", "Sometimes", "Unsupported value"},
		"a working directory that is too long":   {variant + "workingDir", long(513), "may not be more than 512"},
		"a detector's name that is too long":     {variant + "detector", long(64), "may not be more than 63"},
		"a runtime class that is too long":       {variant + "runtimeClassName", long(254), "may not be more than 253"},
		"too many tolerations":                   {variant + "tolerations", repeat(17, "{key: a%d}"), "must have at most 16 items"},
		"root":                                   {variant + "securityContext", "{runAsUser: 0}", ""},
		"a user below root":                      {variant + "securityContext", "{runAsUser: -1}", "should be greater than or equal to 0"},
		"privileges":                             {variant + "securityContext", "{privileged: true}", "unknown field"},
		"too many variables":                     {variant + "env", repeat(65, "{name: A%d}"), "must have at most 64 items"},
		"as many variables as there may be":      {variant + "env", repeat(64, "{name: A%d}"), ""},
		"a variable twice":                       {variant + "env", "[{name: A}, {name: A}]", "Duplicate value"},
		"a variable of the operator's":           {variant + "env", "[{name: POSE_RUNNER_CONFIG, value: x}]", "names that begin with POSE_ belong to the operator"},
		"a variable that is no name":             {variant + "env", "[{name: 1A}]", "should match"},
		"a variable's name that is too long":     {variant + "env", "[{name: A" + long(128) + "}]", "may not be more than 128"},
		"a variable's value that is too long":    {variant + "env", "[{name: A, value: " + long(4097) + "}]", "may not be more than 4096"},
		"a variable from a Secret":               {variant + "env", "[{name: A, valueFrom: {}}]", "unknown field"},

		"a GPU for a CPU variant":                      {variant + "resources", `{limits: {nvidia.com/gpu: "1"}}`, "a CPU variant must not ask for a GPU"},
		"another maker's GPU for a CPU variant":        {variant + "resources", `{limits: {amd.com/gpu: "1"}}`, "a CPU variant must not ask for a GPU"},
		"no GPU for a CPU variant":                     {variant + "resources", "{limits: {memory: 1Gi, cpu: 2}, requests: {cpu: 1}}", ""},
		"requests alone for a CPU variant":             {variant + "resources", "{requests: {cpu: 1}}", ""},
		"a GPU for a GPU variant":                      {"spec.variants", `[{name: gpu, device: GPU, command: [x], resources: {limits: {nvidia.com/gpu: "1"}}}]`, ""},
		"a GPU variant without a GPU":                  {variant + "device", "GPU", ""},
		"maxMemory without resources":                  {variant + "maxMemory", "1Gi", "maxMemory needs resources.limits.memory"},
		"maxMemory with another limit":                 {"spec.variants", "[{name: a, device: CPU, command: [x], maxMemory: 1Gi, resources: {limits: {cpu: 1}}}]", "maxMemory needs resources.limits.memory"},
		"maxMemory with a request alone":               {"spec.variants", "[{name: a, device: CPU, command: [x], maxMemory: 1Gi, resources: {requests: {memory: 1Gi}}}]", "maxMemory needs resources.limits.memory"},
		"maxMemory with a limit":                       {"spec.variants", "[{name: a, device: CPU, command: [x], maxMemory: 2Gi, resources: {limits: {memory: 1Gi}}}]", ""},
		"maxMemory of the limit":                       {"spec.variants", "[{name: a, device: CPU, command: [x], maxMemory: 1Gi, resources: {limits: {memory: 1024Mi}}}]", ""},
		"maxMemory below the limit":                    {"spec.variants", "[{name: a, device: CPU, command: [x], maxMemory: 2Gi, resources: {limits: {memory: 2049Mi}}}]", below},
		"maxMemory below a limit in bytes":             {"spec.variants", "[{name: a, device: CPU, command: [x], maxMemory: 1Gi, resources: {limits: {memory: 1073741825}}}]", below},
		"maxMemory in bytes, below the limit":          {"spec.variants", "[{name: a, device: CPU, command: [x], maxMemory: 16, resources: {limits: {memory: 12Gi}}}]", below},
		"maxMemory above a limit, both in bytes":       {"spec.variants", "[{name: a, device: CPU, command: [x], maxMemory: 1073741825, resources: {limits: {memory: 1073741824}}}]", ""},
		"maxMemory of no end":                          {"spec.variants", "[{name: a, device: CPU, command: [x], maxMemory: '1" + strings.Repeat("0", 32) + "', resources: {limits: {memory: 1}}}]", "may not be more than 32"},
		"an adapter":                                   {variant + "adapter", "{image: i}", ""},
		"an adapter that is always pulled":             {variant + "adapter", "{image: i, imagePullPolicy: Always}", ""},
		"an adapter of an unknown pull policy":         {variant + "adapter", "{image: i, imagePullPolicy: Sometimes}", "Unsupported value"},
		"an adapter without an image":                  {variant + "adapter", "{}", "adapter.image: Required value"},
		"an adapter with an empty image":               {variant + "adapter", `{image: ""}`, "should be at least 1 chars long"},
		"an adapter of the longest image":              {variant + "adapter", "{image: " + long(512) + "}", ""},
		"an adapter of too long an image":              {variant + "adapter", "{image: " + long(513) + "}", "may not be more than 512"},
		"an adapter in another folder":                 {variant + "adapter", "{image: i, path: /x}", "unknown field"},
		"an adapter without the runner":                {"spec.variants", "[{name: a, device: CPU, command: [x], runner: None, adapter: {image: i}}]", ""},
		"boxes that are needed":                        {"spec.variants", "[{name: a, device: CPU, command: [x, '--boxes=$(BOXES)'], boxes: Required}]", ""},
		"boxes that may be":                            {"spec.variants", "[{name: a, device: CPU, command: [x, $(BOXES)], boxes: Optional}]", ""},
		"boxes that are not":                           {"spec.variants", "[{name: a, device: CPU, command: [x, $(BOXES)], boxes: Ignored}]", "Unsupported value"},
		"boxes that nobody gives to the engine":        {variant + "boxes", "Required", nowhere},
		"boxes that may be, and nobody gives":          {variant + "boxes", "Optional", nowhere},
		"boxes that go into the preflight alone":       {"spec.variants", "[{name: a, device: CPU, command: [x], preflight: {command: [$(BOXES)]}, boxes: Optional}]", nowhere},
		"a place for boxes that it does not take":      {variant + "command", "[run, $(BOXES)]", ""},
		"many clips":                                   {variant + "clipsCommand", "[run, --clips, $(DEVICE)]", ""},
		"many clips with no command":                   {variant + "clipsCommand", "[]", "should have at least 1 items"},
		"many clips with the longest command":          {variant + "clipsCommand", repeat(48, "a%d"), ""},
		"many clips with too long a command":           {variant + "clipsCommand", repeat(49, "a%d"), "must have at most 48 items"},
		"many clips with too long an argument":         {variant + "clipsCommand", "[" + long(1025) + "]", "may not be more than 1024"},
		"many clips, and the video of one":             {variant + "clipsCommand", "[run, $(VIDEO)]", clips},
		"many clips, and the boxes of one":             {variant + "clipsCommand", "[run, '--boxes=$(BOXES)']", clips},
		"many clips, and a folder in lower case":       {variant + "clipsCommand", "[run, $(output_dir)]", clips},
		"many clips, and a device in lower case":       {variant + "clipsCommand", "[run, $(device)]", clips},
		"many clips, and one's video behind a device":  {variant + "clipsCommand", "[run, '$(DEVICE)$(VIDEO)']", clips},
		"many clips, and a command of a shell":         {variant + "clipsCommand", "[sh, -c, 'run --threads=$(nproc)']", ""},
		"many clips without the runner":                {"spec.variants", "[{name: a, device: CPU, command: [x], runner: None, clipsCommand: [z]}]", "a clipsCommand needs pose-runner"},
		"many clips by an adapter":                     {"spec.variants", "[{name: a, device: CPU, command: [x], adapter: {image: i}, clipsCommand: [/pose/adapter/run]}]", ""},
		"many clips by an adapter that is not there":   {variant + "clipsCommand", "[python3, /pose/adapter/run.py]", "clipsCommand uses /pose/adapter, and the variant has no adapter"},
		"a variant on request":                         {variant + "onRequest", "true", ""},
		"a variant on a request in words":              {variant + "onRequest", `"yes"`, "must be of type boolean"},
		"a fallback engine":                            {"spec.fallbackEngineName", "mediapipe-2.lab", ""},
		"a fallback engine with an empty name":         {"spec.fallbackEngineName", `""`, "should be at least 1 chars long"},
		"a fallback engine with the longest name":      {"spec.fallbackEngineName", long(63), ""},
		"a fallback engine with too long a name":       {"spec.fallbackEngineName", long(64), "may not be more than 63"},
		"a fallback engine in upper case":              {"spec.fallbackEngineName", "MediaPipe", fallback},
		"a fallback engine with its variant":           {"spec.fallbackEngineName", "mediapipe/cpu", fallback},
		"a fallback engine that ends with a dash":      {"spec.fallbackEngineName", "mediapipe-", fallback},
		"parameters of a body model":                   {"spec.outputs", "[{name: a, path: a, format: PoseJSON, required: true}, {name: smpl, path: smpl.npz, format: SMPLNPZ}]", ""},
		"a body model that proves no frames":           {"spec.outputs", "[{name: smpl, path: smpl.npz, format: SMPLNPZ, required: true}]", "one output must be of format PoseJSON and required"},
		"a model from a claim":                         {model, "[{name: a, mountPath: /m, persistentVolumeClaim: c}]", ""},
		"a model from an image":                        {model, "[{name: a, mountPath: /m, image: i}]", ""},
		"a model from nowhere":                         {model, "[{name: a, mountPath: /m}]", "a model comes either from a persistentVolumeClaim or from an image"},
		"a model from both":                            {model, "[{name: a, mountPath: /m, persistentVolumeClaim: c, image: i}]", "a model comes either from a persistentVolumeClaim or from an image"},
		"a model at a relative path":                   {model, "[{name: a, mountPath: m, image: i}]", "should match"},
		"a model at the root":                          {model, "[{name: a, mountPath: /, image: i}]", "should match"},
		"a model's name in upper case":                 {model, "[{name: A, mountPath: /m, image: i}]", "should match"},
		"a model's name that is too long":              {model, "[{name: " + long(41) + ", mountPath: /m, image: i}]", "may not be more than 40"},
		"a model twice":                                {model, "[{name: a, mountPath: /m, image: i}, {name: a, mountPath: /n, image: i}]", "Duplicate value"},
		"too many models":                              {model, repeat(9, "{name: a%d, mountPath: /m, image: i}"), "must have at most 8 items"},
		"a stage":                                      {"spec.stages", "[{name: Mine, pattern: 'x$'}]", ""},
		"a stage in lower case":                        {"spec.stages", "[{name: mine, pattern: x}]", "should match"},
		"a stage without a pattern":                    {"spec.stages", "[{name: Mine, pattern: ''}]", "should be at least 1 chars long"},
		"a stage with a pattern that is no RE2":        {"spec.stages", "[{name: Mine, pattern: '('}]", "pattern must be a valid RE2"},
		"a stage with a look-ahead, which RE2 has not": {"spec.stages", "[{name: Mine, pattern: 'a(?=b)'}]", "pattern must be a valid RE2"},
		"a stage with too long a pattern":              {"spec.stages", "[{name: Mine, pattern: " + long(257) + "}]", "may not be more than 256"},
		"a stage twice":                                {"spec.stages", "[{name: Mine, pattern: x}, {name: Mine, pattern: y}]", "Duplicate value"},
		"as many stages as there may be":               {"spec.stages", "[{name: A, pattern: '" + long(256) + "'},{name: B, pattern: x},{name: C, pattern: x},{name: D, pattern: x},{name: E, pattern: x},{name: F, pattern: x},{name: G, pattern: x},{name: H, pattern: x}]", ""},
		"a progress pattern":                           {"spec.progressPattern", `'frame (?P<frame>\d+)'`, ""},
		"a progress pattern that is no RE2":            {"spec.progressPattern", "'(?P<frame>['", "progressPattern must be a valid RE2"},
		"a progress pattern without its group":         {"spec.progressPattern", `'frame (\d+)'`, "progressPattern needs the named group"},
		"a progress pattern that is too long":          {"spec.progressPattern", "'(?P<frame>x)" + long(256) + "'", "may not be more than 256"},
		"a rule on stages":                             {"spec.failureRules", "[{stages: [A], reason: X, action: Fail}]", ""},
		"a rule on exit codes":                         {"spec.failureRules", "[{exitCodes: [1], reason: X, action: Retry}]", ""},
		"a rule on signals":                            {"spec.failureRules", "[{signals: [SIGSEGV], reason: X, action: RetryElsewhere}]", ""},
		"a rule on the log":                            {"spec.failureRules", "[{logPattern: x, reason: X, action: NextVariant}]", ""},
		"a rule on nothing":                            {"spec.failureRules", "[{reason: X, action: Fail}]", "a failure rule needs at least one of stages, exitCodes, signals, logPattern or memory"},
		"a rule on silence alone":                      {"spec.failureRules", "[{silent: true, reason: X, action: Fail}]", "a failure rule needs at least one of"},
		"a rule on memory":                             {"spec.failureRules", "[{memory: AtLimit, reason: X, action: Fail}]", ""},
		"a rule on memory that nobody knows":           {"spec.failureRules", "[{memory: Full, reason: X, action: Fail}]", "Unsupported value"},
		"a rule with the longest pattern":              {"spec.failureRules", "[{logPattern: " + long(1024) + ", reason: X, action: Fail}]", ""},
		"a rule with too long a pattern":               {"spec.failureRules", "[{logPattern: " + long(1025) + ", reason: X, action: Fail}]", "may not be more than 1024"},
		"a runner that is injected":                    {variant + "runner", "Inject", ""},
		"no runner":                                    {variant + "runner", "None", ""},
		"another runner":                               {variant + "runner", "Mine", "Unsupported value"},
		"a preflight that looks at the GPU":            {"spec.variants", "[{name: a, device: GPU, command: [x], preflight: {gpuMemory: 6Gi}}]", ""},
		"a preflight that looks for a GPU on the CPU":  {variant + "preflight", "{gpuMemory: 6Gi}", "a CPU variant has no GPU"},
		"a preflight without the runner":               {"spec.variants", "[{name: a, device: CPU, command: [x], runner: None, preflight: {command: [z]}}]", "a preflight needs pose-runner"},
		"a preflight that does nothing":                {variant + "preflight", "{timeoutSeconds: 5}", "preflight needs a command, gpuMemory, or both"},
		"a preflight with an empty command":            {variant + "preflight", "{command: []}", "should have at least 1 items"},
		"a preflight without end":                      {variant + "preflight", "{command: [x], timeoutSeconds: 0}", "should be greater than or equal to 1"},
		"a preflight in a stage in lower case":         {variant + "preflight", "{command: [x], stage: load}", "should match"},
		"a preflight with placeholders":                {variant + "preflight", "{command: [x, $(VIDEO), $(DEVICE), $(BOXES), $(CAPTURE_FPS), $(FOCAL_LENGTH_PX), $(MAX_PEOPLE), $(nproc)]}", ""},
		"a preflight with an unknown placeholder":      {variant + "preflight", "{command: [x, $(INPUT)]}", placeholder},
		"a preflight in too long a stage":              {variant + "preflight", "{command: [x], stage: A" + long(40) + "}", "may not be more than 40"},
		"a preflight with too long a command":          {variant + "preflight", "{command: " + repeat(49, "a%d") + "}", "must have at most 48 items"},
		"a preflight with the longest command":         {variant + "preflight", "{command: " + repeat(48, "a%d") + "}", ""},
		"a preflight with too long an argument":        {variant + "preflight", "{command: [" + long(1025) + "]}", "may not be more than 1024"},
		"an estimate":                                  {variant + "estimate", "{milliFPS: 1}", ""},
		"an estimate without a pace":                   {variant + "estimate", "{loadSeconds: 1}", "milliFPS: Required value"},
		"an estimate that never ends":                  {variant + "estimate", "{milliFPS: 0}", "should be greater than or equal to 1"},
		"an estimate that loads for months":            {variant + "estimate", "{milliFPS: 1, loadSeconds: 604801}", "should be less than or equal to 604800"},
		"an estimate that loads backwards":             {variant + "estimate", "{milliFPS: 1, loadSeconds: -1}", "should be greater than or equal to 0"},
		"an adapter's file without the adapter":        {variant + "command", "[python, /pose/adapter/pose-phalp, run]", "the variant has no adapter"},
		"models in the operator's own folder":          {model, "[{name: m, mountPath: /pose/adapter, persistentVolumeClaim: c}]", "which is the operator's"},
		"models beside the operator's own folder":      {model, "[{name: m, mountPath: /poses, persistentVolumeClaim: c}]", ""},
		"a bound on an attempt":                        {variant + "activeDeadlineSeconds", "60", ""},
		"too short a bound on an attempt":              {variant + "activeDeadlineSeconds", "59", "should be greater than or equal to 60"},
		"shared memory":                                {variant + "sharedMemorySize", "1Gi", ""},
		"shared memory that is no quantity":            {variant + "sharedMemorySize", "much", "should match"},
		"a stage with too short a stall time-out":      {"spec.stages", "[{name: Mine, pattern: x, stallTimeoutSeconds: 9}]", "should be greater than or equal to 10"},
		"a rule on an empty list":                      {"spec.failureRules", "[{exitCodes: [], reason: X, action: Fail}]", "should have at least 1 items"},
		"a rule on an empty list of stages":            {"spec.failureRules", "[{stages: [], reason: X, action: Fail}]", "should have at least 1 items"},
		"a rule on an empty list of signals":           {"spec.failureRules", "[{signals: [], reason: X, action: Fail}]", "should have at least 1 items"},
		"a rule with an unknown action":                {"spec.failureRules", "[{exitCodes: [1], reason: X, action: Wait}]", "Unsupported value"},
		"a rule without an action":                     {"spec.failureRules", "[{exitCodes: [1], reason: X}]", "action: Required value"},
		"a rule without a reason":                      {"spec.failureRules", "[{exitCodes: [1], action: Fail}]", "reason: Required value"},
		"a rule with a reason in words":                {"spec.failureRules", "[{exitCodes: [1], reason: 'no reason', action: Fail}]", "should match"},
		"a rule with too long a reason":                {"spec.failureRules", "[{exitCodes: [1], reason: A" + long(63) + ", action: Fail}]", "may not be more than 63"},
		"a rule with too long an explanation":          {"spec.failureRules", "[{exitCodes: [1], reason: A, action: Fail, explanation: " + long(513) + "}]", "may not be more than 512"},
		"a rule with too long a remedy":                {"spec.failureRules", "[{exitCodes: [1], reason: A, action: Fail, remedy: " + long(513) + "}]", "may not be more than 512"},
		"a rule with a pattern that is no RE2":         {"spec.failureRules", "[{logPattern: '*', reason: A, action: Fail}]", "logPattern must be a valid RE2"},
		"a rule with a number for a signal":            {"spec.failureRules", `[{signals: ["11"], reason: A, action: Fail}]`, "Unsupported value: \"11\": supported values: \"SIGHUP\", \"SIGINT\""},
		"a rule with a signal that Linux has not":      {"spec.failureRules", "[{signals: [SIGSEGV, SIGSEGVV], reason: A, action: Fail}]", "signals[1]: Unsupported value: \"SIGSEGVV\""},
		"a rule with a signal in lower case":           {"spec.failureRules", "[{signals: [sigsegv], reason: A, action: Fail}]", "Unsupported value: \"sigsegv\""},
		"a rule with another name of a signal":         {"spec.failureRules", "[{signals: [SIGIOT], reason: A, action: Fail}]", "Unsupported value: \"SIGIOT\""},
		"too many rules":                               {"spec.failureRules", repeat(33, "{exitCodes: [%d], reason: A, action: Fail}"), "must have at most 32 items"},
		"as many rules as there may be":                {"spec.failureRules", repeat(32, "{exitCodes: [%d], logPattern: 'a.*b', reason: A, action: Fail}"), ""},
		"no outputs":                                   {"spec.outputs", "", "spec.outputs: Required value"},
		"no output in the list":                        {"spec.outputs", "[]", "should have at least 1 items"},
		"no output that proves the frames":             {"spec.outputs", "[{name: a, path: a.mp4, format: MP4, required: true}]", "one output must be of format PoseJSON and required"},
		"an optional proof of the frames":              {output + "required", "false", "one output must be of format PoseJSON and required"},
		"an output of unknown format":                  {output + "format", "GIF", "Unsupported value"},
		"an output twice":                              {"spec.outputs", "[{name: a, path: a, format: PoseJSON, required: true}, {name: a, path: b, format: PNG}]", "Duplicate value"},
		"too many outputs":                             {"spec.outputs", repeat(17, "{name: a%d, path: a, format: PoseJSON, required: true}"), "must have at most 16 items"},
		"an output's name in upper case":               {output + "name", "Pose", "should match"},
		"an output's name that is too long":            {output + "name", long(41), "may not be more than 40"},
		"an output in a folder":                        {output + "path", "a/b.c/d-e_f.json", ""},
		"an output at an absolute path":                {output + "path", "/etc/passwd", "should match"},
		"an output whose path climbs":                  {output + "path", "../pose.json", "should match"},
		"an output whose path climbs in the middle":    {output + "path", "a/../pose.json", "should match"},
		"an output that hides":                         {output + "path", ".pose.json", "should match"},
		"an output at too long a path":                 {output + "path", long(129), "may not be more than 128"},
	} {
		t.Run(name, func(t *testing.T) {
			o := parse(t, minimalEngine)
			if c.path != "" {
				o.set(t, c.path, c.value)
			}
			_, err := create(t, o)
			expect(t, err, c.refusal)
		})
	}
}

// Every signal that pose-runner can name may stand in a rule.
func TestSignalsOfLinux(t *testing.T) {
	var rules []string
	for n := syscall.Signal(1); n < 32; n++ {
		rules = append(rules, fmt.Sprintf("{signals: [%s], reason: X, action: Fail}", unix.SignalName(n)))
	}
	_, err := create(t, parse(t, minimalEngine).set(t, "spec.failureRules", "["+strings.Join(rules, ",")+"]"))
	expect(t, err, "")
}

func TestPoseEngineDefaults(t *testing.T) {
	o := parse(t, minimalEngine)
	o.set(t, "spec.outputs", "[{name: a, path: a, format: PoseJSON, required: true}, {name: b, path: b, format: PNG}]")
	o.set(t, "spec.variants.0.preflight", "{command: [x]}")
	u, err := create(t, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := api.Get(context.Background(), client.ObjectKeyFromObject(u), u); err != nil {
		t.Fatal(err)
	}
	outputs, _, _ := unstructured.NestedSlice(u.Object, "spec", "outputs")
	if second, ok := outputs[1].(map[string]any); !ok || second["required"] != false {
		t.Errorf("outputs = %v, want required: false by default", outputs)
	}
	variants, _, _ := unstructured.NestedSlice(u.Object, "spec", "variants")
	first, _ := variants[0].(map[string]any)
	if diff := cmp.Diff(map[string]any{"command": []any{"x"}}, first["preflight"]); diff != "" || first["runner"] != nil {
		t.Errorf("runner = %v, want no default in a list; preflight (-want +got):\n%s", first["runner"], diff)
	}
	if n, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration"); n != -1 {
		t.Errorf("status.observedGeneration = %d, want -1", n)
	}
}

// Every manifest that users are shown is accepted as it is.
func TestSamplesApply(t *testing.T) {
	seen := 0
	for _, root := range []string{"../../config/samples", "../../config/engines", "../../config/engines-optional"} {
		if _, err := os.Stat(root); err != nil {
			continue
		}
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" || d.Name() == "kustomization.yaml" {
				return err
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for i, document := range strings.Split("\n"+string(raw), "\n---\n") {
				o := parse(t, document)
				if kind, ok := o["kind"].(string); !ok || !strings.HasPrefix(kind, "Pose") {
					continue
				}
				seen++
				t.Run(fmt.Sprintf("%s document %d", path, i+1), func(t *testing.T) {
					_, err := create(t, o)
					expect(t, err, "")
				})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen == 0 {
		t.Error("there is no sample in config/samples")
	}
}

// What kubectl get shows, asked for as kubectl asks.
func TestPrinterColumns(t *testing.T) {
	ctx := context.Background()
	job, err := create(t, parse(t, minimalJob))
	if err != nil {
		t.Fatal(err)
	}
	object(job.Object).set(t, "status", `
phase: Running
stage: Tracking
device: GPU
variant: large
attemptCount: 2
progress: {summary: 35% 42/120}
output: {uri: "s3://r/x", manifestSHA256: ab, people: 3, frames: 120}
conditions: [{type: Ready, status: "False", reason: Progressing, message: attempt 2 runs, lastTransitionTime: "2026-01-01T00:00:00Z"}]
`)
	if err := api.Status().Update(ctx, job); err != nil {
		t.Fatal(err)
	}
	engine, err := create(t, parse(t, fullEngine).set(t, "metadata.name", "columns"))
	if err != nil {
		t.Fatal(err)
	}
	object(engine.Object).set(t, "status", `{conditions: [{type: Ready, status: "True", reason: Ready, message: 2 variants, lastTransitionTime: "2026-01-01T00:00:00Z"}]}`)
	if err := api.Status().Update(ctx, engine); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path string
		wide bool
		want map[string]any
	}{
		"a PoseJob": {"/apis/pose.dev/v1alpha1/namespaces/default/posejobs/" + job.GetName(), false, map[string]any{
			"Name": job.GetName(), "Phase": "Running", "Stage": "Tracking", "Progress": "35% 42/120", "Device": "GPU", "Attempts": float64(2), "Output": "s3://r/x", "Age": nil,
		}},
		"a PoseJob with -o wide": {"/apis/pose.dev/v1alpha1/namespaces/default/posejobs/" + job.GetName(), true, map[string]any{
			"Variant": "large", "People": float64(3), "Message": "attempt 2 runs",
		}},
		"a PoseEngine": {"/apis/pose.dev/v1alpha1/poseengines/" + engine.GetName(), false, map[string]any{
			"Name": engine.GetName(), "Ready": "True", "Reason": "Ready", "Variant": "gpu", "Default": "true", "Age": nil,
		}},
		"a PoseEngine with -o wide": {"/apis/pose.dev/v1alpha1/poseengines/" + engine.GetName(), true, map[string]any{"Message": "2 variants"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := columns(t, c.path, c.wide)
			if _, ok := got["Age"]; ok {
				got["Age"] = nil // how old it is by now
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("columns (-want +got):\n%s", diff)
			}
		})
	}
}

// columns of a single object as the server prints them; of priority 0, or above
// it for wide.
func columns(t *testing.T, path string, wide bool) map[string]any {
	t.Helper()
	c := rest.CopyConfig(config)
	c.APIPath, c.GroupVersion, c.NegotiatedSerializer = "/apis", &v1alpha1.GroupVersion, scheme.Codecs
	http, err := rest.RESTClientFor(c)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := http.Get().AbsPath(path).SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	if err := json.Unmarshal(raw, &table); err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	for i, column := range table.ColumnDefinitions {
		if (column.Priority > 0) == wide {
			out[column.Name] = table.Rows[0].Cells[i]
		}
	}
	return out
}
