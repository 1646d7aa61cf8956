// Package posebatch carries out what controllers/internal/batch decides about
// PoseBatches. It holds effects only: reading the cluster, ConfigMaps with the list of
// clips and what became of them, PoseJobs, the batch's own pods, and one status patch.
//
// One reconcile: observe, decide, write records (each the intent of what follows),
// create and delete PoseJobs and pods of many clips, compute the status, patch it. Pods
// that list and index are written down in the status first and made after it.
package posebatch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/batch"
	"github.com/pose-dev/pose-operator/controllers/internal/policy"
	"github.com/pose-dev/pose-operator/controllers/pace"
	"github.com/pose-dev/pose-operator/controllers/podevents"
	"github.com/pose-dev/pose-operator/controllers/posejob"
	"github.com/pose-dev/pose-operator/controllers/removal"
	"github.com/pose-dev/pose-operator/internal/clips"
)

// Reconciler acts on PoseBatches.
type Reconciler struct {
	Client client.Client
	// Reader reads the API server itself, past the cache.
	Reader   client.Reader
	Recorder events.EventRecorder
	Clock    clock.PassiveClock
	Policy   policy.Policy
	Settings settings
	// Jobs says how the PoseJob of a clip would start; nil makes no pods of many clips.
	Jobs Starter
	// Pace spaces writes that tell progress alone; nil writes them all.
	Pace *pace.Pacer

	chunks    chunkCache
	podEvents podevents.Reader
}

// softInterval is the least time between two writes that only say how far a batch is.
const softInterval = 5 * time.Second

// lookAgain is how often a pod is read that the cache does not show.
const lookAgain = 5 * time.Second

// soon is when to come again for work that one reconcile left over.
const soon = time.Millisecond

// observation is one look at a batch.
type observation struct {
	b    *v1alpha1.PoseBatch
	now  time.Time
	pods []corev1.Pod
	jobs map[string]*v1alpha1.PoseJob // by name
	// records of all chunks, in order, and what they say.
	maps    []*corev1.ConfigMap
	records []*batch.Record
	// queued are the pods of many clips that there are, and first is how their clips
	// start, once it was asked.
	queued []batch.QueuePod
	first  *posejob.First
	rep    batch.Report
	// act is done after the status is written.
	act func(context.Context) error
	// failed is why a PoseJob could not be made: the rest is done all the same.
	failed error
	// again is when to look again; zero means only when something changes.
	again time.Duration
}

// sooner makes the next look come no later than in d.
func (o *observation) sooner(d time.Duration) {
	if d > 0 && (o.again == 0 || d < o.again) {
		o.again = d
	}
}

// end the batch.
func (o *observation) end(reason, format string, args ...any) {
	o.rep.End = &batch.End{Failed: true, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Reconcile one PoseBatch.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var b v1alpha1.PoseBatch
	if err := r.Client.Get(ctx, req.NamespacedName, &b); err != nil {
		if apierrors.IsNotFound(err) {
			r.Pace.Forget(pace.Key{Kind: "PoseBatch", NamespacedName: req.NamespacedName})
			_, err := r.pods(ctx, &v1alpha1.PoseBatch{ObjectMeta: metav1.ObjectMeta{Namespace: req.Namespace, Name: req.Name}})
			return ctrl.Result{}, err
		}
		return ctrl.Result{}, fmt.Errorf("get PoseBatch %s: %w", req, err)
	}
	if b.DeletionTimestamp != nil {
		return r.deleting(ctx, &b)
	}
	kept, err := r.removal().KeepFinalizer(ctx, &b, b.Spec.Output.DeletionPolicy == v1alpha1.DeletionDelete)
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: soon}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	o := &observation{b: kept, now: r.Clock.Now()}
	o.rep = batch.Report{Batch: kept, Now: o.now, Listing: kept.Status.Listing.DeepCopy(), Index: kept.Status.Index.DeepCopy()}
	if finished(kept) {
		return r.afterEnd(ctx, o)
	}
	failed := r.step(ctx, o)
	var lost *errLost
	if errors.As(failed, &lost) {
		o.end(v1alpha1.ReasonListLost, "%s. What became of its clips is not known any more; results that were made lie below %s, and another PoseBatch finds them again", lost.what, b.Spec.Output.URI)
		failed = nil
	}
	if failed != nil && !apierrors.IsConflict(failed) {
		return ctrl.Result{}, failed
	}
	if apierrors.IsConflict(failed) {
		return ctrl.Result{RequeueAfter: soon}, nil // somebody wrote meanwhile
	}
	return r.conclude(ctx, o)
}

