package report

import "github.com/pose-dev/pose-operator/internal/clips"

// Paths in the pods of a batch.
const (
	// BatchDir holds the list of clips and what became of them, in the pod that
	// writes the index: ClipsFile, StatesFile, FailuresFile and DigestsFile of each chunk.
	BatchDir = "/pose/batch"
	// ScratchDir is that pod's own disk.
	ScratchDir = "/pose/scratch"
	// Files of a chunk below BatchDir begin so and end with its number.
	ClipsFile    = "clips-"
	StatesFile   = "states-"
	FailuresFile = "failures-"
	DigestsFile  = "digests-"
)

// BatchFile is what the index of a batch is called below its output.
const BatchFile = "batch.json"

// ListConfig is the part for RoleList: it finds the videos of a batch and pushes
// them to the manager, page by page.
type ListConfig struct {
	// Prefix is a folder to list; List the URI of a file that lists. One of them.
	Prefix string `json:"prefix,omitempty"`
	List   string `json:"list,omitempty"`
	// Include and Exclude are patterns of names: PoseBatch's spec.videos has them.
	Include []string `json:"include,omitempty"`
	Exclude []string `json:"exclude,omitempty"`
	// Output of the batch: what lies below it are results and no videos.
	Output string `json:"output,omitempty"`
	// MaxVideos is the most that the list may have.
	MaxVideos int32       `json:"maxVideos"`
	Store     StoreConfig `json:"store"`
	PVCMount  string      `json:"pvcMount,omitempty"`
	// Push is where pages go: the URL of ClipsPath.
	Push ProgressConfig `json:"push"`
	// TimeoutSeconds bounds the whole role.
	TimeoutSeconds int64 `json:"timeoutSeconds"`
}

// ClipsPath is the path of the manager's endpoint that takes a ClipsPage by POST,
// authenticated as ProgressPath is.
const ClipsPath = "/v1/clips"

// MaxClipsPageBytes bounds the body of one push: a chunk whose text grew by JSON's
// escaping.
const MaxClipsPageBytes = 2*clips.MaxChunkBytes + 4096

// ClipsPage is one push of RoleList: one chunk of the list, whose names rise from
// page to page. Which batch it belongs to is read from the token. The same page may
// come twice.
type ClipsPage struct {
	Version int          `json:"v"`
	Page    int32        `json:"page"` // from 0
	Clips   []clips.Clip `json:"clips"`
}

// ListReport says what a list came to.
type ListReport struct {
	Pages int32 `json:"pages"`
	Clips int32 `json:"clips"`
	// Skipped is how many of the things found cannot be named by a URI.
	Skipped int32 `json:"skipped,omitempty"`
	// Seen is how many objects, or lines, were looked at.
	Seen int64 `json:"seen"`
}

// IndexConfig is the part for RoleIndex: it writes the index of a batch whose clips
// all ended. Config.Job names the batch.
type IndexConfig struct {
	// URI of the batch's output; the results of a clip lie in the folder of its name
	// below it.
	URI      string      `json:"uri"`
	PVCMount string      `json:"pvcMount,omitempty"`
	Store    StoreConfig `json:"store"`
	// Overwrite lets it replace the index of another batch, and a foreign file.
	Overwrite bool `json:"overwrite,omitempty"`
	// Chunks below BatchDir.
	Chunks int32 `json:"chunks"`
	// StartedAt of the batch, RFC 3339, and why it was stopped early; empty when it
	// was not.
	StartedAt string `json:"startedAt,omitempty"`
	Stopped   string `json:"stopped,omitempty"`
	// OperatorVersion goes into the index.
	OperatorVersion string `json:"operatorVersion,omitempty"`
	// TimeoutSeconds bounds the whole role.
	TimeoutSeconds int64 `json:"timeoutSeconds"`
}

// IndexReport says what was written.
type IndexReport struct {
	URI    string `json:"uri"`
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
	Clips  int32  `json:"clips"`
	// Missing is how many clips succeeded and have no result that can be read.
	Missing int32 `json:"missing,omitempty"`
}
