package posejob_test

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
	"github.com/pose-dev/pose-operator/internal/report"
)

// shifted is a clock that a test moves on. Nothing else happens by that: what waits
// for a time looks again at the next event.
type shifted struct{ by atomic.Int64 }

func (c *shifted) Now() time.Time                  { return time.Now().Add(time.Duration(c.by.Load())) }
func (c *shifted) Since(t time.Time) time.Duration { return c.Now().Sub(t) }
func (c *shifted) move(d time.Duration)            { c.by.Add(int64(d)) }

func reusing(j *v1alpha1.PoseJob) { j.Spec.Reuse = v1alpha1.ReuseIfVerified }

// purposed is a pod of the place that is no attempt, once it is there; not one of
// those.
func (p *place) purposed(purpose string, not ...*corev1.Pod) *corev1.Pod {
	p.Helper()
	var found corev1.Pod
	p.g.Eventually(func(g Gomega) {
		g.Expect(p.ofPurpose(purpose, not...)).NotTo(BeEmpty(), "no pod to %s", purpose)
		found = p.ofPurpose(purpose, not...)[0]
	}).Should(Succeed())
	return &found
}

func (p *place) ofPurpose(purpose string, not ...*corev1.Pod) []corev1.Pod {
	var out []corev1.Pod
next:
	for _, pod := range p.pods() {
		for _, n := range not {
			if pod.UID == n.UID {
				continue next
			}
		}
		if pod.Labels[v1alpha1.LabelPurpose] == purpose {
			out = append(out, pod)
		}
	}
	return out
}

