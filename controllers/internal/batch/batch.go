// Package batch decides what a PoseBatch does next, and what its status says. It is
// a pure function of the batch, the records of its clips, its PoseJobs and the time.
//
// # What is kept where
//
// The list of clips is made once and never changes: immutable ConfigMaps, each a
// chunk of at most a thousand clips. Beside each chunk lies its record, a small
// ConfigMap with one character a clip:
//
//	.  nothing was done for it
//	r  it has a PoseJob, or is about to
//	S  it succeeded      F  it failed      C  it was cancelled
//
// and with the sums over its clips that ended. Nothing else is remembered: counts
// are sums over records. The status of the batch only repeats them.
//
// # Rules
//
//  1. A PoseJob that ended is accounted for: its clip's r becomes S or F, and what it
//     used is added to the record's sums, in one write under the resourceVersion that
//     was read. S, F and C never change again.
//  2. A batch is stopped, for good, when more clips failed than spec.failurePolicy
//     admits, when its deadline is over, or when its budget is used up, clips are
//     left and none runs. That is written before anything is ended.
//  3. Of a stopped batch, clips without a PoseJob become C; those that run become C
//     and their PoseJobs are deleted after that is written.
//  4. A PoseJob is deleted only when its clip is S, F or C in the record. Of S and F
//     the newest are kept, as many as spec says; all of S where their results would
//     go with them.
//  5. A suspended batch starts nothing, and its PoseJobs that run are suspended.
//  6. As long as fewer clips run than spec.parallelism, and there is budget left, the
//     next clips of the list become r, and their PoseJobs are created after that is
//     written. The budget counts what PoseJobs that run have used so far.
//  7. A clip that is r and whose PoseJob is not to be seen is looked for past the
//     cache, record and PoseJob; if it is still r, its PoseJob is created. So a
//     PoseJob that a person deletes is made again.
//  8. A batch whose clips are all S, F or C, and whose cancelled PoseJobs are gone,
//     gets its index written.
//
// # Invariants
//
//   - The counts of a batch sum up to its clips, and never go backwards but for
//     running.
//   - What a PoseJob used is counted once, whatever dies when: counting it and
//     marking its clip is one write.
//   - No more than spec.parallelism clips are r, unless spec.parallelism was made
//     smaller, or a manager began on an old copy of a record; it then begins no more
//     until enough ended.
//   - A clip that is S, F or C gets no PoseJob: every creation follows a write of its
//     record, or a read of it, that no older copy of it can pass.
//   - The work of one decision is bounded, whatever the size of the batch.
package batch

import (
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// Bounds of the steps of one decision.
const (
	maxCreate  = 50
	maxDelete  = 50
	maxRecords = 20
)

// MaxPodAttempts is how many pods are made to list or to index.
const MaxPodAttempts = 5

// nameRoom is what is kept of a batch's name: a PoseJob's pods carry 46 characters
// of its name, and the end tells clips apart.
const nameRoom = 33

// prefix of all names of what belongs to a batch. The uid keeps a batch that is
// created again under its old name apart from its former life.
func prefix(b *v1alpha1.PoseBatch) string {
	return strings.TrimRight(b.Name[:min(len(b.Name), nameRoom)], "-.") + "-" + shortUID(b.UID)
}

func shortUID(uid types.UID) string {
	s := strings.ReplaceAll(string(uid), "-", "")
	return s[:min(5, len(s))]
}

// JobName of the PoseJob of a clip.
func JobName(b *v1alpha1.PoseBatch, clip int) string { return fmt.Sprintf("%s-%d", prefix(b), clip) }

// ClipOf gives the clip that a PoseJob's name ends with.
func ClipOf(b *v1alpha1.PoseBatch, job string) (int, bool) {
	digits, ok := strings.CutPrefix(job, prefix(b)+"-")
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n >= 0 && JobName(b, n) == job
}

// ChunkName of a chunk that an attempt to list made.
func ChunkName(b *v1alpha1.PoseBatch, attempt int32, chunk int) string {
	return fmt.Sprintf("%s-clips-%d-%d", prefix(b), attempt, chunk)
}

// RecordName of the record of a chunk.
func RecordName(b *v1alpha1.PoseBatch, attempt int32, chunk int) string {
	return fmt.Sprintf("%s-record-%d-%d", prefix(b), attempt, chunk)
}

// PodName of a pod that lists or indexes.
func PodName(b *v1alpha1.PoseBatch, purpose string, attempt int32) string {
	return fmt.Sprintf("%s-%s-%d", prefix(b), purpose, attempt)
}

// Labels of everything that belongs to a batch.
func Labels(b *v1alpha1.PoseBatch) map[string]string {
	return map[string]string{
		"app.kubernetes.io/name":       "pose-batch",
		"app.kubernetes.io/managed-by": "pose-operator",
		v1alpha1.LabelBatch:            strings.TrimRight(b.Name[:min(len(b.Name), 63)], "-."),
		v1alpha1.LabelBatchUID:         string(b.UID),
	}
}
