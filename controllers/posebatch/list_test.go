package posebatch_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/layout"
	"github.com/pose-dev/pose-operator/internal/runner/list"
)

// withAccount makes the service account by which the list pods get tokens.
func (p *place) withAccount() *corev1.ServiceAccount {
	p.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "pose"}}
	p.must(api.Create(ctx, account))
	p.policy.ServiceAccountNames = []string{"pose"}
	return account
}

// prefixed is a batch of all videos of a claim.
func prefixed(b *v1alpha1.PoseBatch) {
	b.Spec.Videos.Prefix = "pvc://videos/in/"
	b.Spec.Template.PodTemplate = &v1alpha1.PodTemplate{ServiceAccountName: "pose"}
}

// token bound to the pod unless that is nil, as the kubelet asks for it.
func (p *place) token(account *corev1.ServiceAccount, pod *corev1.Pod, audience string) string {
	p.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}}}
	if pod != nil {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID}
	}
	p.must(api.SubResource("token").Create(ctx, account, request))
	return request.Status.Token
}

// configOf the pod's only container.
func (p *place) configOf(pod *corev1.Pod) *report.Config {
	p.Helper()
	for _, env := range pod.Spec.Containers[0].Env {
		if env.Name == report.ConfigEnv {
			c, err := report.ParseConfig(strings.ReplaceAll(env.Value, "$$", "$"))
			p.must(err)
			return c
		}
	}
	p.Fatal("the pod has no config")
	return nil
}

// lists: the pod's own code runs, on a folder with the files.
func (p *place) lists(account *corev1.ServiceAccount, pod *corev1.Pod, files ...string) (*report.ListReport, error) {
	p.Helper()
	root := p.TempDir()
	for _, f := range files {
		name := filepath.Join(root, "claim", "in", f)
		p.must(os.MkdirAll(filepath.Dir(name), 0o755))
		p.must(os.WriteFile(name, []byte(f), 0o600))
	}
	l := layout.Under(root)
	p.must(os.MkdirAll(filepath.Dir(l.ProgressToken), 0o755))
	p.must(os.WriteFile(l.ProgressToken, []byte(p.token(account, pod, report.ProgressAudience)+"\n"), 0o600))
	cfg := *p.configOf(pod).List
	cfg.PVCMount = filepath.Join(root, "claim")
	return list.Run(p.Context(), cfg, l, io.Discard)
}

func TestAListByItsPod(t *testing.T) {
	p := newPlace(t)
	account := p.withAccount()
	p.start()
	p.submit(prefixed, parallelism(2))
	pod := p.pod(v1alpha1.PurposeList, 1)
	if c := pod.Spec.Containers[0]; pod.Spec.ServiceAccountName != "pose" || *pod.Spec.AutomountServiceAccountToken || c.Name != "list" || c.Image != "runner:v1" {
		t.Errorf("the list pod %+v", pod.Spec)
	}
	rep, err := p.lists(account, pod, "b.mov", "a.mp4", "a.mov", "readme.txt", "deep/er/c c.mp4", ".hidden.mp4")
	p.must(err)
	p.says(pod, report.Termination{Result: report.ResultOK, List: rep})
	b := p.counts(v1alpha1.BatchCounts{Total: 4, Pending: 2, Running: 2})
	if l := b.Status.Listing; l.Attempt != 1 || l.Chunks != 1 || l.Clips != 4 || condition(b, v1alpha1.ConditionListed) != "True/Listed" {
		t.Errorf("listing %+v", l)
	}
	for range 2 {
		for _, j := range p.someJobs(2) {
			p.finish(&j, ok, 1)
		}
		n := p.batch().Status.Counts.Succeeded
		p.g.Eventually(func() int32 { return p.batch().Status.Counts.Succeeded }).Should(BeNumerically(">=", n))
		if n >= 2 {
			break
		}
	}
	p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) { g.Expect(b.Status.Counts.Succeeded).To(Equal(int32(4))) })
	index := p.pod(v1alpha1.PurposeIndex, 1)
	var sources int
	for _, v := range index.Spec.Volumes {
		if v.Name == "batch" {
			sources = len(v.Projected.Sources)
		}
	}
	if sources != 3 {
		t.Errorf("the index pod sees %d ConfigMaps", sources)
	}
	var chunk corev1.ConfigMap
	p.must(api.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: strings.Replace(pod.Name, "-list-1", "-clips-1-0", 1)}, &chunk))
	got, err := clips.Decode(chunk.BinaryData["clips.json.gz"])
	p.must(err)
	var names []string
	for _, c := range got {
		names = append(names, c.Name+" "+c.URI)
	}
	p.g.Expect(names).To(Equal([]string{
		"a.mov pvc://videos/in/a.mov", "a.mp4 pvc://videos/in/a.mp4", "b.mov pvc://videos/in/b.mov", "deep/er/c%20c.mp4 pvc://videos/in/deep/er/c%20c.mp4",
	}))
	if chunk.Immutable == nil || !*chunk.Immutable {
		t.Error("a chunk can be changed")
	}
}

