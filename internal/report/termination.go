package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// MaxTerminationBytes bounds one container's termination message. The kubelet
// divides 12 KiB among all containers of a pod and cuts bytes beyond that
// (kubernetes: pkg/kubelet/kuberuntime); six containers stay within it.
const MaxTerminationBytes = 2048

// Result is how far a container came.
type Result string

// Results. Running is written while the container works, so that a container
// that is killed without a word still leaves its stage and its peak memory.
const (
	ResultRunning Result = "Running"
	ResultOK      Result = "OK"
	ResultFailed  Result = "Failed"
	// ResultSkipped is deliver's answer when the engine failed: there is
	// nothing to judge, the engine's own report says why.
	ResultSkipped Result = "Skipped"
)

// Reasons that the runner itself can give. They are a subset of the API's
// attempt reasons; an engine's death gets its reason from the controller.
const (
	ReasonInputUnavailable = "InputUnavailable" // missing, forbidden, not reachable
	ReasonInputInvalid     = "InputInvalid"     // not a video, too big, digest differs
	ReasonOutputInvalid    = "OutputInvalid"    // missing, short, does not parse
	ReasonDeliveryFailed   = "DeliveryFailed"   // upload failed until the time-out
	ReasonScratchExceeded  = "ScratchSpaceExceeded"
	ReasonNoProgress       = "NoProgress" // exec ended an engine that stood still
	// ReasonDeviceUnusable: the preflight asked nvidia-smi, and it shows no GPU.
	ReasonDeviceUnusable = "DeviceUnusable"
	// ReasonCUDAOutOfMemory: the preflight found too little free GPU memory.
	ReasonCUDAOutOfMemory = "CUDAOutOfMemory"
	ReasonConfig          = "RunnerConfigInvalid"
	// ReasonAdapterInvalid: the adapter's image has no folder /adapter, or one that
	// cannot be copied.
	ReasonAdapterInvalid = "AdapterInvalid"
)

// Termination is a container's termination message.
type Termination struct {
	Version int    `json:"v"`
	Role    Role   `json:"role"`
	Result  Result `json:"result"`
	Reason  string `json:"reason,omitempty"`
	// Message is for a person: what failed, on what, what to do.
	Message string `json:"message,omitempty"`
	// Temporary says that another attempt may do better: a store that does not
	// answer, as against one that refuses.
	Temporary bool `json:"temporary,omitempty"`
	// Seconds that the role took.
	Seconds float64         `json:"seconds,omitempty"`
	Fetch   *FetchReport    `json:"fetch,omitempty"`
	Video   *VideoFacts     `json:"video,omitempty"`
	Engine  *EngineReport   `json:"engine,omitempty"`
	Deliver *DeliveryReport `json:"deliver,omitempty"`
	Lookup  *LookupReport   `json:"lookup,omitempty"`
	Purge   *PurgeReport    `json:"purge,omitempty"`
	Verify  *VerifyReport   `json:"verify,omitempty"`
	List    *ListReport     `json:"list,omitempty"`
	Index   *IndexReport    `json:"index,omitempty"`
	// Queue is deliver's, in the pod of many clips.
	Queue *QueueReport `json:"queue,omitempty"`
	// InQueue says that the message is of such a pod, and has less room.
	InQueue bool `json:"-"`
}

// LookupReport says what the places of a job showed.
type LookupReport struct {
	// VideoBytes and VideoVersion as the place tells them; -1 and empty where it
	// does not.
	VideoBytes   int64  `json:"videoBytes"`
	VideoVersion string `json:"videoVersion,omitempty"`
	// Reused is a verified result that lies below the job's own output URI now;
	// nil when there is none.
	Reused *ReusedResult `json:"reused,omitempty"`
	// Why there is none, for a person.
	Why string `json:"why,omitempty"`
}

// ReusedResult is a result that was computed before.
type ReusedResult struct {
	Result DeliveryReport `json:"result"`
	Video  VideoFacts     `json:"video"`
	// From names the job that computed it, URI its result; that is Result.URI
	// unless it was copied.
	From JobRef `json:"from"`
	URI  string `json:"uri"`
	// Engine, Variant, Device and Image that it was computed with.
	Engine  string `json:"engine"`
	Variant string `json:"variant"`
	Device  string `json:"device"`
	Image   string `json:"image"`
	// CompletedAt is when it was computed, RFC 3339.
	CompletedAt string `json:"completedAt"`
}

// PurgeReport counts what was removed.
type PurgeReport struct {
	// Results and Partials are folders of attempts with and without a manifest.
	Results  int64 `json:"results"`
	Partials int64 `json:"partials"`
	// Objects and Bytes of them all, the pointer and the video included.
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
	// Pointer and Video say that these were removed.
	Pointer bool `json:"pointer,omitempty"`
	Video   bool `json:"video,omitempty"`
	// Kept is what was left alone, and why, for a person; at most a few lines.
	Kept []string `json:"kept,omitempty"`
}

