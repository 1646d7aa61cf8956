package render

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/attempt"
	"github.com/pose-dev/pose-operator/controllers/internal/reuse"
	"github.com/pose-dev/pose-operator/internal/boxes"
	"github.com/pose-dev/pose-operator/internal/report"
)

// FetchTimeoutSeconds bounds the transfer of a video, PrepareTimeoutSeconds its
// normalising.
const (
	FetchTimeoutSeconds   = 6 * 3600
	PrepareTimeoutSeconds = 2 * 3600
)

// MaxBoxesBytes bounds the file with a job's boxes.
const MaxBoxesBytes = boxes.MaxBytes

// Memory and CPU of the runner's own containers. Prepare decodes and encodes
// one frame at a time; x264 keeps some tens of 4K frames.
var (
	smallMemory   = resource.MustParse("128Mi")
	deliverMemory = resource.MustParse("256Mi")
	prepareMemory = resource.MustParse("2Gi")
	smallCPU      = resource.MustParse("50m")
	prepareCPU    = resource.MustParse("500m")
	binSize       = resource.MustParse("256Mi")
	runSize       = resource.MustParse("64Mi")
	// adapterSize is what the role adapter accepts, with a block for each file.
	adapterSize = resource.MustParse("256Mi")
	// boxesSize holds the boxes as fetched (MaxBoxesBytes) and as prepared: JSON
	// takes up to three times as much as CSV.
	boxesSize = resource.MustParse("1Gi")
	tmpSize   = resource.MustParse("4Gi")
	ownLayer  = resource.MustParse("2Gi")
)

func (r *renderer) containers(spec *corev1.PodSpec) error {
	spec.Volumes = r.volumes()
	inits := []func() (corev1.Container, error){r.copy, r.fetch, r.prepare}
	if r.variant.Adapter != nil {
		// Before fetch: a wrong image is known before hours of transfer.
		inits = slices.Insert(inits, 1, r.adapter)
	}
	mains := []func() (corev1.Container, error){r.watchedEngine, r.deliver}
	if !r.watched() {
		// Nothing tells deliver how this engine ended, so the kubelet gives the
		// order: it starts the containers of a pod only after the last init
		// container ended with 0.
		inits = append(inits, r.plainEngine)
		mains = mains[1:]
	}
	return fillIn(spec, inits, mains)
}

// fillIn makes the containers of a pod, in their order.
func fillIn(spec *corev1.PodSpec, inits, mains []func() (corev1.Container, error)) (err error) {
	if spec.InitContainers, err = made(inits); err != nil {
		return err
	}
	spec.Containers, err = made(mains)
	return err
}

func made(all []func() (corev1.Container, error)) ([]corev1.Container, error) {
	var out []corev1.Container
	for _, make := range all {
		c, err := make()
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// config of one role with the parts that all roles share.
func (r *renderer) config(role report.Role) report.Config {
	c := report.Config{
		Version: report.Version,
		Role:    role,
		Job:     report.JobRef{Namespace: r.job.Namespace, Name: r.job.Name, UID: string(r.job.UID)},
	}
	if r.attempt != nil {
		c.Job.Attempt = r.attempt.Number
	}
	if owner := metav1.GetControllerOf(r.job); owner != nil && owner.Kind == "PoseBatch" {
		c.Job.Batch = owner.Name
	}
	if r.queue != nil && inQueue[role] {
		c.Queue = r.queue
	}
	return c
}

// runner is a container of ours.
func (r *renderer) runner(name, image string, c report.Config, memory, cpu resource.Quantity) (corev1.Container, error) {
	env, err := configEnv(c)
	if err != nil {
		return corev1.Container{}, err
	}
	return corev1.Container{
		Name:                     name,
		Image:                    image,
		ImagePullPolicy:          r.settings.ImagePullPolicy,
		Args:                     []string{"run"},
		Env:                      []corev1.EnvVar{env},
		TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		SecurityContext:          secure(RunnerUser, true),
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: memory},
		},
	}, nil
}

