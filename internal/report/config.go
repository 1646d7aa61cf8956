// Package report is the contract between the controller and pose-runner, the
// process that runs in every container of an attempt's pod.
//
// The controller tells the runner what to do with a Config (one JSON document
// in the environment variable ConfigEnv). The runner answers in two ways: a
// Termination, the container's termination message, is the durable answer, and
// a Progress, pushed over HTTPS while the pod lives, is the perishable one.
//
// All three carry Version. A reader accepts its own version only: controller
// and runner of one pod always come from one release, because the controller
// names the runner's image in the pods that it makes.
package report

import (
	"encoding/json"
	"fmt"
)

// Version of this contract. It changes when an older reader would misread a
// newer document.
const Version = 1

// ConfigEnv names the environment variable that holds a container's Config.
const ConfigEnv = "POSE_RUNNER_CONFIG"

// Role is what one container of the pod does.
type Role string

// Roles, in the order in which they run; exec and deliver run side by side.
const (
	RoleCopy    Role = "copy"    // copies pose-runner into the shared volume
	RoleAdapter Role = "adapter" // copies a variant's adapter out of its image
	RoleFetch   Role = "fetch"   // streams the video in; never decodes it
	RolePrepare Role = "prepare" // probes, cuts and normalises the video
	RoleExec    Role = "exec"    // runs the engine as its child
	RoleDeliver Role = "deliver" // checks the outputs and uploads them
)

// Roles of pods of their own, without an engine.
const (
	RoleLookup Role = "lookup" // looks at the job's places before any attempt
	RolePurge  Role = "purge"  // removes what a job wrote, and on request its video
	RoleVerify Role = "verify" // checks a result against its manifest
	RoleList   Role = "list"   // finds the videos of a batch
	RoleIndex  Role = "index"  // writes the index of a batch
	RoleSend   Role = "send"   // gives a person the files of a result on a claim
)

// Paths inside the pod. They are fixed: nothing that a user writes becomes a
// file name that an engine or a shell could misread.
const (
	BinDir       = "/pose/bin"
	RunnerBinary = "/pose/bin/pose-runner"
	InputDir     = "/pose/in"
	SourceFile   = "/pose/in/source" // as fetched, any container format
	// SourceFactsFile is the FetchReport that fetch leaves for prepare.
	SourceFactsFile = "/pose/in/source.json"
	VideoFile       = "/pose/in/video.mp4"  // as prepared, what the engine reads
	FactsFile       = "/pose/in/facts.json" // a VideoFacts
	// BoxesSourceFile holds the boxes as fetched, BoxesFile what prepare makes of
	// them for the engine: docs/boxes.md, with the frames of VideoFile.
	BoxesSourceFile = "/pose/in/boxes.source"
	BoxesFile       = "/pose/in/boxes.json"
	OutputDir       = "/pose/out" // the engine writes here, deliver reads
	RunDir          = "/pose/run" // the socket between exec and deliver
	SocketFile      = "/pose/run/exec.sock"
	// CredentialsDir holds one file per key of the Secret that the container's
	// own location names. The engine's container never has it.
	CredentialsDir = "/pose/credentials" //nolint:gosec // a path, not a secret
	// OutputCredentialsDir is the same for the results, in pods that look at both;
	// deliver has them in CredentialsDir.
	OutputCredentialsDir = "/pose/output-credentials" //nolint:gosec // a path, not a secret
	// BoxesCredentialsDir is the same for the boxes; fetch alone has it.
	BoxesCredentialsDir = "/pose/boxes-credentials" //nolint:gosec // a path, not a secret
	// AdapterSourceDir is the folder of an adapter's image, AdapterDir where its
	// files lie for the engine.
	AdapterSourceDir = "/adapter"
	AdapterDir       = "/pose/adapter"
	// ProgressTokenFile is a projected, audience-bound service account token.
	ProgressTokenFile = "/pose/progress/token"
	// DiagnosticsFile is where exec keeps the engine's log tail for deliver.
	DiagnosticsFile = "/pose/run/engine.log"
	// EngineFile is the last EngineReport, for a deliver that connects late.
	EngineFile = "/pose/run/engine.json"
)

