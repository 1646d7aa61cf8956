package results

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
	"github.com/pose-dev/pose-operator/controllers/errand"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
)

// videoMount is where the pod that removes a video has the claim that it lies on.
const videoMount = "/pose/claim-video"

// purger removes what jobs wrote.
type purger struct {
	*cluster.PodRunner
	flags purgeFlags
	in    io.Reader
	out   io.Writer
}

// target is one job whose results are to be removed.
type target struct {
	job *v1alpha1.PoseJob
	// video is to go too.
	video bool
	// batch whose results they are, all of them; nil for a job's.
	batch *v1alpha1.PoseBatch
	// copyOf names the job whose result this one copied; empty for the job itself.
	copyOf string
}

// kind for a person.
func (t target) kind() string {
	if t.batch != nil {
		return "batch"
	}
	return "job"
}

func (t target) describe() string {
	s := fmt.Sprintf("%s %s/%s: what it wrote below %s", t.kind(), t.job.Namespace, t.job.Name, t.job.Spec.Output.URI)
	if t.copyOf != "" {
		s += ", a copy of the result of " + t.copyOf
	}
	if t.video {
		s += ", and its video " + t.job.Spec.Video.URI
	}
	return s
}

// purged is what became of one job's results.
type purged struct {
	Namespace string `json:"namespace"`
	Job       string `json:"job,omitempty"`
	Batch     string `json:"batch,omitempty"`
	URI       string `json:"uri"`
	CopyOf    string `json:"copyOf,omitempty"`
	DryRun    bool   `json:"dryRun,omitempty"`
	report.PurgeReport
	// Removed are the objects that the pod named, of many the first.
	Removed []string `json:"removed,omitempty"`
	// Error says what is left; empty when nothing is.
	Error string `json:"error,omitempty"`
}

func (p *purger) run(ctx context.Context, name string) error {
	targets, err := p.targets(ctx, name)
	if err == nil {
		err = p.sure(targets)
	}
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	settings, err := p.Settings(ctx, p.flags.operator, p.flags.runner)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	var all []purged
	for _, t := range targets {
		done, err := p.purge(ctx, t, settings)
		if err != nil && len(all) == 0 {
			return exit.With(exit.Usage, err)
		}
		if err != nil {
			done.Error = err.Error()
		}
		all = append(all, *done)
	}
	return p.print(all)
}

// targets are the job and, where that is asked for, those with copies of its result.
func (p *purger) targets(ctx context.Context, name string) ([]target, error) {
	if batch, ok := batchName(name); ok {
		t, err := p.batchTarget(ctx, batch)
		if err != nil {
			return nil, err
		}
		return []target{*t}, nil
	}
	if job, ok := jobName(name); ok {
		name = job
	}
	job, err := p.find(ctx, name)
	if err != nil {
		return nil, err
	}
	all := []target{{job: job, video: p.flags.video}}
	var jobs v1alpha1.PoseJobList
	if err := p.Client.List(ctx, &jobs, client.InNamespace(p.Namespace)); err != nil {
		return nil, fmt.Errorf("list PoseJobs in namespace %s, which may have copies of the result: %w", p.Namespace, err)
	}
	for i := range jobs.Items {
		other := &jobs.Items[i]
		if other.Name == job.Name {
			continue
		}
		if p.flags.video && other.Spec.Video.URI == job.Spec.Video.URI {
			if !finished(other) {
				return nil, fmt.Errorf("PoseJob %s reads the same video and has not ended: wait for it or delete it, or leave out --video", other.Name)
			}
			p.Note("PoseJob %s was made of the same video; its results stay", other.Name)
		}
		if inPlace(other, job) {
			p.Note("PoseJob %s has this job's result as its own, where it lies, and has none after this", other.Name)
		}
		if !copied(other, job) {
			continue
		}
		if !p.flags.copies {
			p.Note("PoseJob %s has a copy of this job's result at %s; --copies removes it too", other.Name, other.Status.Output.URI)
			continue
		}
		all = append(all, target{job: other, copyOf: job.Name})
	}
	if r := job.Status.ReusedFrom; r != nil && job.Status.Output != nil && r.URI != "" && r.URI != job.Status.Output.URI {
		p.Note("its result is a copy of %s, of job %s, which stays: purge that job too", r.URI, r.Job)
	}
	return all, nil
}

// copied says whether a job has a copy of what another computed.
func copied(other, job *v1alpha1.PoseJob) bool {
	from := other.Status.ReusedFrom
	if from == nil || from.Job != job.Namespace+"/"+job.Name || other.Status.Output == nil || other.Status.Output.URI == from.URI {
		return false
	}
	return below(from.URI, job)
}

// inPlace says whether another job has, as its own, what this one computed, where it
// lies.
func inPlace(other, job *v1alpha1.PoseJob) bool {
	return other.Name != job.Name && other.Status.ReusedFrom != nil && other.Status.Output != nil && below(other.Status.Output.URI, job)
}

// below says whether a folder is that of an attempt of the job's.
func below(uri string, job *v1alpha1.PoseJob) bool {
	return strings.HasPrefix(uri, strings.TrimRight(job.Spec.Output.URI, "/")+"/"+result.AttemptsDir+"/")
}

func finished(job *v1alpha1.PoseJob) bool {
	return meta.IsStatusConditionTrue(job.Status.Conditions, v1alpha1.ConditionFinished)
}