// VerifyReport is what a check of a result found.
type VerifyReport struct {
	URI            string `json:"uri"` // of the attempt's folder
	ManifestSHA256 string `json:"manifestSHA256"`
	// Results of a batch that were checked; of one result it is 0.
	Results int64 `json:"results,omitempty"`
	Files   int64 `json:"files"`
	Bytes   int64 `json:"bytes"`
	// Problems for a person; empty means that the result is whole. At most a few.
	Problems []string `json:"problems,omitempty"`
}

// FetchReport says what was fetched.
type FetchReport struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	// Version of the source at its place (an ETag or the like), empty where it has
	// none.
	Version string `json:"version,omitempty"`
	// Boxes that were fetched beside the video; nil without any.
	Boxes *FileFacts `json:"boxes,omitempty"`
}

// FileFacts are size and digest of a fetched file.
type FileFacts struct {
	Bytes   int64  `json:"bytes"`
	SHA256  string `json:"sha256"`
	Version string `json:"version,omitempty"` // as FetchReport.Version
}

// VideoFacts are measured by prepare on what the engine will read.
type VideoFacts struct {
	Container   string  `json:"container,omitempty"`
	Codec       string  `json:"codec,omitempty"`
	Width       int64   `json:"width"`  // pixels, after rotation
	Height      int64   `json:"height"` // pixels, after rotation
	FPS         float64 `json:"fps"`
	Frames      int64   `json:"frames"`               // frames that the result must cover
	StartFrame  int64   `json:"startFrame,omitempty"` // offset in the source
	Normalised  bool    `json:"normalised,omitempty"` // re-encoded by prepare
	DurationSec float64 `json:"durationSeconds,omitempty"`
	// SHA256 of the source as fetched, so that a result names its video;
	// SourceVersion as FetchReport.Version.
	SourceSHA256  string `json:"sourceSHA256,omitempty"`
	SourceVersion string `json:"sourceVersion,omitempty"`
	// Source is what was fetched, before prepare made of it what the engine reads.
	Source *SourceFacts `json:"source,omitempty"`
	// Boxes that the engine is given; nil when the job has none.
	Boxes *BoxesFacts `json:"boxes,omitempty"`
}

// BoxesFacts say what prepare made of the job's boxes.
type BoxesFacts struct {
	Boxes  int64 `json:"boxes"`         // in the prepared frames
	Frames int64 `json:"frames"`        // prepared frames with at least one box
	IDs    bool  `json:"ids,omitempty"` // the boxes name the people
	// SourceSHA256 is the digest of the file as fetched, SourceVersion as
	// FetchReport.Version.
	SourceSHA256  string `json:"sourceSHA256,omitempty"`
	SourceVersion string `json:"sourceVersion,omitempty"`
}

// SourceFacts describe a video as it was fetched.
type SourceFacts struct {
	Bytes     int64  `json:"bytes"`
	Container string `json:"container,omitempty"` // as ffprobe names it, cut to its first name
	Codec     string `json:"codec,omitempty"`
	// Width and Height of the coded frames, Rotation in degrees that players turn
	// them by.
	Width    int64 `json:"width,omitempty"`
	Height   int64 `json:"height,omitempty"`
	Rotation int64 `json:"rotation,omitempty"`
	// VariableRate says that its frames do not follow each other evenly.
	VariableRate bool `json:"variableRate,omitempty"`
	// Why it was re-encoded; empty when it was not.
	Why string `json:"why,omitempty"`
}