// Config tells one container what to do. Exactly the part named by Role is set.
type Config struct {
	Version int            `json:"version"`
	Role    Role           `json:"role"`
	Job     JobRef         `json:"job"`
	Fetch   *FetchConfig   `json:"fetch,omitempty"`
	Prepare *PrepareConfig `json:"prepare,omitempty"`
	Exec    *ExecConfig    `json:"exec,omitempty"`
	Deliver *DeliverConfig `json:"deliver,omitempty"`
	Lookup  *LookupConfig  `json:"lookup,omitempty"`
	Purge   *PurgeConfig   `json:"purge,omitempty"`
	Verify  *VerifyConfig  `json:"verify,omitempty"`
	List    *ListConfig    `json:"list,omitempty"`
	Index   *IndexConfig   `json:"index,omitempty"`
	Send    *SendConfig    `json:"send,omitempty"`
	// Queue makes the role a loop over many clips; nil means one video.
	Queue *QueueConfig `json:"queue,omitempty"`
	// Progress is where fetch and deliver push progress; nil means nowhere.
	Progress *ProgressConfig `json:"progress,omitempty"`
}

// JobRef names the attempt that the container belongs to.
type JobRef struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	Attempt   int32  `json:"attempt"`
	// Batch is the PoseBatch that made the job; empty where none did.
	Batch string `json:"batch,omitempty"`
}

// Same says whether two jobs have one name: a job that was deleted and made again
// has another UID.
func (j JobRef) Same(other JobRef) bool {
	return j.Namespace == other.Namespace && j.Name == other.Name
}

// Continues says whether a job goes on where the other left off, at the same output:
// it has its name, or both are of batches of one name. A batch that is made again
// makes jobs of other names for the same clips.
func (j JobRef) Continues(other JobRef) bool {
	return j.Same(other) || j.Namespace == other.Namespace && j.Batch != "" && j.Batch == other.Batch
}

// StoreConfig is the operator's policy on places. Users name a URI; endpoints
// and reachable hosts come from the platform admin alone.
type StoreConfig struct {
	// S3Endpoint is the base URL of an S3-compatible server; empty means AWS.
	S3Endpoint string `json:"s3Endpoint,omitempty"`
	S3Region   string `json:"s3Region,omitempty"`
	// S3PathStyle addresses buckets as endpoint/bucket/key.
	S3PathStyle bool `json:"s3PathStyle,omitempty"`
	// GCSEndpoint is the base URL of a server that speaks Google Cloud Storage's
	// JSON API; empty means Google's own.
	GCSEndpoint string `json:"gcsEndpoint,omitempty"`
	// AzureAccount is the storage account of every azblob:// URI, AzureEndpoint the
	// base URL of its blob service; empty means
	// https://ACCOUNT.blob.core.windows.net.
	AzureAccount  string `json:"azureAccount,omitempty"`
	AzureEndpoint string `json:"azureEndpoint,omitempty"`
	// WorkloadIdentity lets a location without a Secret use what the cloud gives
	// the pod's service account. Without it such a location is anonymous.
	WorkloadIdentity bool `json:"workloadIdentity,omitempty"`
	// CAPEM is trusted beside the system's roots.
	CAPEM string `json:"caPEM,omitempty"`
	// HTTPAllowedHosts are host or host:port patterns that may resolve to
	// private addresses. Everything else must resolve to a public address, so
	// that a video's URI cannot reach into the cluster or to cloud metadata.
	HTTPAllowedHosts []string `json:"httpAllowedHosts,omitempty"`
}

// FetchConfig is the part for RoleFetch.
type FetchConfig struct {
	// URI is s3://bucket/key, gs://bucket/key, azblob://container/key,
	// http(s)://host/path, pvc://claim/path or oci://image//path.
	URI string `json:"uri"`
	// SHA256, lower-case hex, is checked while streaming when set.
	SHA256   string `json:"sha256,omitempty"`
	MaxBytes int64  `json:"maxBytes"`
	// ScratchBound says that MaxBytes is the job's own scratchSize rather than
	// the platform admin's limit on videos.
	ScratchBound bool        `json:"scratchBound,omitempty"`
	Store        StoreConfig `json:"store"`
	// PVCMount is where the claim of a pvc:// URI, or the image of an oci:// URI,
	// is mounted, read-only.
	PVCMount string `json:"pvcMount,omitempty"`
	// TimeoutSeconds bounds the whole transfer, retries included.
	TimeoutSeconds int64 `json:"timeoutSeconds"`
	// Boxes are fetched beside the video; nil means there are none.
	Boxes *BoxesFetchConfig `json:"boxes,omitempty"`
}

