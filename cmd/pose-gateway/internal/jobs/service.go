// Package jobs is the gateway's side of Kubernetes: PoseJobs made, shown, followed and
// removed. It acts with the gateway's own rights; who may have it act is asked before.
package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/auth"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/place"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
)

// Labels and annotations of jobs that the gateway made.
const (
	labelManagedBy = "app.kubernetes.io/managed-by"
	managedBy      = "pose-gateway"
	// labelUpload carries the id of the upload that the job's video is.
	labelUpload = "pose.dev/upload"
	// annotationName carries the cleaned name of the video's file, annotationUser who
	// sent it.
	annotationName = "pose.dev/upload-name"
	annotationUser = "pose.dev/upload-user"
	// annotationCancelled on a suspended job says that it is not to go on.
	annotationCancelled = "pose.dev/cancelled"
	// annotationDeleting on a job says that its video is being removed: no other job may
	// be made of it.
	annotationDeleting = "pose.dev/deleting"
)

// Defaults of the jobs that are made.
type Defaults struct {
	Engine         string
	Overlay        v1alpha1.Overlay
	DeletionPolicy v1alpha1.DeletionPolicy
	// TTLSeconds after which a finished job is deleted; nil keeps it.
	TTLSeconds *int32
	// Secret with the store's credentials, in the jobs' namespace; empty for none.
	Secret string
	// ServiceAccount of the jobs' pods; empty for the default.
	ServiceAccount string
}

// Service makes and shows PoseJobs.
type Service struct {
	// Client reads from a cache that has the gateway's own writes.
	Client client.Client
	// Plain is for what is tried alone: the other would wait to see it.
	Plain    client.Client
	Places   *place.Places
	Defaults Defaults
}

// JobName of the job that an upload becomes. It is the same however often the upload's
// end is tried again.
func JobName(upload string) string { return "video-" + upload[:16] }

func (s *Service) build(user *auth.User, namespace, id, uri string, set Settings) *v1alpha1.PoseJob {
	name := JobName(id)
	job := &v1alpha1.PoseJob{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name,
			Labels:      map[string]string{labelManagedBy: managedBy, labelUpload: id},
			Annotations: map[string]string{annotationUser: user.Name},
		},
		Spec: v1alpha1.PoseJobSpec{
			Video:      v1alpha1.VideoSource{URI: uri, SHA256: set.SHA256, CredentialsSecretRef: s.secret()},
			Output:     v1alpha1.Output{URI: s.Places.Results(namespace, name), CredentialsSecretRef: s.secret(), Overlay: orElse(set.Overlay, s.Defaults.Overlay), DeletionPolicy: orElse(set.DeletionPolicy, s.Defaults.DeletionPolicy)},
			EngineName: orElse(set.Engine, s.Defaults.Engine), Device: set.Device,
			TTLSecondsAfterFinished: s.Defaults.TTLSeconds,
		},
	}
	if set.FileName != "" {
		job.Annotations[annotationName] = set.FileName
	}
	if set.FrameStart > 0 || set.FrameEnd > 0 {
		job.Spec.Video.Frames = &v1alpha1.FrameRange{Start: set.FrameStart, End: set.FrameEnd}
	}
	if set.People > 0 {
		job.Spec.People = &v1alpha1.PeopleSelection{Max: set.People}
	}
	if s.Defaults.ServiceAccount != "" {
		job.Spec.PodTemplate = &v1alpha1.PodTemplate{ServiceAccountName: s.Defaults.ServiceAccount}
	}
	return job
}

func (s *Service) secret() *v1alpha1.SecretReference {
	if s.Defaults.Secret == "" {
		return nil
	}
	return &v1alpha1.SecretReference{Name: s.Defaults.Secret}
}

func orElse[T ~string](v, other T) T {
	if v == "" {
		return other
	}
	return v
}

// Try has the API server judge settings before a long upload. An engine that is not
// there is an error too: the job would wait for it.
func (s *Service) Try(ctx context.Context, user *auth.User, namespace string, set Settings) error {
	if name := orElse(set.Engine, s.Defaults.Engine); name != "" {
		var e v1alpha1.PoseEngine
		if err := s.Client.Get(ctx, types.NamespacedName{Name: name}, &e); apierrors.IsNotFound(err) {
			return problem.New(http.StatusUnprocessableEntity, "there is no engine %.63q: /api/pose/engines lists them", name)
		} else if err != nil {
			return Failure(err)
		}
	}
	id := place.NewID()
	job := s.build(user, namespace, id, s.Places.Upload(namespace, id)+"/video.mp4", set)
	return Failure(s.Plain.Create(ctx, job, client.DryRunAll))
}

