package faults

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/apitest"
)

var (
	config *rest.Config
	scheme = runtime.NewScheme()
	api    client.WithWatch
)

func TestMain(m *testing.M) {
	flag.Parse()
	if !set("test.parallel") {
		// Managers mostly wait for caches and for replies.
		_ = flag.Set("test.parallel", "12")
	}
	code := apitest.Main(m, connect)
	fmt.Println(sum.String())
	os.Exit(code)
}

// set says whether a flag was given.
func set(name string) (is bool) {
	flag.Visit(func(f *flag.Flag) { is = is || f.Name == name })
	return is
}

func connect(c *rest.Config) (err error) {
	config = c
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	if api, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	return api.Create(ctx, engine())
}

func TestTheAPIServerIsNamed(t *testing.T) { apitest.Named(t) }

// everything is played where POSE_FAULTS says so; else what a fixed rule picks.
func everything() bool { return os.Getenv("POSE_FAULTS") == "all" }

// summary of what was played.
type summary struct {
	mu                                       sync.Mutex
	scenarios, writes, replays, lives, never int
}

var sum summary

func (s *summary) String() string {
	return fmt.Sprintf("faults: %d scenarios of %d writes, %d replays in %d lives of the manager; the fault came in all but %d", s.scenarios, s.writes, s.replays, s.lives, s.never)
}

func (s *summary) add(w *world, wanted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replays++
	s.lives += w.lives
	if wanted && w.wire.hit() == 0 {
		s.never++
	}
}

// undisturbed run of a scenario, once for all tests.
type undisturbed struct {
	once   sync.Once
	writes []string
	end    string
}

var runs0 sync.Map

func baseline(t *testing.T, s scenario) *undisturbed {
	t.Helper()
	got, _ := runs0.LoadOrStore(s.name, &undisturbed{})
	b := got.(*undisturbed) //nolint:forcetypeassert // nothing else is stored
	b.once.Do(func() {
		w, end := run(t, s, fault{})
		judge(t, w)
		if n := len(w.wire.record()); n > s.most {
			t.Errorf("%d writes, where the undisturbed run may need %d", n, s.most)
		}
		for _, want := range s.wants {
			if !strings.Contains(end, want) {
				t.Fatalf("the undisturbed run did not go as it is meant to: %q is not in its end:\n%s", want, end)
			}
		}
		t.Logf("%d writes: %s", len(w.wire.record()), strings.Join(w.wire.record(), ", "))
		b.writes, b.end = w.wire.record(), end
		sum.mu.Lock()
		defer sum.mu.Unlock()
		sum.scenarios++
		sum.writes += len(b.writes)
	})
	if b.end == "" {
		t.Fatal("the undisturbed run failed")
	}
	return b
}

// judge what the oracle saw.
func judge(t *testing.T, w *world) {
	t.Helper()
	for _, b := range w.broken {
		t.Error(b)
	}
	if t.Failed() {
		t.Logf("writes:\n%s", strings.Join(w.wire.record(), "\n"))
	}
}

// replay a scenario under a fault: its end must be that of the undisturbed run, and
// its writes bounded.
func replay(t *testing.T, s scenario, b *undisturbed, f fault) {
	t.Run(f.String(), func(t *testing.T) {
		t.Parallel()
		w, end := run(t, s, f)
		sum.add(w, f.write != 0 || f.readsFail > 0 || f.watches.cut > 0)
		if diff := cmp.Diff(b.end, end); diff != "" {
			t.Errorf("the end differs from the undisturbed one (-want +got):\n%s", diff)
		}
		if n, most := len(w.wire.record()), 2*len(b.writes)+2*w.lives+6; n > most {
			t.Errorf("%d writes, where the undisturbed run needs %d: more than the %d that a fault may cost", n, len(b.writes), most)
		}
		judge(t, w)
	})
}

// disturb every scenario by the faults that are chosen for its writes.
func disturb(t *testing.T, faults func(writes []string) []fault) {
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			b := baseline(t, s)
			for _, f := range faults(b.writes) {
				replay(t, s, b, f)
			}
		})
	}
}

// A manager that is killed at any write leaves nothing that the next one does not mend.
func TestCrashAtEveryWrite(t *testing.T) {
	disturb(t, func(writes []string) []fault {
		out := []fault{{write: each, point: killedAfter}}
		for n := range writes {
			for i, p := range []point{killedAfter, killedBefore, killedReply} {
				if everything() || i == 0 || (n+i)%4 == 0 {
					out = append(out, fault{write: n + 1, point: p})
				}
			}
		}
		return out
	})
}

// A write that is refused, or whose reply is lost, is made again and nothing twice.
func TestEveryWriteFailsOnce(t *testing.T) {
	disturb(t, func(writes []string) []fault {
		out := []fault{{readsFail: 2}}
		for n := range writes {
			for i, p := range []point{conflict, lostReply, serverError, tooMany} {
				if everything() || (n+i)%4 == 0 {
					out = append(out, fault{write: n + 1, point: p})
				}
			}
		}
		return out
	})
}

// Caches that are behind, cut off, or behind for one kind alone decide nothing twice.
func TestStaleCaches(t *testing.T) {
	disturb(t, func(writes []string) []fault {
		var out []fault
		for n, name := range writes {
			// Nobody knows that the pod is there: neither by the reply, nor by an event.
			if name == "POST pods" {
				out = append(out, fault{write: n + 1, point: lostReply, watches: watchFault{resource: "pods", held: true}})
			}
		}
		for _, resource := range []string{"pods", "posejobs", ""} {
			for _, f := range []watchFault{{held: true}, {lag: 2}, {cut: 1}, {cut: 2, gone: true}} {
				f.resource = resource
				if everything() || f.held || (resource == "") == (f.cut > 0) {
					out = append(out, fault{watches: f})
				}
			}
		}
		return out
	})
}