// BoxesFetchConfig is where the boxes of a video come from. Store and time are
// the video's.
type BoxesFetchConfig struct {
	// URI as FetchConfig.URI.
	URI string `json:"uri"`
	// SHA256, lower-case hex, is checked while streaming when set.
	SHA256   string `json:"sha256,omitempty"`
	MaxBytes int64  `json:"maxBytes"`
	// PVCMount is where the claim of a pvc:// URI is mounted, read-only.
	PVCMount string `json:"pvcMount,omitempty"`
}

// BoxesFormat says how a file of boxes is written.
type BoxesFormat string

// Formats of docs/boxes.md.
const (
	BoxesJSON BoxesFormat = "JSON"
	BoxesCSV  BoxesFormat = "CSV"
)

// PrepareConfig is the part for RolePrepare. It has no network.
type PrepareConfig struct {
	// StartFrame and EndFrame cut the video: from StartFrame (0 = first) up to
	// and without EndFrame (0 = to the end), counted in the source's frames.
	StartFrame int64 `json:"startFrame,omitempty"`
	EndFrame   int64 `json:"endFrame,omitempty"`
	// MaxPixels bounds width x height of one frame; MaxFrames the whole video.
	MaxPixels      int64 `json:"maxPixels"`
	MaxFrames      int64 `json:"maxFrames"`
	TimeoutSeconds int64 `json:"timeoutSeconds"`
	// Boxes says how the fetched boxes are written; empty means there are none.
	Boxes BoxesFormat `json:"boxes,omitempty"`
}

// ExecConfig is the part for RoleExec.
type ExecConfig struct {
	// Command is the engine's argv with placeholders already resolved.
	Command []string `json:"command"`
	// Stages say which log line enters which stage, in no particular order.
	Stages []StagePattern `json:"stages,omitempty"`
	// ProgressPattern is an RE2 with the named groups frame and, if the engine
	// prints it, total. The first frame has number 1.
	ProgressPattern string `json:"progressPattern,omitempty"`
	// StallTimeoutSeconds ends the engine when neither stage, frame nor log
	// moved for so long; 0 means never.
	StallTimeoutSeconds int64 `json:"stallTimeoutSeconds,omitempty"`
	// AllowNetwork leaves the network sockets to the engine.
	AllowNetwork bool `json:"allowNetwork,omitempty"`
	// GraceSeconds is the pod's terminationGracePeriodSeconds; 0 means 30. The
	// engine gets SIGTERM at once and SIGKILL shortly before the period ends.
	GraceSeconds int64 `json:"graceSeconds,omitempty"`
	// Preflight is a first step before the engine; nil means none.
	Preflight *PreflightConfig `json:"preflight,omitempty"`
}

// StagePattern is one stage of an engine.
type StagePattern struct {
	Name    string `json:"name"`
	Pattern string `json:"pattern"`
	// StallTimeoutSeconds holds instead of ExecConfig's while this stage is the
	// current one; 0 means that ExecConfig's holds.
	StallTimeoutSeconds int64 `json:"stallTimeoutSeconds,omitempty"`
}

// PreflightConfig is a step before the engine that shows in seconds what would
// otherwise show after the whole load. When it fails, the engine is not started
// and the role ends as if the engine had ended so.
type PreflightConfig struct {
	// Command runs as the engine would run; its exit code 0 is a pass.
	Command []string `json:"command,omitempty"`
	// TimeoutSeconds bounds Command; 0 means 300.
	TimeoutSeconds int64 `json:"timeoutSeconds,omitempty"`
	// Stage that a failure counts for; empty means DefaultPreflightStage.
	Stage string `json:"stage,omitempty"`
	// GPUMemoryBytes must be free on one of the GPUs that nvidia-smi shows in the
	// engine's container; 0 asks nothing.
	GPUMemoryBytes int64 `json:"gpuMemoryBytes,omitempty"`
}

// DefaultPreflightStage is the stage that a failed preflight counts for.
const DefaultPreflightStage = "DetectorLoad"

