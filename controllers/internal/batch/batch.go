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
//	a  a pod of many clips could not do it: it goes alone
//	q  it is in a pod of many clips, or is about to be
//	r  it has a PoseJob, or is about to
//	S  it succeeded      F  it failed      C  it was cancelled
//
// with the sums over its clips that ended, and with the pods of many clips that it has
// clips in: each by its number, which is never used again, with its clips, its uid once
// it was seen, and why it is being ended, if it is. Nothing else is remembered: counts
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
//     and their PoseJobs are deleted after that is written. Its pods of many clips are
//     ended and accounted for: what they delivered is S, and the rest becomes C.
//  4. A PoseJob is deleted only when its clip is S, F or C in the record. Of S and F
//     the newest are kept, as many as spec says.
//  5. A suspended batch starts nothing, its PoseJobs that run are suspended, and its
//     pods of many clips are ended.
//  6. As long as fewer PoseJobs and pods of many clips run than spec.parallelism, and
//     there is budget left, the next clips of the list become q or r, and their pods and
//     PoseJobs are created after that is written. The budget counts what those that run
//     have used so far. Pods of many clips are ended once it is used up.
//  7. A clip that is r and whose PoseJob is not to be seen is looked for past the
//     cache, record and PoseJob; if it is still r, its PoseJob is created. So a
//     PoseJob that a person deletes is made again.
//  8. A batch whose clips are all S, F or C, and whose cancelled PoseJobs are gone,
//     gets its index written.
//
// Of pods of many clips:
//
//  9. One is made of clips that are ., of one chunk and with videos on the same claim or
//     image, or on none: at most spec.clipsPerPod, and at least two. It is made only
//     where the variant that their PoseJobs would start with works through many clips.
//  10. One that a record has and that nobody sees is asked for past the cache. If it
//     is not there and never was, and the record, read past the cache, still says so, it
//     is created under its name. If it was, it is gone.
//  11. One that ended, or is gone, is accounted for in one write: its clips become S
//     where deliver said so, a where that said that they failed, and . else; what its
//     engine used is added to the sums; and the record has it no more. After that it
//     is let go.
//  12. One of which no clip came to an end, for which nobody else is to blame, has its
//     first clip become a. Once the pods without a result are three more than those
//     with one, no more are made.
//  13. One is ended for suspend, for the stop, for the budget, and where it cannot
//     start within the bounds of a PoseJob's attempt, or goes on after its deliver ended.
//     That is written before it is deleted.
//  14. One that no record speaks of, read past the cache, is let go and deleted.
//
// # Invariants
//
//   - The counts of a batch sum up to its clips. Succeeded, failed and cancelled never
//     go backwards.
//   - What a PoseJob or a pod of many clips used is counted once, whatever dies when:
//     counting it and marking its clips is one write.
//   - A clip is in one live pod of many clips at most, and has no PoseJob meanwhile: it
//     is q until that pod has ended.
//   - No more than spec.parallelism PoseJobs and pods of many clips are intended, unless
//     spec.parallelism was made smaller, or a manager began on an old copy of a record;
//     it then begins no more until enough ended.
//   - A clip that is S, F or C gets no PoseJob and no pod: every creation follows a
//     write of its record, or a read of it, that no older copy of it can pass.
//   - Every pod of many clips brings a clip to an end, or sends one off alone, or counts
//     as one without a result, but those that were ended for suspend: so the batch ends.
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

// JobPrefix and "-" and a clip's number are the name of its PoseJob.
func JobPrefix(b *v1alpha1.PoseBatch) string { return prefix(b) }

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
