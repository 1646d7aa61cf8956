package progress

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/apitest"
	"github.com/pose-dev/pose-operator/controllers/pace"
	"github.com/pose-dev/pose-operator/internal/report"
)

var (
	config  *rest.Config
	cluster *kubernetes.Clientset
	reader  client.Client
)

func TestMain(m *testing.M) {
	os.Exit(apitest.Main(m, func(c *rest.Config) (err error) {
		config = c
		if cluster, err = kubernetes.NewForConfig(c); err != nil {
			return err
		}
		reader, err = client.New(c, client.Options{})
		return err
	}))
}

func TestTheAPIServerIsNamed(t *testing.T) { apitest.Named(t) }

// job is a namespace with a pod of a PoseJob's attempt in it.
type job struct {
	*testing.T
	namespace string
	pod       *corev1.Pod
}

func newJob(t *testing.T) job {
	t.Helper()
	ns, err := cluster.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "progress-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	j := job{T: t, namespace: ns.Name}
	if _, err := cluster.CoreV1().ServiceAccounts(j.namespace).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	j.pod, err = cluster.CoreV1().Pods(j.namespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "run-1", OwnerReferences: []metav1.OwnerReference{{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "PoseJob", Name: "run", UID: uuid.NewUUID(), Controller: new(true),
		}}},
		Spec: corev1.PodSpec{ServiceAccountName: "default", Containers: []corev1.Container{{Name: "engine", Image: "any"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// token of the job's pod; an empty audience is the API server's own.
func (j job) token(audience string, bound bool) string {
	j.Helper()
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(3600))}}
	if audience != "" {
		req.Spec.Audiences = []string{audience}
	}
	if bound {
		req.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: j.pod.Name, UID: j.pod.UID}
	}
	out, err := cluster.CoreV1().ServiceAccounts(j.namespace).CreateToken(j.Context(), "default", req, metav1.CreateOptions{})
	if err != nil {
		j.Fatal(err)
	}
	return out.Status.Token
}

func keyed(t *testing.T) *Tokens {
	t.Helper()
	h, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return &Tokens{Reviews: cluster.AuthenticationV1(), Server: strings.TrimRight(config.Host, "/"), HTTP: h, Clock: clock.RealClock{}}
}

// reviewed knows no keys.
func reviewed() *Tokens {
	return &Tokens{Reviews: cluster.AuthenticationV1(), Clock: clock.RealClock{}}
}

// TestTokens: both ways to check a token judge alike.
func TestTokens(t *testing.T) {
	j := newJob(t)
	good := j.token(report.ProgressAudience, true)
	parts := strings.Split(good, ".")
	cases := map[string]struct {
		header string
		ok     bool
	}{
		"a pod's own":               {"Bearer " + good, true},
		"of another audience":       {"Bearer " + j.token("somebody.else", true), false},
		"for the API server itself": {"Bearer " + j.token("", true), false},
		"bound to no pod":           {"Bearer " + j.token(report.ProgressAudience, false), false},
		"with another signature":    {"Bearer " + parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])), false},
		"without a signature":       {"Bearer " + parts[0] + "." + parts[1] + ".", false},
		"no token":                  {"Bearer ", false},
		"no header":                 {"", false},
		"too long":                  {"Bearer " + strings.Repeat("a", maxToken+1), false},
	}
	for kind, tokens := range map[string]*Tokens{"by keys": keyed(t), "by review": reviewed()} {
		for name, c := range cases {
			id, err := tokens.identify(t.Context(), c.header)
			if (err == nil) != c.ok {
				t.Errorf("%s, %s: %v", kind, name, err)
			}
			if want := (identity{namespace: j.namespace, pod: j.pod.Name, uid: string(j.pod.UID), until: id.until}); c.ok && id != want {
				t.Errorf("%s, %s: %+v, want %+v", kind, name, id, want)
			}
		}
	}
}