// DeliverConfig is the part for RoleDeliver.
type DeliverConfig struct {
	// URI is the job's output: s3://bucket/prefix, gs://bucket/prefix,
	// azblob://container/prefix or pvc://claim/path. The attempt's files go below URI/attempts/AttemptID, its manifest last.
	URI       string      `json:"uri"`
	AttemptID string      `json:"attemptID"`
	Store     StoreConfig `json:"store"`
	PVCMount  string      `json:"pvcMount,omitempty"`
	// Outputs are the files that the engine is expected to write.
	Outputs []OutputFile `json:"outputs"`
	// MaxBytes bounds the sum of all outputs.
	MaxBytes int64 `json:"maxBytes"`
	// TimeoutSeconds bounds the upload, retries included.
	TimeoutSeconds int64 `json:"timeoutSeconds"`
	// EngineWaitSeconds bounds the wait for the engine's container to appear on
	// the socket; 0 means 1800. Pulling the engine's image counts.
	EngineWaitSeconds int64 `json:"engineWaitSeconds,omitempty"`
	// EngineEnded says that the engine ran before deliver, without a runner, and
	// ended well: there is no socket to wait for and no report of it.
	EngineEnded bool `json:"engineEnded,omitempty"`
	// Overwrite lets the root's pointer replace that of another job, and a foreign
	// file of its name.
	Overwrite bool `json:"overwrite,omitempty"`
	// Provenance goes into the manifest as it is.
	Provenance Provenance `json:"provenance"`
}

// OutputFormat says how deliver checks a file.
type OutputFormat string

// Formats that deliver knows.
const (
	FormatPoseJSON OutputFormat = "PoseJSON" // docs/pose-json.md; proves the frames
	FormatSMPLNPZ  OutputFormat = "SMPLNPZ"  // docs/pose-json.md; SMPL parameters
	FormatMP4      OutputFormat = "MP4"
	FormatPNG      OutputFormat = "PNG"
	FormatOpaque   OutputFormat = "Opaque" // size and digest only
)

// OutputFile is one file that an engine writes, relative to OutputDir.
type OutputFile struct {
	Name     string       `json:"name"`
	Path     string       `json:"path"`
	Format   OutputFormat `json:"format"`
	Required bool         `json:"required,omitempty"`
}

// Provenance is what the manifest says of how a result came to be.
type Provenance struct {
	VideoURI         string `json:"videoURI"`
	BoxesURI         string `json:"boxesURI,omitempty"`
	Engine           string `json:"engine"`
	EngineGeneration int64  `json:"engineGeneration"`
	Variant          string `json:"variant"`
	Device           string `json:"device"`
	Image            string `json:"image"`
	AdapterImage     string `json:"adapterImage,omitempty"`
	// Parameters of the job that a result depends on, as written in its spec:
	// frames.start, frames.end, people.max, captureFPS, focalLengthPx, overlay.
	Parameters map[string]string `json:"parameters,omitempty"`
	// Recipe is the digest of all that makes a result but the bytes of its inputs:
	// engine, variant, digest-pinned images, command, environment, parameters.
	// Empty where an image is not pinned, so that nobody can know.
	Recipe string `json:"recipe,omitempty"`
	// Request is the digest of what the job asked for: the engine, and the recipes
	// that its ladder may end with, in their order.
	Request string `json:"request,omitempty"`
	// Attempts that came before this one, oldest first.
	Attempts        []AttemptSummary `json:"attempts,omitempty"`
	OperatorVersion string           `json:"operatorVersion"`
}

// AttemptSummary is one earlier attempt of the job, for its result's manifest.
type AttemptSummary struct {
	Number  int32  `json:"number"`
	Variant string `json:"variant"`
	Device  string `json:"device"`
	// Reason why it failed, of the API's attempt reasons.
	Reason string `json:"reason"`
}

// LookupConfig is the part for RoleLookup: a small pod that looks at the places
// of a job before any attempt. It finds what no attempt could mend (no such video,
// no right to the place of the results, a folder of somebody else's), and a
// verified result that the job may have instead of computing it again.
type LookupConfig struct {
	// Video and Boxes are looked at and not read.
	Video LookupInput  `json:"video"`
	Boxes *LookupInput `json:"boxes,omitempty"`
	// URI, PVCMount, Overwrite and MaxBytes as in DeliverConfig.
	URI       string      `json:"uri"`
	PVCMount  string      `json:"pvcMount,omitempty"`
	Overwrite bool        `json:"overwrite,omitempty"`
	MaxBytes  int64       `json:"maxBytes"`
	Store     StoreConfig `json:"store"`
	// AttemptID of the folder below URI for a result that is copied from another
	// job's.
	AttemptID string `json:"attemptID"`
	// Request and Recipes say which results will do: those that were made for the
	// same Request, and those of the first Recipe. Empty: none will.
	Request string   `json:"request,omitempty"`
	Recipes []string `json:"recipes,omitempty"`
	// First is what the manifest of a result by the first Recipe would say of how it
	// came to be. It decides nothing: a message says by it what another result was
	// made with. nil where it is not known.
	First *Provenance `json:"first,omitempty"`
	// Candidates are results of other jobs that may do.
	Candidates []ResultRef `json:"candidates,omitempty"`
	// TimeoutSeconds bounds the whole role.
	TimeoutSeconds int64 `json:"timeoutSeconds"`
}