// step does what is to be done now, up to the status.
func (r *Reconciler) step(ctx context.Context, o *observation) error {
	if why := r.denied(o.b); len(why) > 0 && !batch.Whole(o.b.Status.Listing) {
		o.end(v1alpha1.ReasonPolicyDenied, "%s", strings.Join(why, "; "))
		return nil
	}
	var err error
	if o.pods, err = r.pods(ctx, o.b); err != nil {
		return err
	}
	if batch.Whole(o.b.Status.Listing) {
		return r.run(ctx, o)
	}
	if end := batch.Deadline(o.b); !end.IsZero() && !o.now.Before(end) {
		o.end(v1alpha1.ReasonDeadlineExceeded, "the list of clips was not made within spec.activeDeadlineSeconds (%d s)", *o.b.Spec.ActiveDeadlineSeconds)
		return nil
	}
	o.until(batch.Deadline(o.b))
	return r.list(ctx, o)
}

// pods of the batch. Those of an earlier one of its name are let go: nobody takes down
// what became of them.
func (r *Reconciler) pods(ctx context.Context, b *v1alpha1.PoseBatch) ([]corev1.Pod, error) {
	var pods corev1.PodList
	if err := r.Client.List(ctx, &pods, client.InNamespace(b.Namespace), client.MatchingFields{ownerIndex: b.Name}); err != nil {
		return nil, fmt.Errorf("list pods of PoseBatch %s: %w", client.ObjectKeyFromObject(b), err)
	}
	var own, others []corev1.Pod
	for _, p := range pods.Items {
		if b.UID != "" && controls(b, &p) {
			own = append(own, p)
		} else {
			others = append(others, p)
		}
	}
	return own, r.releaseAll(ctx, others)
}

func (r *Reconciler) releaseAll(ctx context.Context, pods []corev1.Pod) error {
	for i := range pods {
		if err := removal.Release(ctx, r.Client, &pods[i]); err != nil {
			return fmt.Errorf("release pod %s/%s, whose end nobody takes down: %w", pods[i].Namespace, pods[i].Name, err)
		}
	}
	return nil
}

// denied says what the policy has against the batch's PoseJobs, of which each would
// fail for it.
func (r *Reconciler) denied(b *v1alpha1.PoseBatch) []string {
	uri := "s3://videos/any"
	if list := b.Spec.Videos.List; list != "" {
		uri = list // the batch's own pods read it as a job's would its video
	}
	return r.Policy.Denied(batch.Job(b, 0, clips.Clip{URI: uri, Name: "any"}))
}

// run a batch whose clips are listed.
func (r *Reconciler) run(ctx context.Context, o *observation) error {
	if err := r.observe(ctx, o); err != nil {
		return err
	}
	if len(o.records) == 0 {
		o.end(v1alpha1.ReasonNoVideos, "no video is to be found: check spec.videos, its include and exclude, and that the files end as videos do")
		return nil
	}
	plan := r.decide(ctx, o)
	if o.failed != nil {
		return o.failed // not all was known that was decided upon
	}
	if err := r.execute(ctx, o, plan.Steps); err != nil {
		return err
	}
	o.rep.Plan = &plan
	names, err := r.names(ctx, o, plan.Tally.Failures)
	if err != nil {
		return err
	}
	o.rep.Name = func(p batch.Place) string { return names[p.Clip] }
	if plan.More || plan.Stop != nil {
		o.sooner(soon)
	}
	o.until(plan.Until)
	if !plan.Ended {
		return nil
	}
	r.index(o)
	return nil
}

func (r *Reconciler) decide(ctx context.Context, o *observation) batch.Plan {
	return batch.Decide(batch.Input{
		Batch: o.b, Records: o.records, Children: children(o), Queues: o.queued, Offer: r.offer(ctx, o), Finished: finished(o.b), Now: o.now,
	})
}

// children of the batch, as a decision sees them.
func children(o *observation) []batch.Child {
	out := make([]batch.Child, 0, len(o.jobs))
	for _, j := range o.jobs {
		if c, ok := batch.ChildOf(o.b, j); ok {
			out = append(out, c)
		}
	}
	return out
}

