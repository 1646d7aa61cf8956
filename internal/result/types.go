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
}

// Coordinates says where axes point.
type Coordinates struct {
	Image          string `json:"image"`
	Joints3D       string `json:"joints3d,omitempty"`
	Joints3DOrigin string `json:"joints3dOrigin,omitempty"`
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
}