func secure(user int64, readOnlyRoot bool) *corev1.SecurityContext {
	return &corev1.SecurityContext{
		RunAsUser:                new(user),
		RunAsGroup:               new(int64(FSGroup)),
		RunAsNonRoot:             new(user != 0),
		ReadOnlyRootFilesystem:   new(readOnlyRoot),
		AllowPrivilegeEscalation: new(false),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

func (r *renderer) copy() (corev1.Container, error) {
	c, err := r.runner(attempt.ContainerCopy, r.settings.RunnerImage, r.config(report.RoleCopy), smallMemory, smallCPU)
	c.VolumeMounts = []corev1.VolumeMount{{Name: volumeBin, MountPath: report.BinDir}}
	return c, err
}

// adapter copies the files of the variant's adapter. It runs in their image, which
// may hold nothing else: the program is pose-runner's copy.
func (r *renderer) adapter() (corev1.Container, error) {
	a := r.variant.Adapter
	c, err := r.runner(attempt.ContainerAdapter, a.Image, r.config(report.RoleAdapter), smallMemory, smallCPU)
	c.ImagePullPolicy = a.ImagePullPolicy
	c.Command = []string{report.RunnerBinary}
	c.VolumeMounts = []corev1.VolumeMount{
		{Name: volumeBin, MountPath: report.BinDir, ReadOnly: true},
		{Name: volumeAdapter, MountPath: report.AdapterDir},
	}
	return c, err
}

func (r *renderer) fetch() (corev1.Container, error) {
	cfg := r.config(report.RoleFetch)
	v := r.job.Spec.Video
	cfg.Progress = r.settings.Progress
	cfg.Fetch = &report.FetchConfig{
		URI: v.URI, SHA256: v.SHA256,
		MaxBytes:       r.maxVideoBytes(),
		ScratchBound:   r.scratchBound(),
		Store:          r.settings.Store,
		TimeoutSeconds: r.bounded(FetchTimeoutSeconds),
	}
	if mounted(v.URI) {
		cfg.Fetch.PVCMount = pvcInputMount
	}
	if b := v.Boxes; b != nil {
		cfg.Fetch.Boxes = &report.BoxesFetchConfig{URI: b.URI, SHA256: b.SHA256, MaxBytes: MaxBoxesBytes}
		if mounted(b.URI) {
			cfg.Fetch.Boxes.PVCMount = pvcBoxesMount
		}
	}
	c, err := r.runner(attempt.ContainerFetch, r.settings.RunnerImage, cfg, smallMemory, smallCPU)
	c.VolumeMounts = []corev1.VolumeMount{{Name: volumeInput, MountPath: report.InputDir}}
	c.VolumeMounts = append(c.VolumeMounts, r.progressMount()...)
	c.VolumeMounts = append(c.VolumeMounts, r.inputMounts()...)
	return c, err
}

func (r *renderer) prepare() (corev1.Container, error) {
	cfg := r.config(report.RolePrepare)
	cfg.Prepare = &report.PrepareConfig{
		MaxPixels: r.settings.MaxPixels, MaxFrames: r.settings.MaxFrames,
		TimeoutSeconds: r.bounded(PrepareTimeoutSeconds),
	}
	if f := r.job.Spec.Video.Frames; f != nil {
		cfg.Prepare.StartFrame, cfg.Prepare.EndFrame = f.Start, f.End
	}
	if b := r.job.Spec.Video.Boxes; b != nil {
		cfg.Prepare.Boxes = report.BoxesJSON
		if strings.HasSuffix(b.URI, ".csv") { // the API server takes these two only
			cfg.Prepare.Boxes = report.BoxesCSV
		}
	}
	c, err := r.runner(attempt.ContainerPrepare, r.settings.MediaImage, cfg, prepareMemory, prepareCPU)
	c.Command = []string{report.RunnerBinary}
	c.VolumeMounts = []corev1.VolumeMount{
		{Name: volumeBin, MountPath: report.BinDir, ReadOnly: true},
		{Name: volumeInput, MountPath: report.InputDir},
		{Name: volumeTmp, MountPath: "/tmp", SubPath: "prepare"},
	}
	return c, err
}

func (r *renderer) deliver() (corev1.Container, error) {
	cfg := r.config(report.RoleDeliver)
	out := r.job.Spec.Output
	cfg.Progress = r.settings.Progress
	cfg.Deliver = &report.DeliverConfig{
		URI:            strings.TrimRight(out.URI, "/"),
		AttemptID:      AttemptID(r.job, r.attempt.Number),
		Store:          r.settings.Store,
		Outputs:        r.outputs(),
		MaxBytes:       r.scratch().Value(),
		TimeoutSeconds: r.job.Spec.DeliveryTimeoutSeconds,
		EngineEnded:    !r.watched(),
		Overwrite:      out.Overwrite == v1alpha1.Allow,
		Provenance:     r.provenance(),
	}
	if mounted(out.URI) {
		cfg.Deliver.PVCMount = pvcOutputMount
	}
	c, err := r.runner(attempt.ContainerDeliver, r.settings.RunnerImage, cfg, deliverMemory, smallCPU)
	c.VolumeMounts = []corev1.VolumeMount{
		// In a queue it says there which clips are done.
		{Name: volumeInput, MountPath: report.InputDir, ReadOnly: r.queue == nil},
		{Name: volumeOutput, MountPath: report.OutputDir, ReadOnly: true},
	}
	if r.watched() {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volumeRun, MountPath: report.RunDir, ReadOnly: true})
	}
	c.VolumeMounts = append(c.VolumeMounts, r.progressMount()...)
	c.VolumeMounts = append(c.VolumeMounts, secretMount(outputPlace(r.job), report.CredentialsDir)...)
	c.VolumeMounts = append(c.VolumeMounts, r.claimMount(out.URI, pvcOutputMount, false)...)
	return c, err
}

