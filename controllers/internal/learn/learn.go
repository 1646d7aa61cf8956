// Package learn remembers across jobs which variants of an engine crash on which
// kind of GPU, and which nodes fail, so that the next job need not find it out
// again.
//
// # What teaches
//
//   - Only how a process ended, as the kubelet or pose-runner saw it. A log can
//     give a crash its name; that the engine died is never taken from one.
//   - A Crash is the death of the engine of a GPU variant while it loads its
//     detector or another model, by a signal of its own or with a non-zero exit.
//   - A NodeFailure is such a death, or one by a fault of the device or without a
//     known cause, or a pod that the kubelet or its runtime could not start.
//   - Memory, disk, shared memory, weights, images, inputs, outputs, deliveries,
//     disruptions and timeouts teach nothing, nor do signals from outside
//     (SIGKILL is how memory ends), nor failures of jobs with resources or a
//     runtime class of their own, or of attempts whose memory was raised.
//   - Every success teaches.
//
// # When a variant is skipped
//
// What is known of a variant is kept by its name, the digest of its image, the
// product of the GPU and its driver. A skip begins with a crash, when
//
//   - three crashes weigh in, and nine in ten attempts crashed. Weights halve
//     every week and are rounded, so that a crash of yesterday is still one;
//   - they are of three different videos and of two namespaces (one on a cluster
//     with a single tenant);
//   - the engine has succeeded with something, somewhere. Where nothing works,
//     something that all jobs share is broken, and nothing is learned of it.
//
// It lasts one hour. After it the next job tries again: a crash that comes after
// the end of a skip renews it for twice as long, at most a day, and one within a
// skip changes nothing but the counts. A success ends a skip, halves the weight
// of the crashes and asks for other videos and namespaces before the next one.
//
// # When a node is avoided
//
// By the same counts, and only softly, for half an hour to twelve hours. A failure
// counts against a node only if the same variant and image have succeeded on the
// same product of GPU: what fails everywhere is not the node's. Another node must
// have a success. A success on the node ends it; one on the CPU says nothing of a
// node whose GPU failed. At most a third of the nodes is avoided at a time.
//
// # Invariants (tested over random histories)
//
//   - One namespace alone never causes a skip or an avoided node, however much it
//     observes; nor do fewer than three videos.
//   - A success that comes last leaves no skip.
//   - Weights never grow by time alone. Folding nothing changes nothing, but for
//     what is too old or gone.
//   - The order in which observations are given does not matter: they count by
//     their times.
//   - At most 64 variants and 64 nodes are kept, and no text is longer than the
//     API admits. What was learned against somebody stays before what was not.
//   - Namespaces and videos are stored as short digests only.
//
// The package is pure: it reads values and returns values.
package learn

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/failure"
)

// Weights are in thousandths of an attempt.
const (
	one      = 1000
	halfLife = 7 * 24 * time.Hour
	// forgotten: crashes that weigh less, taken together, are too old for their
	// videos and namespaces to count beside a new one.
	forgotten = 250
	// maxWeight keeps sums far from overflow.
	maxWeight = 1 << 40
)

// What it takes to act on crashes.
const (
	minCrashes    = 3
	minVideos     = 3
	minNamespaces = 2
	// minShare of the attempts, in tenths.
	minShare = 9
)

// How long it is acted upon.
const (
	firstSkip  = time.Hour
	maxSkip    = 24 * time.Hour
	firstAvoid = 30 * time.Minute
	maxAvoid   = 12 * time.Hour
)

// Bounds of what is kept; the API allows no more.
const (
	maxAge       = 30 * 24 * time.Hour
	maxEntries   = 64
	maxDigests   = 8
	maxAvoided   = 8
	maxVariant   = 63
	maxImage     = 512
	maxProduct   = 128
	maxDriver    = 64
	maxNode      = 253
	maxReason    = 63
	maxCleared   = 256
	maxMessage   = 500
	digestLength = 12
)

// Options of the cluster.
type Options struct {
	// SingleTenant: crashes of one namespace are enough.
	SingleTenant bool
	// Nodes that exist; nil while that is not known.
	Nodes map[string]bool
}

// Kind of an observation.
type Kind string

// Kinds.
const (
	// Crash of a variant, which may be the variant's, the GPU's or the node's.
	Crash Kind = "Crash"
	// NodeFailure says something against the node alone.
	NodeFailure Kind = "NodeFailure"
	// Success of a variant on a node.
	Success Kind = "Success"
)

// Observation is what one attempt teaches.
type Observation struct {
	// ID of the attempt, so that one that is seen twice counts once; see Memory
	// of package poseengine.
	ID        string
	Namespace string
	// Video by digest, or by URI where nothing better is known.
	Video   string
	Variant string
	Device  v1alpha1.Device
	ImageID string
	// GPUProduct and GPUDriver are empty on the CPU.
	GPUProduct, GPUDriver string
	Node                  string
	Kind                  Kind
	Reason                string
	At                    time.Time
}

// key of a LearnedVariant.
type key struct{ variant, image, product, driver string }

func keyOf(e *v1alpha1.LearnedVariant) key {
	return key{e.Variant, e.ImageID, e.GPUProduct, e.GPUDriver}
}

// decay gives what is left of a weight.
func decay(weight int64, since, now time.Time) int64 {
	age := now.Sub(since)
	if age <= 0 {
		return weight
	}
	return int64(float64(weight) * math.Exp2(-float64(age)/float64(halfLife)))
}

// whole attempts of a weight, rounded.
func whole(weight int64) int64 { return (weight + one/2) / one }

// digest tells values apart without telling them.
func digest(value string) string {
	sum := sha256.Sum256([]byte("pose.dev/learn" + value))
	return hex.EncodeToString(sum[:])[:digestLength]
}

// imageDigest is what identifies an image in the words of a node or of a spec;
// the whole of it where it holds no digest.
func imageDigest(id string) string {
	if i := strings.LastIndex(id, "@"); i >= 0 {
		id = id[i+1:]
	} else if i := strings.LastIndex(id, "://"); i >= 0 {
		id = id[i+len("://"):]
	}
	return failure.Clean(id, maxImage)
}

// clean an observation: its words come from labels, kubelets and users.
func clean(o Observation, now time.Time) Observation {
	if o.At.After(now) {
		o.At = now
	}
	o.Namespace, o.Video = digest(o.Namespace), digest(o.Video)
	o.Variant = failure.Clean(o.Variant, maxVariant)
	o.ImageID = imageDigest(o.ImageID)
	o.GPUProduct = failure.Clean(o.GPUProduct, maxProduct)
	o.GPUDriver = failure.Clean(o.GPUDriver, maxDriver)
	o.Node = failure.Clean(o.Node, maxNode)
	o.Reason = failure.Clean(o.Reason, maxReason)
	return o
}

// stamp is a time as the API stores it.
func stamp(t time.Time) *metav1.Time {
	s := metav1.NewTime(t).Rfc3339Copy()
	return &s
}

func after(t *metav1.Time, now time.Time) bool { return t != nil && t.After(now) }