// LookupInput is a file that a job reads.
type LookupInput struct {
	// URI, SHA256, MaxBytes, ScratchBound and PVCMount as in FetchConfig.
	URI          string `json:"uri"`
	SHA256       string `json:"sha256,omitempty"`
	MaxBytes     int64  `json:"maxBytes"`
	ScratchBound bool   `json:"scratchBound,omitempty"`
	PVCMount     string `json:"pvcMount,omitempty"`
}

// ResultRef names a result: a folder and the digest of the manifest in it.
type ResultRef struct {
	URI            string `json:"uri"`
	ManifestSHA256 string `json:"manifestSHA256"`
}

// PurgeConfig is the part for RolePurge. It removes, below URI, what the job wrote:
// the folders of its attempts, whole or partial, and the root's pointer where it is
// the job's. What belongs to others stays.
type PurgeConfig struct {
	URI      string      `json:"uri"`
	PVCMount string      `json:"pvcMount,omitempty"`
	Store    StoreConfig `json:"store"`
	// Video is removed too when it is set: the upload itself.
	Video *LookupInput `json:"video,omitempty"`
	// AttemptPrefix begins the names of the job's attempt folders; a folder of a
	// namesake that was deleted before is known by its manifest.
	AttemptPrefix string `json:"attemptPrefix"`
	// Batch removes instead what a PoseBatch of this name and its PoseJobs wrote, in
	// all folders below URI, and its batch.json; AttemptPrefix and Video are empty then.
	Batch string `json:"batch,omitempty"`
	// DryRun removes nothing and reports what would be removed.
	DryRun         bool  `json:"dryRun,omitempty"`
	TimeoutSeconds int64 `json:"timeoutSeconds"`
}

// VerifyConfig is the part for RoleVerify.
type VerifyConfig struct {
	// URI of a job's output, or of one attempt's folder in it.
	URI            string      `json:"uri"`
	PVCMount       string      `json:"pvcMount,omitempty"`
	Store          StoreConfig `json:"store"`
	ManifestSHA256 string      `json:"manifestSHA256,omitempty"`
	// Batch says that URI is a batch's output: its batch.json, whose digest is
	// ManifestSHA256 then, and all results that it names.
	Batch          bool  `json:"batch,omitempty"`
	TimeoutSeconds int64 `json:"timeoutSeconds"`
}

// SendConfig is the part for RoleSend.
type SendConfig struct {
	// URI of the folder on a claim whose files are given, and no others.
	URI            string `json:"uri"`
	PVCMount       string `json:"pvcMount"`
	TimeoutSeconds int64  `json:"timeoutSeconds"`
}

// ProgressConfig is where progress is pushed.
type ProgressConfig struct {
	URL string `json:"url"`
	// CAPEM is the only root that is trusted for URL.
	CAPEM string `json:"caPEM"`
	// IntervalSeconds is the least time between two pushes.
	IntervalSeconds int64 `json:"intervalSeconds"`
}

// ParseConfig reads and checks the value of ConfigEnv.
func ParseConfig(raw string) (*Config, error) {
	var c Config
	if err := json.Unmarshal([]byte(raw), &c); err != nil {
		return nil, fmt.Errorf("read %s: %w", ConfigEnv, err)
	}
	if c.Version != Version {
		return nil, fmt.Errorf("%s has version %d, this pose-runner understands %d: manager and runner image are of different releases", ConfigEnv, c.Version, Version)
	}
	part := map[Role]bool{
		RoleCopy:    true,
		RoleAdapter: true,
		RoleFetch:   c.Fetch != nil,
		RolePrepare: c.Prepare != nil,
		RoleExec:    c.Exec != nil,
		RoleDeliver: c.Deliver != nil,
		RoleLookup:  c.Lookup != nil,
		RolePurge:   c.Purge != nil,
		RoleVerify:  c.Verify != nil,
		RoleList:    c.List != nil,
		RoleIndex:   c.Index != nil,
		RoleSend:    c.Send != nil,
	}
	if !part[c.Role] {
		return nil, fmt.Errorf("%s: role %q is unknown or its part is missing", ConfigEnv, c.Role)
	}
	return &c, nil
}