// TestHostilePages: what is no page of the list pod that is asked changes nothing.
func TestHostilePages(t *testing.T) {
	p := newPlace(t)
	account := p.withAccount()
	p.start()
	p.submit(prefixed)
	pod := p.pod(v1alpha1.PurposeList, 1)
	told := p.configOf(pod).List.Push
	roots := x509.NewCertPool()
	p.g.Expect(roots.AppendCertsFromPEM([]byte(told.CAPEM))).To(BeTrue())
	https := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}}
	push := func(token string, body []byte) int {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, told.URL, bytes.NewReader(body))
		p.must(err)
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := https.Do(request)
		if err != nil {
			return 0
		}
		response.Body.Close()
		return response.StatusCode
	}
	encode := func(page report.ClipsPage) []byte {
		page.Version = report.Version
		b, err := json.Marshal(page)
		p.must(err)
		return b
	}
	clip := func(name string) clips.Clip { return clips.Clip{URI: "s3://videos/" + name, Name: name} }
	good := encode(report.ClipsPage{Clips: []clips.Clip{clip("a"), clip("b")}})
	bound := p.token(account, pod, report.ProgressAudience)
	p.g.Eventually(func() int { return push("", nil) }).Should(Equal(http.StatusUnauthorized), "the server listens")

	stranger := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "stranger", Labels: pod.Labels},
		Spec:       corev1.PodSpec{ServiceAccountName: "pose", Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
	p.must(api.Create(ctx, stranger))
	forged := stranger.DeepCopy()
	forged.ObjectMeta = metav1.ObjectMeta{Namespace: p.namespace, Name: "forged", Labels: pod.Labels, OwnerReferences: pod.OwnerReferences}
	p.must(api.Create(ctx, forged))
	many := make([]clips.Clip, clips.MaxChunkClips+1)
	for i := range many {
		many[i] = clip(fmt.Sprintf("%05d", i))
	}
	for name, c := range map[string]struct {
		token string
		body  []byte
		want  int
	}{
		"no token that anybody gave":         {"abc", good, http.StatusUnauthorized},
		"a token for another audience":       {p.token(account, pod, "https://kubernetes.default.svc"), good, http.StatusUnauthorized},
		"a token that is bound to no pod":    {p.token(account, nil, report.ProgressAudience), good, http.StatusUnauthorized},
		"a pod that only looks like it":      {p.token(account, stranger, report.ProgressAudience), good, http.StatusForbidden},
		"a pod that says it is the batch's":  {p.token(account, forged, report.ProgressAudience), good, http.StatusForbidden},
		"a body that is too large":           {bound, append(good[:len(good):len(good)], bytes.Repeat([]byte(" "), report.MaxClipsPageBytes)...), http.StatusRequestEntityTooLarge},
		"no JSON":                            {bound, []byte("42"), http.StatusBadRequest},
		"another version":                    {bound, []byte(`{"v":99,"clips":[]}`), http.StatusBadRequest},
		"no clips":                           {bound, encode(report.ClipsPage{}), http.StatusBadRequest},
		"too many clips":                     {bound, encode(report.ClipsPage{Clips: many}), http.StatusBadRequest},
		"a page beyond the last":             {bound, encode(report.ClipsPage{Page: clips.MaxChunks, Clips: many[:1]}), http.StatusBadRequest},
		"a page before the first":            {bound, encode(report.ClipsPage{Page: -1, Clips: many[:1]}), http.StatusBadRequest},
		"a name twice":                       {bound, encode(report.ClipsPage{Clips: []clips.Clip{clip("a"), clip("a")}}), http.StatusBadRequest},
		"names that fall":                    {bound, encode(report.ClipsPage{Clips: []clips.Clip{clip("b"), clip("a")}}), http.StatusBadRequest},
		"a name that leads out":              {bound, encode(report.ClipsPage{Clips: []clips.Clip{{URI: "s3://videos/a", Name: "../../team-b/x"}}}), http.StatusBadRequest},
		"a name that leads out, in disguise": {bound, encode(report.ClipsPage{Clips: []clips.Clip{{URI: "s3://videos/a", Name: "x/%2e%2e/y"}}}), http.StatusBadRequest},
		"a name of a result's own":           {bound, encode(report.ClipsPage{Clips: []clips.Clip{{URI: "s3://videos/a", Name: "x/attempts"}}}), http.StatusBadRequest},
		"a URI of a file":                    {bound, encode(report.ClipsPage{Clips: []clips.Clip{{URI: "file:///etc/passwd", Name: "a"}}}), http.StatusBadRequest},
		"a URI with a password":              {bound, encode(report.ClipsPage{Clips: []clips.Clip{{URI: "https://me:secret@host/a", Name: "a"}}}), http.StatusBadRequest},
		"a name that no URI can hold":        {bound, encode(report.ClipsPage{Clips: []clips.Clip{{URI: "s3://videos/a", Name: "a\nb"}}}), http.StatusBadRequest},
		"fewer bytes than none":              {bound, encode(report.ClipsPage{Clips: []clips.Clip{{URI: "s3://videos/a", Name: "a", Bytes: -1}}}), http.StatusBadRequest},
	} {
		if got := push(c.token, c.body); got != c.want {
			t.Errorf("%s: status %d, want %d", name, got, c.want)
		}
	}
	var maps corev1.ConfigMapList
	p.must(api.List(ctx, &maps, client.InNamespace(p.namespace), client.MatchingLabels{v1alpha1.LabelBatchPart: v1alpha1.PartClips}))
	if n := len(maps.Items); n != 0 {
		t.Errorf("%d chunks were kept of that", n)
	}
	for i, want := range []int{http.StatusNoContent, http.StatusNoContent} {
		if got := push(bound, good); got != want {
			t.Errorf("push %d of the same page: status %d", i+1, got)
		}
	}
	if got := push(bound, encode(report.ClipsPage{Clips: []clips.Clip{clip("other")}})); got != http.StatusConflict {
		t.Errorf("another page of the same number: status %d", got)
	}

	// Reports that do not fit what was stored make no list.
	p.says(pod, report.Termination{Result: report.ResultOK, List: &report.ListReport{Pages: 2, Clips: 3}})
	b := p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) { g.Expect(b.Status.Listing.Attempt).To(Equal(int32(2))) })
	if b.Status.Listing.CompletionTime != nil || !strings.Contains(b.Status.Listing.Message, "not whole") {
		t.Errorf("listing %+v", b.Status.Listing)
	}
	if got := push(bound, good); got != http.StatusForbidden {
		t.Errorf("a page of the pod before: status %d", got)
	}
}

