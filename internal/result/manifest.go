package result

import (
	"time"

	"github.com/pose-dev/pose-operator/internal/report"
)

// APIVersion of the documents in an output folder.
const APIVersion = "pose.dev/v1alpha1"

// Kinds of the documents in an output folder.
const (
	KindResult   = "PoseResult"
	KindManifest = "PoseManifest"
	KindPointer  = "PosePointer"
)

// ManifestFile is the name of an attempt's Manifest and of the root's Pointer.
const ManifestFile = "manifest.json"

// ManifestVersion is the version of the manifest's format. It changes when an older
// reader would misread a newer manifest; new members alone do not change it.
const ManifestVersion = 1

// AttemptsDir is the folder below the output URI that holds one folder an attempt.
const AttemptsDir = "attempts"

// Manifest describes one attempt's result. It is written after every file that
// it names: a folder without it is not a result. docs/manifest.md says it for users.
type Manifest struct {
	APIVersion string        `json:"apiVersion"`
	Kind       string        `json:"kind"`
	Version    int           `json:"version"` // of this format
	Job        report.JobRef `json:"job"`
	AttemptID  string        `json:"attemptID"`
	// Video describes what the engine read, and names the source by its digest.
	Video      report.VideoFacts `json:"video"`
	Provenance report.Provenance `json:"provenance"`
	// RunnerVersion is the release of the pose-runner that checked and delivered
	// the files; that of the operator is Provenance.OperatorVersion.
	RunnerVersion string `json:"runnerVersion,omitempty"`
	// Engine is what pose.json says of the engine and its model files; nil in
	// manifests of earlier releases.
	Engine *Engine `json:"engine,omitempty"`
	// Run is what pose-runner saw of the engine; nil where it did not start it.
	Run    *EngineRun        `json:"run,omitempty"`
	People int64             `json:"people"`
	Frames int64             `json:"frames"`
	Files  []ManifestFileRef `json:"files"`
	// Quality as pose.json has it; nil where it has none.
	Quality *Quality `json:"quality,omitempty"`
	// FetchedAt is when fetch had the video, PreparedAt when prepare had made of
	// it what the engine reads; nil where that is not known.
	FetchedAt  *time.Time `json:"fetchedAt,omitempty"`
	PreparedAt *time.Time `json:"preparedAt,omitempty"`
	// StartedAt is when deliver began to wait for the engine, EngineEndedAt when
	// the engine ended, CompletedAt when all files were uploaded. UTC.
	StartedAt     time.Time `json:"startedAt"`
	EngineEndedAt time.Time `json:"engineEndedAt"`
	CompletedAt   time.Time `json:"completedAt"`
}

// EngineRun is what was seen of an engine while it ran: what its process did, and
// what it had loaded.
type EngineRun struct {
	// DeviceUsed is GPU or CPU, empty where nobody could tell.
	DeviceUsed string `json:"deviceUsed,omitempty"`
	// GPU and Driver are what nvidia-smi said.
	GPU    string `json:"gpu,omitempty"`
	Driver string `json:"driver,omitempty"`
	// PeakMemoryBytes of the engine's container.
	PeakMemoryBytes int64 `json:"peakMemoryBytes,omitempty"`
	// StageSeconds is how long each stage took.
	StageSeconds map[string]float64 `json:"stageSeconds,omitempty"`
	// Versions of what the engine had loaded, by name: python, torch and so on.
	Versions map[string]string `json:"versions,omitempty"`
}

// ManifestFileRef is one file of a result.
type ManifestFileRef struct {
	Name      string `json:"name"`
	Path      string `json:"path"` // relative to the manifest
	Size      int64  `json:"size"` // bytes
	SHA256    string `json:"sha256"`
	MediaType string `json:"mediaType"`
}

// Pointer is the root's small document that leads to the current attempt.
// DecidePointer says who may replace it.
type Pointer struct {
	APIVersion     string        `json:"apiVersion"`
	Kind           string        `json:"kind"`
	Job            report.JobRef `json:"job"`
	Attempt        int32         `json:"attempt"`
	AttemptID      string        `json:"attemptID"`
	URI            string        `json:"uri"` // of the attempt's folder
	ManifestSHA256 string        `json:"manifestSHA256"`
	// StartedAt is the attempt's, UTC; nil in pointers of earlier releases.
	StartedAt *time.Time `json:"startedAt,omitempty"`
}