// provenance of the attempt's result.
func (r *renderer) provenance() report.Provenance {
	p := reuse.Made(r.job, r.engine, r.variant)
	p.Request, p.OperatorVersion = r.request, r.settings.OperatorVersion
	for _, a := range r.job.Status.Attempts {
		if a.Number < r.attempt.Number {
			p.Attempts = append(p.Attempts, report.AttemptSummary{Number: a.Number, Variant: a.Variant, Device: string(a.Device), Reason: a.Reason})
		}
	}
	return p
}

// outputs of the engine; an overlay that was not asked for is not required.
func (r *renderer) outputs() []report.OutputFile {
	var out []report.OutputFile
	for _, o := range r.engine.Spec.Outputs {
		out = append(out, report.OutputFile{Name: o.Name, Path: o.Path, Format: report.OutputFormat(o.Format), Required: o.Required})
	}
	return out
}

func (r *renderer) engineUser() int64 {
	if s := r.variant.SecurityContext; s != nil && s.RunAsUser != nil {
		return *s.RunAsUser
	}
	return EngineUser
}

// watched says whether pose-runner starts the engine.
func (r *renderer) watched() bool { return r.variant.Runner != v1alpha1.RunnerNone }

// engineContainer is what both ways to start an engine have in common.
func (r *renderer) engineContainer() corev1.Container {
	readOnly := true
	if s := r.variant.SecurityContext; s != nil && s.ReadOnlyRootFilesystem != nil {
		readOnly = *s.ReadOnlyRootFilesystem
	}
	c := corev1.Container{
		Name:            attempt.ContainerEngine,
		Image:           r.variant.Image,
		ImagePullPolicy: r.variant.ImagePullPolicy,
		WorkingDir:      r.variant.WorkingDir,
		Env:             r.engineEnv(),
		Resources:       r.engineResources(),
		SecurityContext: secure(r.engineUser(), readOnly),
	}
	mount := func(name, path string, readOnly bool) {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: path, ReadOnly: readOnly})
	}
	if r.watched() {
		mount(volumeBin, report.BinDir, true)
	}
	mount(volumeInput, report.InputDir, true)
	mount(volumeOutput, report.OutputDir, false)
	if r.watched() {
		mount(volumeRun, report.RunDir, false)
	}
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volumeTmp, MountPath: "/tmp", SubPath: "engine"})
	if r.variant.SharedMemorySize != nil {
		mount(volumeSharedMemory, "/dev/shm", false)
	}
	if r.variant.Adapter != nil {
		mount(volumeAdapter, report.AdapterDir, true)
	}
	for _, m := range r.variant.Models {
		mount(modelVolume(m), m.MountPath, true)
	}
	return c
}

// watchedEngine runs under pose-runner.
func (r *renderer) watchedEngine() (corev1.Container, error) {
	cfg := r.config(report.RoleExec)
	cfg.Exec = &report.ExecConfig{
		Command:             r.command(),
		ProgressPattern:     r.engine.Spec.ProgressPattern,
		StallTimeoutSeconds: r.job.Spec.StallTimeoutSeconds,
		AllowNetwork:        r.variant.AllowNetwork,
		GraceSeconds:        GracePeriodSeconds,
		Preflight:           r.preflight(),
	}
	for _, s := range r.engine.Spec.Stages {
		cfg.Exec.Stages = append(cfg.Exec.Stages, report.StagePattern{Name: s.Name, Pattern: s.Pattern, StallTimeoutSeconds: s.StallTimeoutSeconds})
	}
	env, err := configEnv(cfg)
	if err != nil {
		return corev1.Container{}, err
	}
	c := r.engineContainer()
	c.Command = []string{report.RunnerBinary, "run"}
	c.Env = append(c.Env, env)
	c.TerminationMessagePolicy = corev1.TerminationMessageReadFile
	return c, nil
}

// plainEngine runs the image as it is. What is known of its end is what the
// kubelet tells: exit code, last lines of the log, out of memory.
//
// deliver is another user and reads what the engine wrote by the pod's group:
// the engine's group is FSGroup, the output volume hands its group down, and
// container runtimes start with umask 022. Only a file that the engine itself
// makes private stays closed, for here nobody opens it afterwards.
func (r *renderer) plainEngine() (corev1.Container, error) {
	c := r.engineContainer()
	// The kubelet expands $(NAME) in a command; pose-runner would not.
	for _, arg := range r.resolve(r.variant.Command) {
		c.Command = append(c.Command, literal(arg))
	}
	c.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
	return c, nil
}

