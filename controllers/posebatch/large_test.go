package posebatch_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/report"
)

// size of the large batch: POSE_TEST_BATCH_CLIPS, or what fits a test.
func size(t *testing.T) int {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv("POSE_TEST_BATCH_CLIPS")); err == nil {
		return n
	}
	if testing.Short() {
		return 100
	}
	return 300
}

// TestManyClips plays a large batch with PoseJobs that end as soon as they are made,
// and prints what it costs. No object grows with the number of clips, and what the
// manager writes is a few writes a clip.
func TestManyClips(t *testing.T) {
	p := newPlace(t)
	account := p.withAccount()
	p.start()
	n := size(t)
	p.submit(prefixed, parallelism(100))
	var files []string
	for i := range n {
		files = append(files, fmt.Sprintf("site-north/camera-%02d/2026-01-%02d/clip-%06d.mp4", i%7, i%28+1, i))
	}
	begun := time.Now()
	pod := p.pod(v1alpha1.PurposeList, 1)
	rep, err := p.lists(account, pod, files...)
	p.must(err)
	p.says(pod, report.Termination{Result: report.ResultOK, List: rep})
	p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) { g.Expect(b.Status.Counts).NotTo(BeNil()) })
	listed := time.Since(begun)

	largest, ended := 0, map[string]bool{}
	var writes map[string]int
	for len(ended) < n || p.unfinished() > 0 {
		jobs := p.someUnfinished()
		var wait sync.WaitGroup
		slots := make(chan struct{}, 8)
		for i := range jobs {
			j := &jobs[i]
			if ended[j.Name] {
				if strings.HasSuffix(j.Name, "-0") {
					continue
				}
				t.Fatalf("PoseJob %s was made twice", j.Name)
			}
			ended[j.Name] = true
			reason := ok
			if len(ended)%100 == 0 {
				reason = "InputInvalid"
			}
			slots <- struct{}{}
			wait.Go(func() {
				defer func() { <-slots }()
				if err := finish(j, reason, 20, false); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if len(jobs) == 0 {
			time.Sleep(20 * time.Millisecond)
		}
		raw, err := json.Marshal(p.batch())
		p.must(err)
		largest = max(largest, len(raw))
	}
	p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) { g.Expect(b.Status.Phase).To(Equal(v1alpha1.BatchPhaseIndexing)) })
	p.g.Eventually(func() int { return len(p.jobs()) }).Should(BeNumerically("<=", 20))
	took := time.Since(begun)
	writes = p.writes.snapshot()
	b := p.batch()
	if c := b.Status.Counts; int(c.Total) != n || int(c.Succeeded+c.Failed) != n || int(c.Failed) != n/100 || int(b.Status.GPUSeconds) != 20*n {
		t.Errorf("counts %+v, %d GPU seconds", c, b.Status.GPUSeconds)
	}
	p.indexed(int32(n))
	p.eventually(func(g Gomega, b *v1alpha1.PoseBatch) {
		g.Expect(condition(b, v1alpha1.ConditionFinished)).NotTo(BeEmpty())
	})

	var maps corev1.ConfigMapList
	p.must(api.List(ctx, &maps, client.InNamespace(p.namespace), client.HasLabels{v1alpha1.LabelBatchPart}))
	sizes := map[string]int{}
	for _, m := range maps.Items {
		raw, err := m.Marshal()
		p.must(err)
		part := m.Labels[v1alpha1.LabelBatchPart]
		sizes[part] = max(sizes[part], len(raw))
	}
	total := 0
	for kind, k := range writes {
		total += k
		t.Logf("%-22s %6d, %.2f a clip", kind, k, float64(k)/float64(n))
	}
	index, err := p.pod(v1alpha1.PurposeIndex, 1).Marshal()
	p.must(err)
	t.Logf("%d clips in %d chunks: listed in %s, all in %s; %.2f writes a clip; largest batch object %d bytes, chunk %d, record %d, index pod %d", n, b.Status.Listing.Chunks, listed.Round(time.Millisecond), took.Round(time.Millisecond), float64(total)/float64(n), largest, sizes[v1alpha1.PartClips], sizes[v1alpha1.PartRecord], len(index))
	if largest > 16<<10 || sizes[v1alpha1.PartClips] > 512<<10 || sizes[v1alpha1.PartRecord] > 64<<10 {
		t.Errorf("an object is large: batch %d, %v", largest, sizes)
	}
	if float64(total)/float64(n) > 4 {
		t.Errorf("%d writes for %d clips", total, n)
	}
}
