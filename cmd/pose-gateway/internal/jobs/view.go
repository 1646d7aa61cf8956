package jobs

import (
	"cmp"
	"context"
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
)

// Job as clients see it.
type Job struct {
	ID             string                    `json:"id"`
	Namespace      string                    `json:"namespace"`
	Name           string                    `json:"name,omitempty"`
	CreatedAt      metav1.Time               `json:"createdAt"`
	DeletedAt      *metav1.Time              `json:"deletedAt,omitempty"`
	Engine         string                    `json:"engine,omitempty"`
	Device         v1alpha1.DevicePreference `json:"device"`
	Overlay        v1alpha1.Overlay          `json:"overlay"`
	DeletionPolicy v1alpha1.DeletionPolicy   `json:"deletionPolicy"`
	Suspended      bool                      `json:"suspended"`
	Cancelled      bool                      `json:"cancelled"`
	Status         v1alpha1.PoseJobStatus    `json:"status"`
	Links          Links                     `json:"links"`
}

// Links are what can be done with a job now.
type Links struct {
	Self    string `json:"self"`
	Events  string `json:"events"`
	Results string `json:"results,omitempty"`
	Cancel  string `json:"cancel,omitempty"`
	Retry   string `json:"retry,omitempty"`
	Delete  string `json:"delete,omitempty"`
}

// Rights of the user who looks.
type Rights struct{ Get, Create, Patch, Delete bool }

// View of a job for a user with these rights. Places in the store are left out: files
// are had by links alone.
func (s *Service) View(job *v1alpha1.PoseJob, r Rights) Job {
	self := "/api/pose/jobs/" + job.Name
	j := Job{
		ID: job.Name, Namespace: job.Namespace, Name: CleanName(job.Annotations[annotationName]), CreatedAt: job.CreationTimestamp, DeletedAt: job.DeletionTimestamp,
		Engine: job.Spec.EngineName, Device: job.Spec.Device, Overlay: job.Spec.Output.Overlay, DeletionPolicy: job.Spec.Output.DeletionPolicy,
		Suspended: job.Spec.Suspend, Cancelled: cancelled(job), Status: *job.Status.DeepCopy(),
		Links: Links{Self: self, Events: self + "/events"},
	}
	if o := j.Status.Output; o != nil {
		o.URI = ""
		for i := range o.Files {
			o.Files[i].URI = ""
		}
	}
	if j.Status.ReusedFrom != nil {
		j.Status.ReusedFrom.URI = ""
	}
	live := job.DeletionTimestamp == nil
	j.Links.Results = when(r.Get && live && HasResults(job) && s.Places.Serves(job.Namespace, job.Spec.Output.URI), self+"/results")
	j.Links.Cancel = when(r.Patch && live && !finished(job) && !cancelled(job), self+"/cancel")
	j.Links.Retry = when(r.Create && retriable(job), self+"/retry")
	j.Links.Delete = when(r.Delete && live, self)
	return j
}

// HasResults says whether a job has a verified result.
func HasResults(job *v1alpha1.PoseJob) bool {
	return job.Status.Output != nil && job.Status.Output.ManifestSHA256 != "" && apimeta.IsStatusConditionTrue(job.Status.Conditions, v1alpha1.ConditionComplete)
}

func when(ok bool, s string) string {
	if ok {
		return s
	}
	return ""
}

// Page of jobs, the newest first, and where the next one begins; "" after the last.
func (s *Service) Page(ctx context.Context, namespace string, limit int, from string) ([]*v1alpha1.PoseJob, string, error) {
	after, err := parseCursor(from)
	if err != nil {
		return nil, "", err
	}
	jobs, err := s.newest(ctx, namespace)
	if err != nil {
		return nil, "", err
	}
	i := 0
	if from != "" {
		i, _ = slices.BinarySearchFunc(jobs, after, func(j *v1alpha1.PoseJob, c cursor) int { return compare(cursorOf(j), c) })
		if i < len(jobs) && compare(cursorOf(jobs[i]), after) == 0 {
			i++
		}
	}
	jobs = jobs[i:]
	if len(jobs) <= limit {
		return jobs, "", nil
	}
	return jobs[:limit], cursorOf(jobs[limit-1]).String(), nil
}