// Create the job of an upload. One that is there already is that of an earlier try.
func (s *Service) Create(ctx context.Context, user *auth.User, namespace, id, uri string, set Settings) (*v1alpha1.PoseJob, error) {
	job := s.build(user, namespace, id, uri, set)
	err := s.Client.Create(ctx, job)
	if !apierrors.IsAlreadyExists(err) {
		return job, Failure(err)
	}
	there, err := s.OfUpload(ctx, namespace, id)
	if err == nil && there == nil {
		err = problem.New(http.StatusConflict, "a job %s exists that is of another upload: send the video again", job.Name)
	}
	return there, err
}

// OfUpload is the job that an upload became, as the API server knows it; nil is none.
func (s *Service) OfUpload(ctx context.Context, namespace, id string) (*v1alpha1.PoseJob, error) {
	var job v1alpha1.PoseJob
	err := s.Plain.Get(ctx, types.NamespacedName{Namespace: namespace, Name: JobName(id)}, &job)
	switch {
	case apierrors.IsNotFound(err), err == nil && job.Labels[labelUpload] != id:
		return nil, nil //nolint:nilnil // documented
	case err != nil:
		return nil, Failure(err)
	}
	return &job, nil
}

// Get one job.
func (s *Service) Get(ctx context.Context, namespace, name string) (*v1alpha1.PoseJob, error) {
	var job v1alpha1.PoseJob
	if err := s.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &job); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, problem.New(http.StatusNotFound, "there is no job %.253q in namespace %s", name, namespace)
		}
		return nil, Failure(err)
	}
	return &job, nil
}

// finished says whether a job has ended.
func finished(job *v1alpha1.PoseJob) bool {
	return job.Status.CompletionTime != nil
}

func cancelled(job *v1alpha1.PoseJob) bool {
	return job.Spec.Suspend && job.Annotations[annotationCancelled] != ""
}

// Cancel stops a job: it is suspended and marked.
func (s *Service) Cancel(ctx context.Context, user *auth.User, job *v1alpha1.PoseJob) (*v1alpha1.PoseJob, error) {
	if finished(job) || job.DeletionTimestamp != nil {
		return nil, problem.New(http.StatusConflict, "job %s has ended: there is nothing to cancel", job.Name)
	}
	if cancelled(job) {
		return job, nil
	}
	err := s.patch(ctx, job, map[string]any{
		"metadata": map[string]any{"annotations": map[string]string{annotationCancelled: user.Name}},
		"spec":     map[string]any{"suspend": true},
	})
	return job, err
}

// patch this very job, whatever else was written to it meanwhile.
func (s *Service) patch(ctx context.Context, job *v1alpha1.PoseJob, change map[string]any) error {
	meta, _ := change["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
		change["metadata"] = meta
	}
	meta["uid"] = job.UID
	raw, err := json.Marshal(change)
	if err != nil {
		return problem.Because(err, http.StatusInternalServerError, "the service failed")
	}
	return Failure(s.Client.Patch(ctx, job, client.RawPatch(types.MergePatchType, raw)))
}

// Retry makes a new job of what one was asked for, with a place of its own.
func (s *Service) Retry(ctx context.Context, user *auth.User, job *v1alpha1.PoseJob) (*v1alpha1.PoseJob, error) {
	if !retriable(job) {
		return nil, problem.New(http.StatusConflict, "job %s has not ended: cancel it first, or wait", job.Name)
	}
	id := place.NewID()
	next := s.build(user, job.Namespace, id, job.Spec.Video.URI, Settings{})
	output := next.Spec.Output
	output.Overlay, output.DeletionPolicy = job.Spec.Output.Overlay, job.Spec.Output.DeletionPolicy
	next.Spec = *job.Spec.DeepCopy()
	next.Spec.Output, next.Spec.Suspend = output, false
	if next.Annotations[annotationName] = job.Annotations[annotationName]; next.Annotations[annotationName] == "" {
		delete(next.Annotations, annotationName)
	}
	if err := s.Client.Create(ctx, next); err != nil {
		return nil, Failure(err)
	}
	return next, s.keep(ctx, job, next)
}

// keep a copy of a job only where the job is not being deleted. Who deletes marks the
// job before looking for others of its video, and a copy is made before looking for the
// mark: so that either the copy is seen and the video stays, or the mark is.
func (s *Service) keep(ctx context.Context, job, next *v1alpha1.PoseJob) error {
	ctx = context.WithoutCancel(ctx) // a copy that may be without its video must not stay
	var now v1alpha1.PoseJob
	err := s.Plain.Get(ctx, types.NamespacedName{Namespace: job.Namespace, Name: job.Name}, &now)
	switch {
	case err == nil && now.UID == job.UID && !leaving(&now):
		return nil
	case client.IgnoreNotFound(err) != nil:
		return nil //nolint:nilerr // who cannot tell lets it be: such a job fails at worst
	}
	if err := s.Delete(ctx, next, ""); err != nil {
		return err
	}
	return problem.New(http.StatusConflict, "job %s is being deleted, and its video with it: send the video again", job.Name)
}