func (r *renderer) preflight() *report.PreflightConfig {
	p := r.variant.Preflight
	if p == nil {
		return nil
	}
	out := &report.PreflightConfig{Command: r.resolve(p.Command), TimeoutSeconds: p.TimeoutSeconds, Stage: p.Stage}
	if p.GPUMemory != nil {
		out.GPUMemoryBytes = p.GPUMemory.Value()
	}
	return out
}

// resolve the placeholders of a command to fixed paths, numbers and enumerated
// words: no text of the user's goes in. An argument may become empty and stays.
func (r *renderer) resolve(command []string) []string {
	v := r.job.Spec.Video
	var start, focal, people int64
	file := ""
	if v.Frames != nil {
		start = v.Frames.Start
	}
	if v.FocalLengthPx != nil {
		focal = *v.FocalLengthPx
	}
	if p := r.job.Spec.People; p != nil {
		people = int64(p.Max)
	}
	if v.Boxes != nil {
		file = report.BoxesFile
	}
	replace := strings.NewReplacer(
		"$(START_FRAME)", strconv.FormatInt(start, 10),
		"$(VIDEO)", report.VideoFile,
		"$(OUTPUT_DIR)", report.OutputDir,
		"$(OVERLAY)", strings.ToLower(string(r.job.Spec.Output.Overlay)),
		"$(DEVICE)", strings.ToLower(string(r.variant.Device)),
		"$(BOXES)", file,
		"$(CAPTURE_FPS)", rate(v.CaptureFPS),
		"$(FOCAL_LENGTH_PX)", strconv.FormatInt(focal, 10),
		"$(MAX_PEOPLE)", strconv.FormatInt(people, 10),
	)
	argv := make([]string, len(command))
	for i, arg := range command {
		argv[i] = replace.Replace(arg)
	}
	return argv
}

// rate as the job writes it, which the API server has checked: a decimal number;
// "0" when it is unset.
func rate(fps *intstr.IntOrString) string {
	if fps == nil {
		return "0"
	}
	return fps.String()
}

func (r *renderer) engineEnv() []corev1.EnvVar {
	env := []corev1.EnvVar{
		{Name: "PYTHONFAULTHANDLER", Value: "1"},
		{Name: "PYTHONUNBUFFERED", Value: "1"},
	}
	if r.variant.Device == v1alpha1.CPU {
		// The NVIDIA container runtime hands GPUs to every image that asks in
		// its own environment; "void" makes it leave this container alone.
		env = append(env, corev1.EnvVar{Name: "NVIDIA_VISIBLE_DEVICES", Value: "void"})
	}
	for _, e := range r.variant.Env {
		env = append(env, corev1.EnvVar{Name: e.Name, Value: literal(e.Value)})
	}
	return env
}

func (r *renderer) engineResources() corev1.ResourceRequirements {
	var want v1alpha1.Resources
	if r.variant.Resources != nil {
		want = *r.variant.Resources.DeepCopy()
	}
	out := corev1.ResourceRequirements{Requests: corev1.ResourceList{}, Limits: corev1.ResourceList{}}
	maps.Copy(out.Requests, want.Requests)
	maps.Copy(out.Limits, want.Limits)
	if own := r.ownResources(); own != nil {
		// One by one: a job that asks for more memory keeps its GPU.
		maps.Copy(out.Requests, own.Requests)
		maps.Copy(out.Limits, own.Limits)
	}
	if m := r.attempt.MemoryBytes; m > 0 {
		out.Limits[corev1.ResourceMemory] = *resource.NewQuantity(m, resource.BinarySI)
	}
	if m, ok := out.Limits[corev1.ResourceMemory]; ok {
		out.Requests[corev1.ResourceMemory] = m
	}
	// The pod's emptyDirs count against the sum of its containers' limits.
	disk := r.inputSize()
	disk.Add(r.outputSize())
	disk.Add(ownLayer)
	disk.Add(tmpSize)
	if r.variant.Adapter != nil {
		disk.Add(adapterSize)
	}
	out.Limits[corev1.ResourceEphemeralStorage] = disk
	if _, ok := out.Requests[corev1.ResourceEphemeralStorage]; !ok {
		out.Requests[corev1.ResourceEphemeralStorage] = ownLayer
	}
	return out
}

// ownResources are the job's for this device, or nil.
func (r *renderer) ownResources() *v1alpha1.Resources {
	t := r.template().Resources
	if t == nil {
		return nil
	}
	if r.variant.Device == v1alpha1.GPU {
		return t.GPU
	}
	return t.CPU
}