// TestTokensCostTheAPIServerNothing: neither many pods nor tokens of unknown keys
// become requests.
func TestTokensCostTheAPIServerNothing(t *testing.T) {
	j, tokens := newJob(t), keyed(t)
	for range 20 {
		if _, err := tokens.identify(t.Context(), "Bearer "+j.token(report.ProgressAudience, true)); err != nil {
			t.Fatal(err)
		}
	}
	// {"alg":"RS256","kid":"none"} and a body; the keys are looked for again at most
	// once in ten seconds.
	for range 50 {
		if _, err := tokens.identify(t.Context(), "Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6Im5vbmUifQ.e30.AAAA"); err == nil {
			t.Fatal("a token of an unknown key is believed")
		}
	}
	if n := tokens.Requests(); n > 3 {
		t.Errorf("20 tokens and 50 forged ones cost %d requests", n)
	}
}

func TestWithoutKeysTokensAreReviewedAndRemembered(t *testing.T) {
	j, tokens := newJob(t), reviewed()
	token := j.token(report.ProgressAudience, true)
	for range 5 {
		if _, err := tokens.identify(t.Context(), "Bearer "+token); err != nil {
			t.Fatal(err)
		}
	}
	if n := tokens.Requests(); n != 1 {
		t.Errorf("one token cost %d reviews", n)
	}
}

// secret of a certificate, empty.
func (j job) secret(name string) {
	j.Helper()
	if _, err := cluster.CoreV1().Secrets(j.namespace).Create(j.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		j.Fatal(err)
	}
}

