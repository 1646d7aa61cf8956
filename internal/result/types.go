// Package result knows the files of a result: pose.json (docs/pose-json.md) and
// the manifests beside it.
package result

// Document is pose.json. Validate reads it as a stream; the type is for readers
// of files that fit into memory.
type Document struct {
	APIVersion  string      `json:"apiVersion"`
	Kind        string      `json:"kind"`
	Video       Video       `json:"video"`
	Engine      Engine      `json:"engine"`
	Skeleton    Skeleton    `json:"skeleton"`
	Units       Units       `json:"units"`
	Coordinates Coordinates `json:"coordinates"`
	Camera      *Camera     `json:"camera,omitempty"`
	Quality     *Quality    `json:"quality,omitempty"`
	Parametric  *Parametric `json:"parametric,omitempty"`
	People      []Track     `json:"people"`
	Frames      []Frame     `json:"frames"`
}

// Video is what the coordinates refer to.
type Video struct {
	Width           int64   `json:"width"`  // pixels, after rotation
	Height          int64   `json:"height"` // pixels, after rotation
	FPS             float64 `json:"fps"`
	Frames          int64   `json:"frames"`
	StartFrame      int64   `json:"startFrame"`
	DurationSeconds float64 `json:"durationSeconds"`
	// CaptureFPS is the rate at which the scene was recorded, where the file plays
	// slower or faster than the world went; 0 means FPS. Use WorldFPS.
	CaptureFPS float64 `json:"captureFPS,omitempty"`
}

// WorldFPS is how many frames the camera took in a second of the world.
func (v Video) WorldFPS() float64 {
	if v.CaptureFPS > 0 {
		return v.CaptureFPS
	}
	return v.FPS
}

// Engine is what the engine says of itself.
type Engine struct {
	Name    string  `json:"name"`
	Version string  `json:"version"`
	Device  string  `json:"device"` // CPU or GPU
	Models  []Model `json:"models"`
}

// Model is one model file.
type Model struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

// Skeleton names the joints.
type Skeleton struct {
	Name   string   `json:"name"`
	Joints []string `json:"joints"`
	Edges  [][2]int `json:"edges"`
}

// Units of the numbers in people.
type Units struct {
	BBox     string `json:"bbox"`
	Joints2D string `json:"joints2d"`
	Joints3D string `json:"joints3d,omitempty"`
	// Translation is "metres" exactly when people carry a translation.
	Translation string `json:"translation,omitempty"`
}

// Coordinates says where axes point.
type Coordinates struct {
	Image          string `json:"image"`
	Joints3D       string `json:"joints3d,omitempty"`
	Joints3DOrigin string `json:"joints3dOrigin,omitempty"`
}

// Models of a camera.
const (
	// CameraPinhole projects a point (X, Y, Z) of the camera's frame, in metres, to
	// f·X/Z + cx, f·Y/Z + cy.
	CameraPinhole = "pinhole"
	// CameraWeakPerspective divides by the z of the person's translation instead:
	// all joints of a person are as far away as their hips.
	CameraWeakPerspective = "weak-perspective"
)

// Origins of a focal length.
const (
	FocalLengthGiven         = "Given"         // by whoever made the job
	FocalLengthEngineDefault = "EngineDefault" // assumed by the engine, whatever the camera was
	FocalLengthEstimated     = "Estimated"     // from the video
)

// Camera is the camera that translations were computed for.
type Camera struct {
	Model             string     `json:"model"`
	FocalLengthPx     float64    `json:"focalLengthPx"` // pixels of the frame
	FocalLengthOrigin string     `json:"focalLengthOrigin"`
	PrincipalPoint    [2]float64 `json:"principalPoint"` // cx, cy in pixels of the frame
	Caveats           []string   `json:"caveats,omitempty"`
}

// Quality says what is missing from a result. Nil means that the engine does not
// count it.
type Quality struct {
	Coverage            float64 `json:"coverage"` // share of frames in which somebody was observed, 0..1
	Gaps                int64   `json:"gaps"`     // runs of frames inside tracks in which the person was not observed
	IDSwitchesSuspected *int64  `json:"idSwitchesSuspected,omitempty"`
	// PeopleFiltered is how many were detected and left out, being too small or
	// too short in the picture.
	PeopleFiltered *int64 `json:"peopleFiltered,omitempty"`
	// PeopleNotSelected is how many more there were than the job wanted.
	PeopleNotSelected *int64 `json:"peopleNotSelected,omitempty"`
}

// Parametric names the file beside pose.json that holds a body model's parameters.
type Parametric struct {
	Model string `json:"model"` // SMPL
	File  string `json:"file"`  // a plain file name; see SMPL
}

// Track is one person throughout the video.
type Track struct {
	ID         int64 `json:"id"`
	FirstFrame int64 `json:"firstFrame"`
	LastFrame  int64 `json:"lastFrame"`
	FramesSeen int64 `json:"framesSeen"`
}

// Frame is one frame.
type Frame struct {
	Index  int64    `json:"index"`
	Time   *float64 `json:"time,omitempty"` // seconds, the source's timestamp
	People []Person `json:"people"`
}

// Person is one person in one frame.
type Person struct {
	ID       int64        `json:"id"`
	BBox     [4]float64   `json:"bbox"` // x, y, width, height in pixels
	Score    float64      `json:"score"`
	Observed *bool        `json:"observed,omitempty"` // nil means true
	Joints2D [][3]float64 `json:"joints2d"`           // x, y in pixels, visibility
	Joints3D [][3]float64 `json:"joints3d,omitempty"` // metres
	// Translation is where the origin of Joints3D stands: x right, y down, z
	// forward from the camera, in metres.
	Translation *[3]float64 `json:"translation,omitempty"`
}
