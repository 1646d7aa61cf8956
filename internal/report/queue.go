package report

import (
	"encoding/base64"
	"encoding/hex"
)

// QueueConfig makes one pod of a PoseBatch work through many clips: the engine loads
// once, and while it works on one clip the next is fetched and the last delivered.
// The roles lookup, fetch, prepare, exec and deliver then run side by side, each as
// a loop over Clips; what their own parts say holds for every clip, and what differs
// is put in from the list: the video's URI, the output's folder, the job's name.
type QueueConfig struct {
	// Clips by their numbers in the batch's list, in the order in which they are
	// worked on. At most MaxQueueClips.
	Clips []int32 `json:"clips"`
	// First is the number of the first clip of the chunk in QueueFile.
	First int32 `json:"first"`
	// JobPrefix, "-" and a clip's number are the name of the PoseJob that the clip
	// has, or would have: its results are that job's.
	JobPrefix string `json:"jobPrefix"`
	// Look says that the pod has a container lookup, and every clip waits for what it
	// finds.
	Look bool `json:"look,omitempty"`
	// ClipSeconds bounds the engine's work on one clip; 0 means no bound. A clip that
	// takes longer ends the engine.
	ClipSeconds int64 `json:"clipSeconds,omitempty"`
	// Line is what the lines to the engine have in common.
	Line ClipLine `json:"line"`
}

// ClipLine is one line of docs/clips.md to the engine, without Clip, Video and
// OutputDir where it stands in a QueueConfig.
type ClipLine struct {
	Clip          int32   `json:"clip"`
	Video         string  `json:"video"`
	OutputDir     string  `json:"outputDir"`
	StartFrame    int64   `json:"startFrame"`
	CaptureFPS    float64 `json:"captureFPS"`
	FocalLengthPx int64   `json:"focalLengthPx"`
	MaxPeople     int32   `json:"maxPeople"`
	Boxes         string  `json:"boxes"`
	Overlay       string  `json:"overlay"` // none, blurred or full
}

// Bounds of a queue.
const (
	// MaxQueueClips in one pod: what is said of each has to fit into a termination
	// message.
	MaxQueueClips = 50
	// QueueWindow is how many clips lie in the pod at once: one to come, one at work,
	// one being delivered. The pod's disk holds so many.
	QueueWindow = 3
	// MaxQueueMessageBytes bounds the termination messages of deliver and the engine: the
	// kubelet divides 12 KiB among all containers, of which a queue's pod has seven, and
	// two more where somebody adds some. 50 clips with their digests take 900.
	MaxQueueMessageBytes = 1300
)

// QueueFile is the chunk of the batch's list, in the containers of a queue that read
// or write places: gzip, see internal/clips.
const QueueFile = BatchDir + "/" + ClipsFile + "0"

// Marks of clips in a QueueReport.
const (
	QueueWaiting   = '.' // nothing is known of it: it was not begun, or nobody could say
	QueueDelivered = 'S'
	QueueReused    = 'R' // a verified result was there already
	QueueFailed    = 'F' // it was tried, and has no result
)

// QueueReport is deliver's word on the clips of its pod. It is in the termination
// message from the first clip on, rewritten after each: a pod that is killed has said
// what was proven before.
type QueueReport struct {
	// States has one mark a clip, in the order of QueueConfig.Clips.
	States string `json:"states"`
	// Digests holds, for each S and R in their order, the ShortDigest of its manifest.
	Digests string `json:"digests,omitempty"`
	// Why the last clip failed that failed, for a person.
	Why string `json:"why,omitempty"`
}

// ClipAnswer is what an engine said of one clip, in the order in which it said it.
type ClipAnswer struct {
	Clip int32 `json:"clip"`
	// Code is empty for a result, else the engine's word for its error, or
	// CodeEnded for a clip that was begun and not answered.
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	// StageSeconds is how long each stage took for this clip; the first clip's has
	// the loading.
	StageSeconds map[string]float64 `json:"stageSeconds,omitempty"`
}

// CodeEnded is the Code of the clip at which the engine's process ended.
const CodeEnded = "ENDED"

// shortDigestBytes of a sha256 are kept where there is one for each clip of a batch:
// 96 bits, which nobody finds a second manifest for.
const shortDigestBytes = 12

// ShortDigestLen is the length of a ShortDigest.
var ShortDigestLen = base64.RawURLEncoding.EncodedLen(shortDigestBytes)

// ShortDigest of a manifest, by its sha256 in hex; empty for what is none.
func ShortDigest(sha256 string) string {
	raw, err := hex.DecodeString(sha256)
	if err != nil || len(raw) != 32 {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(raw[:shortDigestBytes])
}