// touch a pod, so that its job is looked at.
func (p *place) touch(pod *corev1.Pod) {
	p.Helper()
	p.must(api.Patch(ctx, pod.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"touched":"`+time.Now().String()+`"}}}`))))
}

func (p *place) lookup() *corev1.Pod { return p.purposed(v1alpha1.PurposeLookup) }

// noAttempt: no pod but those that are no attempts.
func (p *place) noAttempt() {
	p.Helper()
	p.g.Consistently(func(g Gomega) {
		for _, pod := range p.pods() {
			g.Expect(pod.Labels).NotTo(HaveKey(v1alpha1.LabelAttempt))
		}
	}).Should(Succeed())
}

// looked is a lookup pod that ended with that report.
func looked(t report.Termination) *gen.PodBuilder {
	t.Role = report.RoleLookup
	code, phase := int32(0), corev1.PodSucceeded
	if t.Result != report.ResultOK {
		code, phase = 1, corev1.PodFailed
	}
	return x().Phase(phase).Exit("lookup", code).Says("lookup", t)
}

func notFound(why string) *gen.PodBuilder {
	return looked(report.Termination{Result: report.ResultOK, Lookup: &report.LookupReport{VideoBytes: 7, Why: why}})
}

func refused(reason, message string) *gen.PodBuilder {
	return looked(report.Termination{Result: report.ResultFailed, Reason: reason, Message: message})
}

// found a result of job "first" at the place of job.
func (p *place) found(job string, change ...func(*report.ReusedResult)) *gen.PodBuilder {
	uri := "s3://results/" + p.namespace + "/" + job + "/attempts/abcde-0"
	r := report.ReusedResult{
		Result: report.DeliveryReport{
			URI: uri, ManifestSHA256: strings.Repeat("c", 64), People: 2, Frames: 120,
			Files: []report.DeliveredFile{{Name: "pose", Path: "pose.json", Size: 12, SHA256: strings.Repeat("e", 64)}},
		},
		Video: report.VideoFacts{
			Codec: "h264", Width: 640, Height: 360, FPS: 30, Frames: 120, StartFrame: 10, DurationSec: 4.004, SourceSHA256: strings.Repeat("a", 64), SourceVersion: `"etag"`,
			Source: &report.SourceFacts{Bytes: 999, Container: "mov", Codec: "hevc", Why: "hevc is not read by every engine"},
		},
		From: report.JobRef{Namespace: p.namespace, Name: "first"}, URI: "s3://results/" + p.namespace + "/first/attempts/vwxyz-2",
		Engine: p.engine, Variant: "gpu", Device: "GPU", Image: "registry.example/gpu@sha256:aa", CompletedAt: "2026-03-04T12:00:00Z",
	}
	for _, c := range change {
		c(&r)
	}
	b := looked(report.Termination{Result: report.ResultOK})
	raw, err := json.Marshal(report.Termination{Version: report.Version, Role: report.RoleLookup, Result: report.ResultOK, Lookup: &report.LookupReport{VideoBytes: 7, Reused: &r}})
	p.must(err)
	return b.SaysRaw("lookup", string(raw))
}

func lookupIs(state v1alpha1.LookupState, words string) func(g Gomega, j *v1alpha1.PoseJob) {
	return func(g Gomega, j *v1alpha1.PoseJob) {
		g.Expect(j.Status.Lookup).NotTo(BeNil())
		g.Expect(j.Status.Lookup.State).To(Equal(state), "%+v", j.Status.Lookup)
		g.Expect(j.Status.Lookup.Message).To(ContainSubstring(words))
		g.Expect(j.Status.Lookup.FinishTime != nil).To(Equal(state != v1alpha1.LookupRunning))
	}
}

// configOf the named container of a pod.
func (p *place) configOf(pod *corev1.Pod, container string) *report.Config {
	p.Helper()
	for _, c := range pod.Spec.Containers {
		if c.Name == container {
			cfg, err := report.ParseConfig(strings.ReplaceAll(c.Env[len(c.Env)-1].Value, "$$", "$"))
			p.must(err)
			return cfg
		}
	}
	p.Fatalf("pod %s has no container %s", pod.Name, container)
	return nil
}

func TestLookupThatFindsNothing(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	p.submit("run", reusing)
	look := p.lookup()
	p.g.Expect(look.Finalizers).To(BeEmpty())
	p.g.Expect(metav1.IsControlledBy(look, p.job("run"))).To(BeTrue())
	p.noAttempt()
	j := p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) {
		lookupIs(v1alpha1.LookupRunning, "")(g, j)
		g.Expect(j.Status.Lookup.PodUID).To(Equal(string(look.UID)))
	})
	p.g.Expect(j.Status.Phase).To(Equal(v1alpha1.PhasePending))
	p.g.Expect(meta.FindStatusCondition(j.Status.Conditions, v1alpha1.ConditionReady).Message).To(ContainSubstring("looking at the places"))

	p.play(look, notFound("nothing lies there"))
	pod := p.pod(1)
	p.eventually("run", lookupIs(v1alpha1.LookupNotFound, "nothing lies there"))
	asked, made := p.configOf(look, "lookup").Lookup, p.configOf(pod, "deliver").Deliver.Provenance
	p.g.Expect(asked.Recipes).To(HaveLen(2))
	p.g.Expect(made.Request).To(And(HavePrefix("sha256:"), Equal(asked.Request)))
	p.g.Expect(made.Recipe).To(Equal(asked.Recipes[0]))
	p.g.Expect(asked.First).To(HaveValue(And(
		HaveField("Recipe", made.Recipe), HaveField("Engine", made.Engine), HaveField("Variant", made.Variant), HaveField("Image", made.Image), HaveField("Parameters", made.Parameters),
	)))
	p.play(pod, detectorCrash())
	second := p.configOf(p.pod(2), "deliver").Deliver.Provenance
	p.g.Expect(second.Recipe).To(Equal(asked.Recipes[1]))
	p.g.Expect(second.Request).To(Equal(asked.Request))
	p.g.Expect(second.Attempts).To(Equal([]report.AttemptSummary{{Number: 1, Variant: "gpu", Device: "GPU", Reason: v1alpha1.ReasonDetectorLoadCrash}}))
	p.play(p.pod(2), succeeded())
	j = p.eventually("run", phase(v1alpha1.PhaseSucceeded))
	p.g.Expect(condition(j, v1alpha1.ConditionReused)).To(BeEmpty())
	p.g.Expect(j.Status.ReusedFrom).To(BeNil())
	p.g.Expect(p.ofPurpose(v1alpha1.PurposeLookup)).To(HaveLen(1), "it looks once")
}

func TestLookupThatFindsAResult(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	p.submit("run", reusing)
	p.play(p.lookup(), p.found("run"))
	j := p.eventually("run", phase(v1alpha1.PhaseSucceeded))
	p.noAttempt()
	s := j.Status
	for _, c := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionComplete, v1alpha1.ConditionFinished} {
		p.g.Expect(condition(j, c)).To(Equal("True/Succeeded"))
		p.g.Expect(meta.FindStatusCondition(s.Conditions, c).Message).To(And(ContainSubstring(p.namespace+"/first on 2026-03-04T12:00:00Z"), ContainSubstring("no attempt was made")))
	}
	p.g.Expect(condition(j, v1alpha1.ConditionReused)).To(Equal("True/VerifiedResult"))
	p.g.Expect(meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReused).Message).To(And(
		ContainSubstring("by PoseJob "+p.namespace+"/first"), ContainSubstring("on 2026-03-04T12:00:00Z"), ContainSubstring("vwxyz-2"), ContainSubstring("variant gpu on GPU")))
	p.g.Expect(condition(j, v1alpha1.ConditionDegraded)).To(BeEmpty())
	p.g.Expect(condition(j, v1alpha1.ConditionReconciling)).To(BeEmpty())
	p.g.Expect(s.Attempts).To(BeEmpty())
	p.g.Expect(s.Lookup.State).To(Equal(v1alpha1.LookupFound))
	p.g.Expect(s.Variant).To(Equal("gpu"))
	p.g.Expect(s.Device).To(Equal(v1alpha1.GPU))
	p.g.Expect(s.CompletionTime).NotTo(BeNil())
	uri := j.Spec.Output.URI + "/attempts/abcde-0"
	p.g.Expect(s.Output).To(Equal(&v1alpha1.OutputStatus{URI: uri, ManifestSHA256: strings.Repeat("c", 64), People: 2, Frames: 120, Files: []v1alpha1.OutputFile{{Name: "pose", URI: uri + "/pose.json", Size: 12, SHA256: strings.Repeat("e", 64)}}}))
	p.g.Expect(s.Video).To(Equal(&v1alpha1.VideoStatus{
		SHA256: strings.Repeat("a", 64), Codec: "h264", Width: 640, Height: 360, MilliFPS: 30000, Frames: 120, StartFrame: 10, DurationMilliseconds: 4004,
		Source: &v1alpha1.VideoSourceStatus{Bytes: 999, Version: `"etag"`, Container: "mov", Codec: "hevc", Reencoded: "hevc is not read by every engine"},
	}))
	at := metav1.NewTime(time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC))
	p.g.Expect(s.ReusedFrom.CompletionTime.Equal(&at)).To(BeTrue())
	p.g.Expect(s.ReusedFrom).To(And(HaveField("URI", "s3://results/"+p.namespace+"/first/attempts/vwxyz-2"), HaveField("Job", p.namespace+"/first"), HaveField("Variant", "gpu"), HaveField("Device", v1alpha1.GPU), HaveField("Image", "registry.example/gpu@sha256:aa")))

	// Intent, pod, the pod's UID, and what was found: four writes, and none after.
	p.g.Consistently(func(g Gomega) {
		n := 0
		for _, c := range p.writes.snapshot() {
			n += c
		}
		g.Expect(n).To(BeNumerically("<=", 4), "%v", p.writes.snapshot())
	}).Should(Succeed())
}

func TestALookupsResultOfALaterVariantIsDegraded(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*report.ReusedResult)
		variant string
		says    string
	}{
		"of the same engine": {func(r *report.ReusedResult) { r.Variant, r.Device = "cpu", "CPU" }, "cpu", "from variant cpu on CPU instead of gpu, as when the same was asked for before"},
		"of another engine":  {func(r *report.ReusedResult) { r.Engine, r.Variant, r.Device = "lesser", "cpu", "CPU" }, "lesser/cpu", "another engine, lesser (variant cpu on CPU)"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t).withEngine()
			p.start()
			p.submit("run", reusing)
			p.play(p.lookup(), p.found("run", c.change))
			j := p.eventually("run", phase(v1alpha1.PhaseSucceeded))
			p.g.Expect(j.Status.Variant).To(Equal(c.variant))
			p.g.Expect(condition(j, v1alpha1.ConditionDegraded)).To(Equal("True/Fallback"))
			p.g.Expect(meta.FindStatusCondition(j.Status.Conditions, v1alpha1.ConditionDegraded).Message).To(ContainSubstring(c.says))
		})
	}
}

func TestLookupThatRefuses(t *testing.T) {
	for _, reason := range []string{v1alpha1.ReasonInputUnavailable, v1alpha1.ReasonInputInvalid, v1alpha1.ReasonDeliveryFailed} {
		t.Run(reason, func(t *testing.T) {
			p := newPlace(t).withEngine()
			p.start()
			p.submit("run", reusing)
			p.play(p.lookup(), refused(reason, "there is no such thing. Make it"))
			j := p.eventually("run", phase(v1alpha1.PhaseFailed))
			p.noAttempt()
			p.g.Expect(condition(j, v1alpha1.ConditionFailed)).To(Equal("True/" + reason))
			p.g.Expect(condition(j, v1alpha1.ConditionStalled)).To(Equal("True/" + reason))
			p.g.Expect(meta.FindStatusCondition(j.Status.Conditions, v1alpha1.ConditionReady).Message).To(Equal("there is no such thing. Make it"))
			p.g.Expect(j.Status.Lookup).To(And(HaveField("State", v1alpha1.LookupRefused), HaveField("Reason", reason)))
			p.g.Expect(j.Status.Attempts).To(BeEmpty())
		})
	}
}

func TestReusePolicies(t *testing.T) {
	for name, c := range map[string]struct {
		standard, own v1alpha1.ReusePolicy
		looks         bool
	}{
		"nobody says anything":        {"", "", false},
		"the admin allows it":         {v1alpha1.ReuseIfVerified, "", true},
		"the admin does not":          {v1alpha1.ReuseNever, "", false},
		"the job does not want it":    {v1alpha1.ReuseIfVerified, v1alpha1.ReuseNever, false},
		"the job wants it all by one": {v1alpha1.ReuseNever, v1alpha1.ReuseIfVerified, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t).withEngine()
			p.options.Reuse = controllers.Reuse{Default: c.standard}
			p.start()
			p.submit("run", func(j *v1alpha1.PoseJob) { j.Spec.Reuse = c.own })
			if c.looks {
				p.lookup()
				return
			}
			p.play(p.pod(1), succeeded())
			j := p.eventually("run", phase(v1alpha1.PhaseSucceeded))
			p.g.Expect(j.Status.Lookup).To(BeNil())
			p.g.Expect(p.ofPurpose(v1alpha1.PurposeLookup)).To(BeEmpty())
		})
	}
}

// The ladder is asked first: for a job that can have no attempt no pod is made.
func TestNoLookupForAJobWithoutARung(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	p.submit("run", reusing, func(j *v1alpha1.PoseJob) { j.Spec.Variants = []string{"none"} })
	j := p.eventually("run", phase(v1alpha1.PhaseFailed))
	p.g.Expect(condition(j, v1alpha1.ConditionFailed)).To(Equal("True/VariantNotFound"))
	p.g.Expect(p.pods()).To(BeEmpty())
	p.g.Expect(j.Status.Lookup).To(BeNil())
}

// Without a pinned image nothing can be compared, and the job is told. The look is
// made all the same: it looks at the places.
func TestLookupWithAnImageThatIsNotPinned(t *testing.T) {
	p := newPlace(t)
	e := p.newEngine()
	e.Spec.Variants[0].Image = "registry.example/gpu:v1"
	p.must(api.Create(ctx, e))
	p.start()
	p.submit("run", reusing)
	look := p.lookup()
	cfg := p.configOf(look, "lookup").Lookup
	p.g.Expect(cfg.Request).To(BeEmpty())
	p.g.Expect(cfg.Recipes).To(BeEmpty())
	p.g.Expect(cfg.Candidates).To(BeEmpty())
	p.play(look, notFound("no recipe"))
	pod := p.pod(1)
	p.eventually("run", lookupIs(v1alpha1.LookupNotFound, "image registry.example/gpu:v1 of variant gpu of PoseEngine "+p.engine+" is not pinned by digest"))
	p.g.Expect(p.configOf(pod, "deliver").Deliver.Provenance.Recipe).To(BeEmpty())
}

func TestLookupCandidates(t *testing.T) {
	p := newPlace(t).withEngine()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	p.must(api.Create(ctx, ns))
	other := &place{T: t, g: p.g, namespace: ns.Name, engine: p.engine}
	p.also = []string{other.namespace}
	finish := func(at *place, name string) {
		job := at.submit(name, func(j *v1alpha1.PoseJob) { j.Spec.EngineName, j.Spec.Suspend = p.engine, true })
		now := metav1.Now()
		job.Status = v1alpha1.PoseJobStatus{
			ObservedGeneration: 1, EngineName: p.engine, StartTime: &now, CompletionTime: &now, Phase: v1alpha1.PhaseSucceeded,
			Output: &v1alpha1.OutputStatus{URI: job.Spec.Output.URI + "/attempts/1", ManifestSHA256: name},
		}
		for _, c := range []string{v1alpha1.ConditionComplete, v1alpha1.ConditionFinished} {
			meta.SetStatusCondition(&job.Status.Conditions, metav1.Condition{Type: c, Status: metav1.ConditionTrue, Reason: "Succeeded"})
		}
		at.must(api.Status().Update(ctx, job))
	}
	finish(p, "mine")
	finish(other, "theirs")
	candidates := func(name string) []string {
		p.submit(name, reusing)
		var out []string
		look := p.purposed(v1alpha1.PurposeLookup)
		for _, c := range p.configOf(look, "lookup").Lookup.Candidates {
			out = append(out, c.ManifestSHA256)
		}
		p.must(api.Delete(ctx, p.job(name)))
		p.gone(look)
		return out
	}
	p.start()
	p.g.Expect(candidates("same")).To(Equal([]string{"mine"}))
	p.stop()
	p.options.Reuse.CrossNamespace = true
	p.start()
	p.g.Expect(candidates("cross")).To(ConsistOf("mine", "theirs"))
}

func TestDeletedWhileLooking(t *testing.T) {
	p := newPlace(t).withEngine()
	p.start()
	job := p.submit("run", reusing)
	look := p.lookup()
	p.must(api.Delete(ctx, job))
	p.g.Eventually(func(g Gomega) {
		g.Expect(apierrors.IsNotFound(api.Get(ctx, client.ObjectKeyFromObject(job), job))).To(BeTrue())
	}).Should(Succeed())
	p.play(look, p.found("run"))
	p.noAttempt()

	// The job that is made again under its name looks by itself.
	p.submit("run", reusing)
	again := p.purposed(v1alpha1.PurposeLookup, look)
	p.g.Expect(again.Name).NotTo(Equal(look.Name))
	p.g.Consistently(func(g Gomega) { g.Expect(p.job("run").Status.Output).To(BeNil()) }).Should(Succeed())
	p.play(again, p.found("run"))
	p.eventually("run", phase(v1alpha1.PhaseSucceeded))
}

// The look runs our code alone; what it says is bounded all the same.
func TestForgedLookups(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*report.ReusedResult)
		phase  corev1.PodPhase
	}{
		"a result elsewhere":           {change: func(r *report.ReusedResult) { r.Result.URI = "s3://results/somebody-else/run" }},
		"a result beside its own":      {change: func(r *report.ReusedResult) { r.Result.URI = strings.Replace(r.Result.URI, "/run/", "/run-2/", 1) }},
		"no digest":                    {change: func(r *report.ReusedResult) { r.Result.ManifestSHA256 = "" }},
		"a digest that is none":        {change: func(r *report.ReusedResult) { r.Result.ManifestSHA256 = "\x1b[2J" }},
		"a pod that failed afterwards": {phase: corev1.PodFailed},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t).withEngine()
			p.start()
			p.submit("run", reusing)
			if c.change == nil {
				c.change = func(*report.ReusedResult) {}
			}
			b := p.found("run", c.change)
			if c.phase != "" {
				b.Phase(c.phase)
			}
			p.play(p.lookup(), b)
			p.pod(1)
			j := p.eventually("run", lookupIs(v1alpha1.LookupSkipped, ""))
			p.g.Expect(j.Status.Output).To(BeNil())
		})
	}
	t.Run("words that are long and wild", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.start()
		p.submit("run", reusing)
		wild := "\x1b[2J\u202e" + strings.Repeat("x", 400)
		p.play(p.lookup(), p.found("run", func(r *report.ReusedResult) {
			r.Variant, r.Device, r.CompletedAt, r.From.Name = wild, wild, "yesterday", wild
			r.Video = report.VideoFacts{Width: -1, FPS: 1e300, DurationSec: -4, Codec: wild, SourceSHA256: "no digest", Source: &report.SourceFacts{Bytes: -7}}
			r.Result.Files, r.Image, r.URI = nil, "", ""
		}))
		j := p.eventually("run", phase(v1alpha1.PhaseSucceeded))
		s := j.Status
		for _, text := range []string{s.Variant, s.ReusedFrom.Job, s.Video.Codec, s.ReusedFrom.URI} {
			p.g.Expect(text).NotTo(ContainSubstring("\x1b"))
			p.g.Expect(text).NotTo(ContainSubstring("\u202e"))
			p.g.Expect(len(text)).To(BeNumerically("<=", 400))
		}
		p.g.Expect(s.Device).To(Equal(v1alpha1.CPU))
		p.g.Expect(s.ReusedFrom.CompletionTime).To(BeNil())
		p.g.Expect(s.Video).To(And(HaveField("Width", int64(0)), HaveField("MilliFPS", int64(0)), HaveField("DurationMilliseconds", int64(0)), HaveField("SHA256", "")))
	})
	t.Run("an attempt's engine in the name of a look", func(t *testing.T) {
		p := newPlace(t).withEngine()
		p.start()
		p.submit("run")
		pod := p.pod(1)
		p.play(pod, running())
		p.eventually("run", phase(v1alpha1.PhaseRunning))
		// Its labels can be edited, and its record knows it.
		p.must(api.Patch(ctx, pod, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"pose.dev/purpose":"lookup"}}}`))))
		p.g.Consistently(func(g Gomega) { g.Expect(p.pods()).To(HaveLen(1)) }).Should(Succeed())
		p.play(pod, succeeded())
		j := p.eventually("run", phase(v1alpha1.PhaseSucceeded))
		p.g.Expect(j.Status.Attempts).To(HaveLen(1))
		p.g.Expect(j.Status.Lookup).To(BeNil())
	})
}
