package report

// ProgressPath is the path of the manager's endpoint that takes a Progress by
// POST, authenticated by the pod's projected token as a bearer token.
const ProgressPath = "/v1/progress"

// ProgressAudience is the audience that the token is bound to.
const ProgressAudience = "pose.dev/progress"

// HeaderNext of an answer says in how many seconds the next push is of use: with many
// jobs at work the manager writes each more seldom.
const HeaderNext = "Pose-Next-Seconds"

// MaxNextSeconds bounds it: a stage that ends is to be seen.
const MaxNextSeconds = 300

// MaxProgressBytes bounds the body of one push.
const MaxProgressBytes = 4096

// Progress is one push. Which attempt it belongs to is read from the token (the
// pod's name and UID), never from the body.
type Progress struct {
	Version int    `json:"v"`
	Role    Role   `json:"role"`
	Stage   string `json:"stage"`
	// Frames done and in total; zero total means not known yet.
	Frames int64 `json:"frames,omitempty"`
	Total  int64 `json:"total,omitempty"`
	// MilliFPS is the current pace in thousandths of frames per second.
	MilliFPS int64 `json:"milliFPS,omitempty"`
	// BestMilliFPS is the fastest pace that the engine kept up for a while, and
	// TrackedSeconds how long ago its first frame was done: whether it can meet a
	// deadline is judged by these.
	BestMilliFPS   int64 `json:"bestMilliFPS,omitempty"`
	TrackedSeconds int64 `json:"trackedSeconds,omitempty"`
	// Bytes and TotalBytes are set while fetching and uploading.
	Bytes      int64 `json:"bytes,omitempty"`
	TotalBytes int64 `json:"totalBytes,omitempty"`
}

// Stages that the runner itself enters; the engine's own lie between them.
const (
	StageFetch   = "Fetch"
	StagePrepare = "Prepare"
	StageStart   = "EngineStart" // the engine runs and has said nothing yet
	StageDeliver = "Deliver"
	// StagePreflight is the name under which a preflight's time is kept. What a
	// report calls its stage while it runs is PreflightConfig.Stage.
	StagePreflight = "Preflight"
)
