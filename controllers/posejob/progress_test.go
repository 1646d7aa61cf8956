package posejob_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/report"
)

// token of a service account, bound to the pod unless that is nil, as the
// kubelet asks for it.
func (p *place) token(account *corev1.ServiceAccount, pod *corev1.Pod, audience string) string {
	p.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}}}
	if pod != nil {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID}
	}
	p.must(api.SubResource("token").Create(ctx, account, request))
	return request.Status.Token
}

// progressConfig is what the pod's deliver container was told.
func (p *place) progressConfig(pod *corev1.Pod) *report.ProgressConfig {
	p.Helper()
	i := slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == "deliver" })
	for _, env := range pod.Spec.Containers[i].Env {
		if env.Name == report.ConfigEnv {
			c, err := report.ParseConfig(strings.ReplaceAll(env.Value, "$$", "$"))
			p.must(err)
			return c.Progress
		}
	}
	p.Fatal("the pod has no config")
	return nil
}

func TestProgress(t *testing.T) {
	p := newPlace(t).withEngine()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "pose"}}
	p.must(api.Create(ctx, account))
	p.options.Policy.ServiceAccountNames = []string{"pose"}
	p.options.Progress.Host, p.options.Progress.Address = "localhost", freeAddress(t)
	p.start()
	p.submit("run", func(j *v1alpha1.PoseJob) {
		j.Spec.PodTemplate = &v1alpha1.PodTemplate{ServiceAccountName: "pose"}
	})
	pod := p.pod(1)
	p.play(pod, running())
	p.eventually("run", phase(v1alpha1.PhaseRunning))
	stranger := p.stranger("stranger", nil)
	labelled := p.stranger("labelled", map[string]string{v1alpha1.LabelJobUID: pod.Labels[v1alpha1.LabelJobUID], v1alpha1.LabelAttempt: "1"})

	told := p.progressConfig(pod)
	roots := x509.NewCertPool()
	p.g.Expect(roots.AppendCertsFromPEM([]byte(told.CAPEM))).To(BeTrue())
	https := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}}
	push := func(method, token string, body []byte) (int, error) {
		request, err := http.NewRequestWithContext(ctx, method, told.URL, bytes.NewReader(body))
		p.must(err)
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := https.Do(request)
		if err != nil {
			return 0, err
		}
		return response.StatusCode, response.Body.Close()
	}
	good, err := json.Marshal(report.Progress{Version: report.Version, Role: report.RoleDeliver, Stage: "Tracking", Frames: 42, Total: 120, MilliFPS: 2600})
	p.must(err)
	bound := p.token(account, pod, report.ProgressAudience)
	p.g.Eventually(func(g Gomega) {
		_, err := push(http.MethodPost, "", nil)
		g.Expect(err).NotTo(HaveOccurred(), "the server listens")
	}).Should(Succeed())

	for _, c := range []struct {
		name, method, token string
		body                []byte
		want                int
	}{
		{"no token", http.MethodPost, "", good, http.StatusUnauthorized},
		{"no token that anybody gave", http.MethodPost, "abc", good, http.StatusUnauthorized},
		{"a token for another audience", http.MethodPost, p.token(account, pod, "https://kubernetes.default.svc"), good, http.StatusUnauthorized},
		{"a token that is bound to no pod", http.MethodPost, p.token(account, nil, report.ProgressAudience), good, http.StatusUnauthorized},
		{"the token of a pod that is no job's", http.MethodPost, p.token(account, stranger, report.ProgressAudience), good, http.StatusForbidden},
		{"the token of a pod that only looks like a job's", http.MethodPost, p.token(account, labelled, report.ProgressAudience), good, http.StatusForbidden},
		{"a body that is too large", http.MethodPost, bound, append(good, bytes.Repeat([]byte(" "), report.MaxProgressBytes)...), http.StatusRequestEntityTooLarge},
		{"a body that is no JSON", http.MethodPost, bound, []byte("42"), http.StatusBadRequest},
		{"a report of another version", http.MethodPost, bound, []byte(`{"v":99,"stage":"Tracking"}`), http.StatusBadRequest},
		{"a question", http.MethodGet, bound, nil, http.StatusMethodNotAllowed},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := push(c.method, c.token, c.body)
			if err != nil || got != c.want {
				t.Errorf("status %d, %v; want %d", got, err, c.want)
			}
		})
	}
	p.g.Expect(p.job("run").Status.Progress).To(BeNil(), "nothing of that counts")

	got, err := push(http.MethodPost, bound, good)
	p.must(err)
	p.g.Expect(got).To(Equal(http.StatusNoContent))
	j := p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) { g.Expect(j.Status.Progress).NotTo(BeNil()) })
	p.g.Expect(j.Status.Progress.Summary).To(Equal("35% 42/120"))
	p.g.Expect(j.Status.Stage).To(Equal("Tracking"))
	p.g.Expect(j.Status.Attempts[0].Stage).To(Equal("Tracking"))

	p.play(pod, succeeded())
	j = p.eventually("run", phase(v1alpha1.PhaseSucceeded))
	p.g.Expect(j.Status.Progress).To(BeNil())
	p.g.Expect(j.Status.Stage).To(BeEmpty())
}

// stranger is a pod of the job's service account that belongs to no job.
func (p *place) stranger(name string, labels map[string]string) *corev1.Pod {
	p.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: name, Labels: labels},
		Spec:       corev1.PodSpec{ServiceAccountName: "pose", Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
	p.must(api.Create(ctx, pod))
	return pod
}

// freeAddress is one that nobody listens on just now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr())
}