func TestListsThatFail(t *testing.T) {
	t.Run("for good", func(t *testing.T) {
		p := newPlace(t)
		p.withAccount()
		p.start()
		p.submit(prefixed)
		p.says(p.pod(v1alpha1.PurposeList, 1), report.Termination{Result: report.ResultFailed, Reason: report.ReasonInputUnavailable, Message: "there is no such bucket"})
		p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
			g.Expect(condition(b, v1alpha1.ConditionFinished)).To(Equal("True/ListFailed"))
			g.Expect(condition(b, v1alpha1.ConditionListed)).To(Equal("False/ListFailed"))
		})
	})
	t.Run("for a while", func(t *testing.T) {
		p := newPlace(t)
		p.withAccount()
		p.start()
		p.submit(prefixed)
		p.says(p.pod(v1alpha1.PurposeList, 1), report.Termination{Result: report.ResultFailed, Reason: report.ReasonInputUnavailable, Message: "no answer", Temporary: true})
		p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
			g.Expect(b.Status.Listing.Attempt).To(Equal(int32(2)))
			g.Expect(b.Status.Listing.NotBefore).NotTo(BeNil())
			g.Expect(condition(b, v1alpha1.ConditionReady)).To(Equal("False/Listing"))
		})
	})
	t.Run("no videos", func(t *testing.T) {
		p := newPlace(t)
		p.withAccount()
		p.start()
		p.submit(prefixed, func(b *v1alpha1.PoseBatch) { b.Spec.Videos.Prefix, b.Spec.Videos.List = "", "s3://videos/list.txt" })
		p.says(p.pod(v1alpha1.PurposeList, 1), report.Termination{Result: report.ResultOK, List: &report.ListReport{}})
		p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
			g.Expect(condition(b, v1alpha1.ConditionFinished)).To(Equal("True/NoVideos"))
		})
	})
}

// TestAManagerThatIsStartedAgain has another certificate: the pod of the one before
// could tell it nothing, and is made anew.
func TestAManagerThatIsStartedAgain(t *testing.T) {
	p := newPlace(t)
	account := p.withAccount()
	p.start()
	p.submit(prefixed)
	before := p.pod(v1alpha1.PurposeList, 1)
	p.restart()
	var pod *corev1.Pod
	p.g.Eventually(func(g Gomega) {
		pod = p.pod(v1alpha1.PurposeList, 1)
		g.Expect(pod.UID).NotTo(Equal(before.UID))
	}).Should(Succeed())
	rep, err := p.lists(account, pod, "a.mp4")
	p.must(err)
	p.says(pod, report.Termination{Result: report.ResultOK, List: rep})
	p.counts(v1alpha1.BatchCounts{Total: 1, Running: 1})
}

// TestAnIndexThatFails is tried again, and given up in the end.
func TestAnIndexThatFails(t *testing.T) {
	p := newPlace(t)
	p.start()
	p.submit(uris(1))
	jobs := p.someJobs(1)
	p.finish(&jobs[0], ok, 1)
	p.says(p.pod(v1alpha1.PurposeIndex, 1), report.Termination{Result: report.ResultFailed, Reason: report.ReasonDeliveryFailed, Message: "a file of somebody else"})
	b := p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
		g.Expect(condition(b, v1alpha1.ConditionFinished)).To(Equal("True/IndexFailed"))
	})
	if b.Status.Counts.Succeeded != 1 || !strings.Contains(b.Status.Index.Message, "somebody else") {
		t.Errorf("status %+v", b.Status)
	}
}