func retriable(job *v1alpha1.PoseJob) bool {
	return !leaving(job) && (finished(job) || cancelled(job))
}

// leaving says whether somebody deletes a job, or began to.
func leaving(job *v1alpha1.PoseJob) bool {
	return job.DeletionTimestamp != nil || job.Annotations[annotationDeleting] != ""
}

// Delete removes a job and the video that was uploaded for it, and its results where
// its deletion policy says so; results overrules that where it is not empty.
func (s *Service) Delete(ctx context.Context, job *v1alpha1.PoseJob, results v1alpha1.DeletionPolicy) error {
	if results != "" && results != job.Spec.Output.DeletionPolicy && job.DeletionTimestamp == nil {
		if err := s.patch(ctx, job, map[string]any{"spec": map[string]any{"output": map[string]any{"deletionPolicy": results}}}); err != nil {
			return err
		}
	}
	// The video first: when that fails the job is still there, and who asked can ask
	// again. But not before the API server would let the job go.
	this := []client.DeleteOption{client.Preconditions{UID: &job.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground)}
	if err := s.Plain.Delete(ctx, job.DeepCopy(), append(slices.Clone(this), client.DryRunAll)...); client.IgnoreNotFound(err) != nil {
		return Failure(err)
	}
	if id := s.Places.UploadOf(job.Namespace, job.Spec.Video.URI); id != "" {
		if err := s.removeVideo(ctx, job, id); err != nil {
			return err
		}
	}
	err := s.Client.Delete(ctx, job, this...)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return Failure(err)
}

func (s *Service) removeVideo(ctx context.Context, job *v1alpha1.PoseJob, id string) error {
	if !leaving(job) {
		err := s.patch(ctx, job, map[string]any{"metadata": map[string]any{"annotations": map[string]string{annotationDeleting: "true"}}})
		if problem.Of(err).Status == http.StatusNotFound {
			err = nil // somebody else was faster: the video is still to be removed
		}
		if err != nil {
			return err
		}
	}
	var all v1alpha1.PoseJobList
	// Past the cache: another replica may just have made a job of the same video.
	if err := s.Plain.List(ctx, &all, client.InNamespace(job.Namespace)); err != nil {
		return Failure(err)
	}
	if slices.ContainsFunc(all.Items, func(o v1alpha1.PoseJob) bool {
		return o.UID != job.UID && !leaving(&o) && o.Spec.Video.URI == job.Spec.Video.URI
	}) {
		return nil
	}
	return s.Places.Remove(ctx, s.Places.Upload(job.Namespace, id))
}

// Failure is what a client is told of the API server's error.
func Failure(err error) error {
	var (
		p      *problem.Problem
		status apierrors.APIStatus
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &p):
		return err
	case apierrors.IsInvalid(err) && errors.As(err, &status):
		return problem.Because(err, http.StatusUnprocessableEntity, "the cluster refuses these settings: %s", causes(status.Status()))
	case apierrors.IsConflict(err):
		return problem.Because(err, http.StatusConflict, "the job was changed or replaced in this moment: look again")
	case apierrors.IsNotFound(err):
		return problem.Because(err, http.StatusNotFound, "there is no such thing, or the namespace does not exist")
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota"):
		return problem.Because(err, http.StatusUnprocessableEntity, "the namespace's quota is used up: remove jobs, or ask its administrator for more")
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "denied the request"):
		return problem.Because(err, http.StatusUnprocessableEntity, "an admission policy of the cluster refuses this job: its administrator knows which, and finds the cause in the service's log by the request's id")
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return problem.Because(err, http.StatusServiceUnavailable, "the cluster refuses what the service asks of it: the administrator finds the cause in its log by the request's id")
	}
	return problem.Unavailable(err, "the cluster")
}

// causes of a refusal in one line, bounded.
func causes(s metav1.Status) string {
	if s.Details == nil || len(s.Details.Causes) == 0 {
		return "no reason was given"
	}
	var out []string
	for _, c := range s.Details.Causes {
		if len(out) == 4 {
			break
		}
		m := c.Message
		if i := strings.LastIndex(m, "\": "); strings.HasPrefix(m, "Invalid value") && i > 0 {
			m = m[i+3:] // what the value was, the client knows
		}
		if len(m) > 300 {
			m = strings.ToValidUTF8(m[:300], "") + "..."
		}
		out = append(out, c.Field+": "+m)
	}
	return strings.Join(out, "; ")
}