// find the job, or make of the flags what it was.
func (p *purger) find(ctx context.Context, name string) (*v1alpha1.PoseJob, error) {
	g := p.flags.gone
	if g.outputURI == "" {
		job, err := p.Job(ctx, name)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%w; of a job that was deleted say --output-uri", err)
		case !finished(job):
			return nil, fmt.Errorf("PoseJob %s/%s has not ended, and would write on: wait for its end, or delete it and purge with --output-uri", job.Namespace, job.Name)
		}
		return job, nil
	}
	err := p.Client.Get(ctx, client.ObjectKey{Namespace: p.Namespace, Name: name}, &v1alpha1.PoseJob{})
	switch {
	case err == nil:
		return nil, fmt.Errorf("PoseJob %s/%s is there: leave out --output-uri and what goes with it, for it says all that itself", p.Namespace, name)
	case !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("look whether PoseJob %s/%s is gone: %w", p.Namespace, name, err)
	}
	job := &v1alpha1.PoseJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: name, UID: types.UID(g.uid)},
		Spec: v1alpha1.PoseJobSpec{
			Video:  v1alpha1.VideoSource{URI: g.videoURI, CredentialsSecretRef: secretRef(g.videoSecret)},
			Output: v1alpha1.Output{URI: g.outputURI, CredentialsSecretRef: secretRef(g.secret)},
		},
	}
	if g.serviceAccount != "" {
		job.Spec.PodTemplate = &v1alpha1.PodTemplate{ServiceAccountName: g.serviceAccount}
	}
	return job, nil
}

func secretRef(name string) *v1alpha1.SecretReference {
	if name == "" {
		return nil
	}
	return &v1alpha1.SecretReference{Name: name}
}

// request is the pod that removes what one job wrote.
func (p *purger) request(t target, settings errand.Settings) errand.Request {
	spec := t.job.Spec
	cfg := &report.PurgeConfig{
		URI: strings.TrimRight(spec.Output.URI, "/"), PVCMount: claimMount, Store: settings.Store, DryRun: p.flags.dryRun,
		TimeoutSeconds: int64(p.flags.timeout / time.Second),
	}
	if t.job.UID != "" {
		cfg.AttemptPrefix = errand.AttemptPrefix(t.job)
	}
	r := errand.Request{
		Config: report.Config{
			Role: report.RolePurge, Purge: cfg,
			Job: report.JobRef{Namespace: t.job.Namespace, Name: t.job.Name, UID: string(t.job.UID)},
		},
		Places: []errand.Place{{
			URI: spec.Output.URI, Secret: spec.Output.CredentialsSecretRef, Credentials: report.OutputCredentialsDir, Mount: claimMount, ReadOnly: p.flags.dryRun,
		}},
		Settings: settings,
	}
	if t.video {
		cfg.Video = &report.LookupInput{URI: spec.Video.URI, PVCMount: videoMount}
		r.Places = append(r.Places, errand.Place{
			URI: spec.Video.URI, Secret: spec.Video.CredentialsSecretRef, Credentials: report.CredentialsDir, Mount: videoMount, ReadOnly: p.flags.dryRun,
		})
	}
	if spec.PodTemplate != nil {
		r.Template = *spec.PodTemplate
	}
	return r
}

// purge one job's results by a pod.
func (p *purger) purge(ctx context.Context, t target, settings errand.Settings) (*purged, error) {
	done := &purged{Namespace: t.job.Namespace, Job: t.job.Name, URI: t.job.Spec.Output.URI, CopyOf: t.copyOf, DryRun: p.flags.dryRun}
	request := p.request(t, settings)
	if t.batch != nil {
		done.Job, done.Batch = "", t.job.Name
		request = p.batchRequest(t.batch, settings)
	}
	s, err := p.Errand(ctx, request, p.flags.timeout)
	if err != nil {
		return done, err
	}
	if s.Purge != nil {
		done.PurgeReport = *s.Purge
	}
	if s.Result != report.ResultOK {
		done.Error = cmp.Or(s.Message, "the pod did not say what is left")
	}
	for line := range strings.SplitSeq(s.Log, "\n") {
		if rest, ok := strings.CutPrefix(line, "pose-runner: "+done.verb()+" "); ok && strings.Contains(rest, "://") {
			done.Removed = append(done.Removed, rest)
		}
	}
	return done, nil
}

// print gives an error, and so exit code 1, if something is left.
func (p *purger) print(all []purged) error {
	if p.flags.output == "json" {
		if err := term.JSON(p.out, map[string]any{"purged": all}); err != nil {
			return err
		}
	} else {
		for _, d := range all {
			d.table(term.Safe(p.out))
		}
	}
	var left []string
	for _, d := range all {
		if d.Error != "" {
			left = append(left, fmt.Sprintf("%s: %s", d.name(), term.OneLine(d.Error)))
		}
	}
	if len(left) > 0 {
		return errors.New(strings.Join(left, "; "))
	}
	return nil
}

func (d *purged) name() string {
	if d.Batch != "" {
		return "batch " + d.Namespace + "/" + d.Batch
	}
	return "job " + d.Namespace + "/" + d.Job
}

func (d *purged) verb() string {
	if d.DryRun {
		return "would remove"
	}
	return "removed"
}

func (d *purged) table(w io.Writer) {
	for _, object := range d.Removed {
		fmt.Fprintln(w, d.verb(), term.OneLine(object))
	}
	for _, line := range d.Kept {
		fmt.Fprintf(w, "kept %s\n", term.OneLine(line))
	}
	what := fmt.Sprintf("%d results, %d partial ones, %d objects, %d bytes", d.Results, d.Partials, d.Objects, d.Bytes)
	if d.Video {
		what += ", the video"
	}
	name := d.name()
	fmt.Fprintf(w, "%s%s: %s %s\n", strings.ToUpper(name[:1]), name[1:], d.verb(), what)
	if d.Error != "" {
		fmt.Fprintf(w, "LEFT %s\n", term.OneLine(d.Error))
	}
}
