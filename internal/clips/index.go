package clips

import (
	"encoding/json"
	"fmt"
	"io"
)

// APIVersion and KindIndex of the index of a batch, IndexVersion of its format.
const (
	APIVersion   = "pose.dev/v1alpha1"
	KindIndex    = "PoseBatchIndex"
	IndexVersion = 1
)

// IndexHead is the index of a batch without its clips, which follow it as the last
// member, "clips", in the order of their names.
type IndexHead struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Version    int      `json:"version"` // of this format
	Batch      BatchRef `json:"batch"`
	// URI of the batch's output.
	URI string `json:"uri"`
	// StartedAt of the batch and CompletedAt of the index, RFC 3339.
	StartedAt   string `json:"startedAt,omitempty"`
	CompletedAt string `json:"completedAt"`
	// Stopped says why the batch was ended early; empty where it was not.
	Stopped         string      `json:"stopped,omitempty"`
	OperatorVersion string      `json:"operatorVersion,omitempty"`
	Counts          IndexCounts `json:"counts"`
}

// BatchRef names the batch.
type BatchRef struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
}

// IndexCounts are the clips by what became of them.
type IndexCounts struct {
	Total     int32 `json:"total"`
	Succeeded int32 `json:"succeeded"`
	Failed    int32 `json:"failed"`
	Cancelled int32 `json:"cancelled"`
}

// States of an IndexEntry.
const (
	StateSucceeded = "Succeeded"
	StateFailed    = "Failed"
	StateCancelled = "Cancelled"
)

// IndexEntry is what became of one clip.
type IndexEntry struct {
	Name  string `json:"name"`
	Video string `json:"video"`
	State string `json:"state"`
	// Result is the URI of the folder with the files, ManifestSHA256 the digest of
	// the manifest.json in it. Of a clip that succeeded and whose result could not be
	// read when the index was written, both are empty and Message says why.
	Result         string `json:"result,omitempty"`
	ManifestSHA256 string `json:"manifestSHA256,omitempty"`
	People         *int64 `json:"people,omitempty"`
	Frames         *int64 `json:"frames,omitempty"`
	// Job that computed the result, as namespace/name.
	Job string `json:"job,omitempty"`
	// Reason and Message of a clip that failed.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// IndexWriter writes an index entry by entry, so that it needs no memory for all.
type IndexWriter struct {
	w     io.Writer
	first bool
}

// NewIndexWriter writes the head.
func NewIndexWriter(w io.Writer, head IndexHead) (*IndexWriter, error) {
	b, err := json.Marshal(head)
	if err != nil {
		return nil, fmt.Errorf("encode the index: %w", err)
	}
	// An object's last byte is its brace: the clips go in front of it.
	_, err = fmt.Fprintf(w, "%s,\"clips\":[", b[:len(b)-1])
	return &IndexWriter{w: w, first: true}, err
}

// Add an entry.
func (x *IndexWriter) Add(e IndexEntry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode an entry of the index: %w", err)
	}
	comma := ",\n"
	if x.first {
		comma, x.first = "\n", false
	}
	_, err = fmt.Fprintf(x.w, "%s%s", comma, b)
	return err
}

// Close writes the end.
func (x *IndexWriter) Close() error {
	_, err := io.WriteString(x.w, "\n]}\n")
	return err
}