// EngineReport says what exec saw of the engine. Exit, signal, memory and
// times are the runner's own evidence; stage, frames and log are read from the
// engine's output and are claims.
type EngineReport struct {
	// Stage last entered, empty before the first.
	Stage string `json:"stage,omitempty"`
	// ExitCode of the engine; nil while it runs and when a signal ended it.
	ExitCode *int32 `json:"exitCode,omitempty"`
	// Signal that ended the engine, as "SIGSEGV".
	Signal string `json:"signal,omitempty"`
	Frames int64  `json:"frames,omitempty"`
	Total  int64  `json:"total,omitempty"`
	// PeakMemoryBytes is the highest memory use of the container's cgroup, or
	// of the process tree where the cgroup cannot be read. Page cache that the
	// kernel could drop is left out, or reading one big file would look like a
	// full container; after an OOM kill it is the kernel's own peak.
	PeakMemoryBytes  int64 `json:"peakMemoryBytes,omitempty"`
	LimitMemoryBytes int64 `json:"limitMemoryBytes,omitempty"`
	// OOMKills is how often the kernel killed in this container's cgroup.
	OOMKills int64 `json:"oomKills,omitempty"`
	// StageSeconds is how long each stage took, the current one included.
	StageSeconds map[string]float64 `json:"stageSeconds,omitempty"`
	// Preflight says that this is the end, or the state, of the preflight: the
	// engine itself was not started.
	Preflight bool `json:"preflight,omitempty"`
	// DeviceUsed is DeviceGPU once a process of the engine was seen to hold a
	// GPU's device file open, DeviceCPU at its end when none was, and empty while
	// nobody could tell.
	DeviceUsed string `json:"deviceUsed,omitempty"`
	// GPU is what the driver showed inside the container; empty without one.
	GPU string `json:"gpu,omitempty"`
	// Driver, GPUMemoryBytes and GPUUsedBytes are what nvidia-smi said: the
	// driver's version, the memory of the GPU that was in use most, and the most
	// that was seen in use on it, by whomever. An image's nvidia-smi can say
	// anything.
	Driver         string `json:"driver,omitempty"`
	GPUMemoryBytes int64  `json:"gpuMemoryBytes,omitempty"`
	GPUUsedBytes   int64  `json:"gpuUsedBytes,omitempty"`
	// Crash is what the engine's last words tell of a crash; nil without any.
	Crash *CrashReport `json:"crash,omitempty"`
	// Versions of what the engine had loaded, by name: python, torch, cuda,
	// cudnn, detectron2, phalp, numpy; at most MaxVersions of them.
	Versions map[string]string `json:"versions,omitempty"`
	// LogErrors holds the last lines that look like a cause (CauseLine) and are
	// no longer in LogTail, oldest first, at most MaxLogErrors.
	LogErrors []string `json:"logErrors,omitempty"`
	// LogTail holds the last lines, cleaned and bounded, without stack dumps.
	LogTail string `json:"logTail,omitempty"`
	// Clip that an engine has begun and not answered, of many.
	Clip *int32 `json:"clip,omitempty"`
	// Answers of an engine that works through many clips: on the socket to deliver
	// alone, never in a termination message.
	Answers []ClipAnswer `json:"answers,omitempty"`
}

// Devices that an engine can be seen to use.
const (
	DeviceGPU = "GPU"
	DeviceCPU = "CPU"
)

// Bounds of an EngineReport's parts.
const (
	MaxVersions   = 6
	MaxLogErrors  = 4
	MaxStackDepth = 8   // frames of CrashReport.PythonStack
	MaxFrameBytes = 160 // of each
)

// CrashReport is what an engine's log tells of a crash: a claim, as all of it.
type CrashReport struct {
	// PythonStack of the thread that crashed, innermost call first, each as
	// "file:line function". Files of installed packages begin with the package.
	PythonStack []string `json:"pythonStack,omitempty"`
	// NativeLibrary is the file name of the shared library on top of the native
	// stack, signal handling and the C library left out.
	NativeLibrary string `json:"nativeLibrary,omitempty"`
	// FatalError is the line "Fatal Python error: ..." or, where C++ ended the
	// process, "terminate called after throwing ..." with what() said.
	FatalError string `json:"fatalError,omitempty"`
}

// DeliveryReport is deliver's proof of success.
type DeliveryReport struct {
	// URI of the attempt's folder and digest of its manifest.json.
	URI            string `json:"uri"`
	ManifestSHA256 string `json:"manifestSHA256"`
	// Files, without their digests where they would not fit: the manifest,
	// whose digest is above, has them all.
	Files  []DeliveredFile `json:"files"`
	People int64           `json:"people"`
	Frames int64           `json:"frames"`
	// Quality is what the engine says of its own result; nil where it does not.
	Quality *ResultQuality `json:"quality,omitempty"`
}

// ResultQuality is pose.json's quality in bounded whole numbers: a claim of the
// engine's. docs/pose-json.md has the formulas.
type ResultQuality struct {
	// CoveragePercent is the share of frames with somebody in them, 0 to 100.
	CoveragePercent int32 `json:"coveragePercent"`
	// Gaps, IDSwitchesSuspected and PeopleFiltered count, up to MaxQualityCount.
	Gaps                int64 `json:"gaps"`
	IDSwitchesSuspected int64 `json:"idSwitchesSuspected"`
	PeopleFiltered      int64 `json:"peopleFiltered"`
}

// MaxQualityCount bounds a count of ResultQuality.
const MaxQualityCount = 1_000_000_000

// DeliveredFile is one uploaded file.
type DeliveredFile struct {
	Name   string `json:"name"`
	Path   string `json:"path"` // relative to DeliveryReport.URI
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"`
}

// ErrNotTermination says that a text is no termination message of ours, for
// example because the container runtime or a stock image wrote it.
var ErrNotTermination = errors.New("not a pose-runner termination message")

// ParseTermination reads a container's termination message. The text comes from
// the pod and may be forged by an engine; it is bounded, strict about its
// version, and never more than a claim where EngineReport says so.
func ParseTermination(message string) (*Termination, error) {
	if len(message) > 2*MaxTerminationBytes || !strings.HasPrefix(message, "{") {
		return nil, ErrNotTermination
	}
	var t Termination
	if err := json.Unmarshal([]byte(message), &t); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotTermination, err)
	}
	if t.Version != Version || t.Role == "" || t.Result == "" {
		return nil, ErrNotTermination
	}
	return &t, nil
}
