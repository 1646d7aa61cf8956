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

// AttemptsDir is the folder below the output URI that holds one folder an attempt.
const AttemptsDir = "attempts"

// Manifest describes one attempt's result. It is written after every file that
// it names: a folder without it is not a result.
type Manifest struct {
	APIVersion string        `json:"apiVersion"`
	Kind       string        `json:"kind"`
	Version    int           `json:"version"` // of this format
	Job        report.JobRef `json:"job"`
	AttemptID  string        `json:"attemptID"`
	// Video describes what the engine read, and names the source by its digest.
	Video      report.VideoFacts `json:"video"`
	Provenance report.Provenance `json:"provenance"`
	People     int64             `json:"people"`
	Frames     int64             `json:"frames"`
	Files      []ManifestFileRef `json:"files"`
	// StartedAt is when deliver began to wait for the engine, EngineEndedAt when
	// the engine ended, CompletedAt when all files were uploaded. UTC.
	StartedAt     time.Time `json:"startedAt"`
	EngineEndedAt time.Time `json:"engineEndedAt"`
	CompletedAt   time.Time `json:"completedAt"`
}

// ManifestFileRef is one file of a result.
type ManifestFileRef struct {
	Name      string `json:"name"`
	Path      string `json:"path"` // relative to the manifest
	Size      int64  `json:"size"` // bytes
	SHA256    string `json:"sha256"`
	MediaType string `json:"mediaType"`
}

// Pointer is the root's small document that leads to the current attempt. It is
// replaced by attempts of the same job, and by another job only if that has the
// same namespace and name: a job that was deleted and made again continues the
// output of its predecessor, although its UID is another. Among attempts of one
// UID the highest number stays.
type Pointer struct {
	APIVersion     string        `json:"apiVersion"`
	Kind           string        `json:"kind"`
	Job            report.JobRef `json:"job"`
	Attempt        int32         `json:"attempt"`
	AttemptID      string        `json:"attemptID"`
	URI            string        `json:"uri"` // of the attempt's folder
	ManifestSHA256 string        `json:"manifestSHA256"`
}