// TestReplicasShareOneCertificate also when they begin at once, and after a restart.
func TestReplicasShareOneCertificate(t *testing.T) {
	j := newJob(t)
	j.secret("shared")
	secrets, names := cluster.CoreV1().Secrets(j.namespace), []string{"progress.pose-system.svc"}
	var wait sync.WaitGroup
	got := make([]string, 4)
	for i := range got {
		wait.Go(func() {
			c, err := SharedCertificate(t.Context(), secrets, "shared", names, time.Now())
			if err != nil {
				t.Error(err)
				return
			}
			got[i] = string(c.CertPEM)
		})
	}
	wait.Wait()
	for _, c := range got {
		if c == "" || c != got[0] {
			t.Fatal("replicas have different certificates")
		}
	}
	for name, c := range map[string]struct {
		names []string
		now   time.Time
	}{
		"under another name":    {[]string{"other.svc"}, time.Now()},
		"a year before its end": {names, time.Now().Add(certificateLife - renewBefore + time.Hour)},
	} {
		again, err := SharedCertificate(t.Context(), secrets, "shared", c.names, c.now)
		if err != nil || string(again.CertPEM) == got[0] {
			t.Errorf("%s the certificate is kept (%v)", name, err)
		}
	}
	if _, err := secrets.Patch(t.Context(), "shared", "application/merge-patch+json", []byte(`{"data":{"tls.crt":"eA=="}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := SharedCertificate(t.Context(), secrets, "shared", names, time.Now()); err != nil {
		t.Errorf("one that somebody broke is not made anew: %v", err)
	}
	_, err := SharedCertificate(t.Context(), secrets, "missing", names, time.Now())
	if err == nil || !strings.Contains(err.Error(), "Secret missing") {
		t.Errorf("a Secret that is not there: %v", err)
	}
}

// serve progress as one replica at an address of its own, until the test ends.
func serve(t *testing.T, address string, c *Certificate, elected bool, leader *Leader) *Server {
	t.Helper()
	yes := make(chan struct{})
	if elected {
		close(yes)
	}
	s := &Server{
		Address: address, Client: reader, Tokens: keyed(t), Clock: clock.RealClock{}, Store: &Store{}, Changed: make(chan event.GenericEvent, 16),
		Certificate: c, ServerName: "progress.test", Elected: yes, Leader: leader, Pace: &pace.Pacer{Budget: 0.1},
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// port that is free on two loopback addresses.
func port(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, p, _ := net.SplitHostPort(l.Addr().String())
	return p
}

// answer to a report.
type answer struct {
	StatusCode int
	Status     string
	Header     http.Header
}

// post a report, and try again while nobody listens yet.
func post(t *testing.T, address string, c *Certificate, token string, header ...string) answer {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.CertPEM)
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "progress.test"}}}
	defer h.CloseIdleConnections()
	body, err := json.Marshal(report.Progress{Version: report.Version, Role: report.RoleDeliver, Stage: "Tracking", Frames: 7, Total: 70})
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+address+report.ProgressPath, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := h.Do(req)
		if err == nil {
			resp.Body.Close()
			return answer{resp.StatusCode, resp.Status, resp.Header}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("nobody listens on " + address)
	return answer{}
}

// TestAnyReplicaTakesReports: one that does not lead passes them on to the leader,
// whom it finds by the lease.
func TestAnyReplicaTakesReports(t *testing.T) {
	j := newJob(t)
	certificate, err := NewCertificate([]string{"progress.test"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	leases := cluster.CoordinationV1().Leases(j.namespace)
	if _, err := leases.Create(t.Context(), &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: "lease"}, Spec: coordinationv1.LeaseSpec{HolderIdentity: new(Identity("manager-0", "127.0.0.2", "u"))},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p := port(t)
	find := func() *Leader { return &Leader{Leases: leases, Name: "lease", Clock: clock.RealClock{}} }
	leads := serve(t, "127.0.0.2:"+p, certificate, true, find())
	other := serve(t, "127.0.0.3:"+p, certificate, false, find())
	token := j.token(report.ProgressAudience, true)
	post(t, "127.0.0.2:"+p, certificate, "none") // it listens now

	resp := post(t, "127.0.0.3:"+p, certificate, token)
	if resp.StatusCode != http.StatusNoContent || resp.Header.Get(report.HeaderNext) == "" {
		t.Fatalf("the other replica answers %s, %v", resp.Status, resp.Header)
	}
	if got, ok := leads.Store.Latest(string(j.pod.UID)); !ok || got.Frames != 7 {
		t.Errorf("the leader does not have it: %+v", got)
	}
	if _, ok := other.Store.Latest(string(j.pod.UID)); ok {
		t.Error("the other replica kept it")
	}
	if resp := post(t, "127.0.0.3:"+p, certificate, "forged"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a forged token: %s", resp.Status)
	}
	if resp := post(t, "127.0.0.3:"+p, certificate, token, headerForwarded, "1"); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("what was passed on once is passed on again: %s", resp.Status)
	}
}

// TestPodsAreToldToReportMoreSeldom where more is told than may be written, and a pod
// that ended is not listened to.
func TestPodsAreToldToReportMoreSeldom(t *testing.T) {
	j := newJob(t)
	certificate, err := NewCertificate([]string{"progress.test"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + port(t)
	s := serve(t, address, certificate, true, nil)
	token := j.token(report.ProgressAudience, true)
	if resp := post(t, address, certificate, token); resp.Header.Get(report.HeaderNext) != "0" {
		t.Errorf("a lone pod is told to wait %s s", resp.Header.Get(report.HeaderNext))
	}
	for i := range 20 { // of which each gets a slot of ten seconds
		s.Pace.Wait(pace.Key{Kind: "PoseJob", NamespacedName: client.ObjectKey{Name: strings.Repeat("x", i)}}, time.Second, time.Now())
	}
	if resp := post(t, address, certificate, token); len(resp.Header.Get(report.HeaderNext)) != 3 {
		t.Errorf("with 200 s of writes before its own a pod is told to wait %s s", resp.Header.Get(report.HeaderNext))
	}
	j.pod.Status.Phase = corev1.PodFailed
	if _, err := cluster.CoreV1().Pods(j.namespace).UpdateStatus(t.Context(), j.pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if resp := post(t, address, certificate, token); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a pod that ended: %s", resp.Status)
	}
}