func (s *Service) newest(ctx context.Context, namespace string) ([]*v1alpha1.PoseJob, error) {
	var all v1alpha1.PoseJobList
	// The cache's own objects: nobody changes them here.
	if err := s.Client.List(ctx, &all, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, Failure(err)
	}
	jobs := make([]*v1alpha1.PoseJob, len(all.Items))
	for i := range all.Items {
		jobs[i] = &all.Items[i]
	}
	slices.SortFunc(jobs, func(a, b *v1alpha1.PoseJob) int { return compare(cursorOf(a), cursorOf(b)) })
	return jobs, nil
}

// cursor is a place in the order of jobs.
type cursor struct {
	created time.Time
	name    string
}

func cursorOf(j *v1alpha1.PoseJob) cursor { return cursor{j.CreationTimestamp.Time, j.Name} }

func compare(a, b cursor) int {
	return cmp.Or(b.created.Compare(a.created), strings.Compare(a.name, b.name))
}

func (c cursor) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(c.created.Unix(), 10) + "/" + c.name))
}

func parseCursor(s string) (cursor, error) {
	if s == "" {
		return cursor{}, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(s)
	seconds, name, ok := strings.Cut(string(raw), "/")
	n, perr := strconv.ParseInt(seconds, 10, 64)
	if err != nil || perr != nil || !ok || len(s) > 512 {
		return cursor{}, problem.New(http.StatusBadRequest, "continue is not one that a page gave: begin without it")
	}
	return cursor{time.Unix(n, 0), name}, nil
}

// Engine as clients see it.
type Engine struct {
	Name     string             `json:"name"`
	Default  bool               `json:"default"`
	Ready    bool               `json:"ready"`
	Message  string             `json:"message,omitempty"`
	Devices  []v1alpha1.Device  `json:"devices"`
	Overlays []v1alpha1.Overlay `json:"overlays"`
	Stages   []string           `json:"stages"`
	Variants []EngineVariant    `json:"variants"`
}

// EngineVariant is one way to run an engine.
type EngineVariant struct {
	Name   string          `json:"name"`
	Device v1alpha1.Device `json:"device"`
}

// Engines of the cluster, the default first.
func (s *Service) Engines(ctx context.Context) ([]Engine, error) {
	var all v1alpha1.PoseEngineList
	if err := s.Client.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, Failure(err)
	}
	out := []Engine{}
	for i := range all.Items {
		out = append(out, s.engine(&all.Items[i]))
	}
	slices.SortFunc(out, func(a, b Engine) int {
		if a.Default != b.Default {
			if a.Default {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out, nil
}

func (s *Service) engine(e *v1alpha1.PoseEngine) Engine {
	v := Engine{Name: e.Name, Stages: []string{}, Variants: []EngineVariant{}, Devices: []v1alpha1.Device{}, Overlays: []v1alpha1.Overlay{v1alpha1.OverlayNone}}
	if v.Default = e.Annotations[v1alpha1.AnnotationDefaultEngine] == "true"; s.Defaults.Engine != "" {
		v.Default = e.Name == s.Defaults.Engine
	}
	if c := apimeta.FindStatusCondition(e.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		if v.Ready = c.Status == metav1.ConditionTrue; !v.Ready {
			v.Message = c.Message
		}
	}
	for _, x := range e.Spec.Variants {
		if x.OnRequest {
			continue
		}
		v.Variants = append(v.Variants, EngineVariant{x.Name, x.Device})
		if !slices.Contains(v.Devices, x.Device) {
			v.Devices = append(v.Devices, x.Device)
		}
	}
	for _, st := range e.Spec.Stages {
		v.Stages = append(v.Stages, st.Name)
	}
	// An engine that draws has an output of that name.
	if slices.ContainsFunc(e.Spec.Outputs, func(o v1alpha1.EngineOutput) bool { return strings.Contains(o.Name, "overlay") }) {
		v.Overlays = append(v.Overlays, v1alpha1.OverlayBlurred, v1alpha1.OverlayFull)
	}
	return v
}