// observe the records and PoseJobs of the batch.
func (r *Reconciler) observe(ctx context.Context, o *observation) error {
	b := o.b
	var jobs v1alpha1.PoseJobList
	// They may be a thousand: they are not copied, and not changed here.
	err := r.Client.List(ctx, &jobs, client.InNamespace(b.Namespace), client.MatchingFields{ownerIndex: b.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return fmt.Errorf("list PoseJobs of PoseBatch %s: %w", client.ObjectKeyFromObject(b), err)
	}
	o.jobs = make(map[string]*v1alpha1.PoseJob, len(jobs.Items))
	for i := range jobs.Items {
		o.jobs[jobs.Items[i].Name] = &jobs.Items[i]
	}
	var maps corev1.ConfigMapList
	if err := r.Client.List(ctx, &maps, client.InNamespace(b.Namespace), client.MatchingFields{recordIndex: string(b.UID)}, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list records of PoseBatch %s: %w", client.ObjectKeyFromObject(b), err)
	}
	byName := make(map[string]*corev1.ConfigMap, len(maps.Items))
	for i := range maps.Items {
		byName[maps.Items[i].Name] = &maps.Items[i]
	}
	total := 0
	for i := range int(b.Status.Listing.Chunks) {
		name := batch.RecordName(b, b.Status.Listing.Attempt, i)
		m := byName[name]
		if m == nil {
			if m, err = r.missing(ctx, b, name); err != nil {
				return err
			}
		}
		record, err := batch.DecodeRecord(m.Data)
		if err != nil {
			return &errLost{fmt.Sprintf("ConfigMap %s, a record of the batch, was changed by somebody: %v", name, err)}
		}
		total += len(record.States)
		o.maps, o.records = append(o.maps, m), append(o.records, record)
	}
	if total != int(b.Status.Listing.Clips) {
		return &errLost{fmt.Sprintf("the records of the batch have %d clips, the list had %d", total, b.Status.Listing.Clips)}
	}
	o.queued, err = r.queues(ctx, o)
	return err
}

// missing looks for a record past the cache.
func (r *Reconciler) missing(ctx context.Context, b *v1alpha1.PoseBatch, name string) (*corev1.ConfigMap, error) {
	var m corev1.ConfigMap
	err := r.Reader.Get(ctx, client.ObjectKey{Namespace: b.Namespace, Name: name}, &m)
	if apierrors.IsNotFound(err) {
		return nil, &errLost{fmt.Sprintf("ConfigMap %s, a record of the batch, was deleted", name)}
	}
	if err != nil {
		return nil, fmt.Errorf("read ConfigMap %s/%s: %w", b.Namespace, name, err)
	}
	return &m, nil
}

// names of clips that failed: those that the status has already, and the others from
// their chunks.
func (r *Reconciler) names(ctx context.Context, o *observation, failures []batch.Place) (map[int]string, error) {
	out := map[int]string{}
	for _, f := range o.b.Status.Failures {
		out[int(f.Index)] = f.Name
	}
	for _, p := range failures {
		if _, ok := out[p.Clip]; ok {
			continue
		}
		list, err := r.chunk(ctx, o.b, p.Chunk, len(o.records[p.Chunk].States))
		if err != nil {
			return nil, err
		}
		out[p.Clip] = list[p.Place].Name
	}
	return out, nil
}

// conclude writes the status and does what it says.
func (r *Reconciler) conclude(ctx context.Context, o *observation) (ctrl.Result, error) {
	next := batch.Status(o.rep)
	wait, err := r.write(ctx, o, next)
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: soon}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	o.sooner(wait)
	r.tell(o, next)
	if o.act != nil {
		if err := o.act(ctx); err != nil {
			return ctrl.Result{}, err
		}
	}
	if o.failed != nil {
		return ctrl.Result{}, o.failed
	}
	return ctrl.Result{RequeueAfter: o.again}, nil
}

// write the status if it differs. A positive duration says that the difference is
// soft and may wait so long.
func (r *Reconciler) write(ctx context.Context, o *observation, next v1alpha1.PoseBatchStatus) (time.Duration, error) {
	key := client.ObjectKeyFromObject(o.b)
	paced := pace.Key{Kind: "PoseBatch", NamespacedName: key}
	if batch.Equal(o.b.Status, next) {
		return 0, nil
	}
	if batch.SoftEqual(o.b.Status, next) {
		if wait := r.Pace.Wait(paced, softInterval, o.now); wait > 0 {
			return wait, nil
		}
	}
	updated := o.b.DeepCopy()
	updated.Status = next
	if err := r.Client.Status().Patch(ctx, updated, client.MergeFromWithOptions(o.b, client.MergeFromWithOptimisticLock{})); err != nil {
		return 0, fmt.Errorf("patch status of PoseBatch %s: %w", key, err)
	}
	r.Pace.Wrote(paced, o.now)
	return 0, nil
}

// afterEnd looks after the PoseJobs that are kept.
func (r *Reconciler) afterEnd(ctx context.Context, o *observation) (ctrl.Result, error) {
	if !batch.Whole(o.b.Status.Listing) || o.b.Status.Listing.Chunks == 0 {
		return ctrl.Result{}, nil
	}
	var err error
	if o.pods, err = r.pods(ctx, o.b); err != nil {
		return ctrl.Result{}, err
	}
	err = r.observe(ctx, o)
	var lost *errLost
	if errors.As(err, &lost) {
		return ctrl.Result{}, r.releaseAll(ctx, o.pods) // nobody takes down what became of them
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	plan := r.decide(ctx, o)
	if err := r.execute(ctx, o, plan.Steps); err != nil && !apierrors.IsConflict(err) {
		if lostOf(err) != nil {
			return ctrl.Result{}, r.releaseAll(ctx, o.pods)
		}
		return ctrl.Result{}, err
	}
	if plan.More {
		o.sooner(soon)
	}
	o.until(plan.Until)
	return ctrl.Result{RequeueAfter: o.again}, nil
}

// finished is latched.
func finished(b *v1alpha1.PoseBatch) bool {
	return meta.IsStatusConditionTrue(b.Status.Conditions, v1alpha1.ConditionFinished)
}

// controls says whether o belongs to the batch.
func controls(b *v1alpha1.PoseBatch, o metav1.Object) bool { return metav1.IsControlledBy(o, b) }
