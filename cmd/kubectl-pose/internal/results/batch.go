package results

import (
	"context"
	"encoding/json"
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
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
	"github.com/pose-dev/pose-operator/controllers/errand"
	"github.com/pose-dev/pose-operator/internal/clips"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
)

// batchName of an argument that names a batch as kubectl does.
func batchName(what string) (string, bool) {
	kind, name, ok := strings.Cut(what, "/")
	switch kind {
	case "pb", "batch", "posebatch", "posebatches", "posebatch.pose.dev", "posebatches.pose.dev":
		return name, ok && name != "" && !strings.Contains(name, "/") && !strings.HasPrefix(name, ".")
	}
	return "", false
}

// verifyBatchByPod checks every result of a batch by a pod in the cluster.
func verifyBatchByPod(ctx context.Context, c *cluster.PodRunner, f verifyFlags, name string) (*verified, error) {
	b, err := c.Batch(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case b.Status.Index == nil || b.Status.Index.URI == "":
		return nil, fmt.Errorf("PoseBatch %s/%s has no batch.json yet: its phase is %s", b.Namespace, name, term.Known(string(b.Status.Phase)))
	}
	settings, err := c.Settings(ctx, f.operator, f.runner)
	if err != nil {
		return nil, err
	}
	r := errand.BatchVerify(b, settings.Store, int64(f.timeout/time.Second))
	r.Settings = settings
	if f.manifest != "" {
		r.Config.Verify.ManifestSHA256 = f.manifest
	}
	s, err := c.Errand(ctx, r, f.timeout)
	if err != nil {
		return nil, err
	}
	v, err := judged(s, r.Config.Verify.ManifestSHA256)
	if err != nil {
		return nil, err
	}
	for line := range strings.SplitSeq(s.Log, "\n") {
		if raw, ok := strings.CutPrefix(line, verify.BatchPrefix); ok {
			var head clips.IndexHead
			if json.Unmarshal([]byte(raw), &head) == nil {
				v.Batch = &head
			}
		}
	}
	return v, nil
}

// verifyBatchHere checks every result of a batch from where the person sits.
func verifyBatchHere(ctx context.Context, store verify.Store, f verifyFlags, notes io.Writer) (*verified, error) {
	say := term.NewProgress(notes, f.quiet)
	rep, head, err := verify.Batch(ctx, store, f.manifest, verify.BatchOptions{Progress: func(p verify.BatchProgress) {
		say.Line("checking %s: %d of %d results, %d MiB", term.Clipped(store.String()), p.Results, p.Total, p.Bytes>>20)
	}})
	if err != nil {
		return nil, err
	}
	return &verified{VerifyReport: *rep, ManifestCompared: f.manifest != "", Batch: head}, nil
}

// isBatch says whether a place without a result has a batch's index.
func isBatch(ctx context.Context, store verify.Store, err error) bool {
	if storage.KindOf(err) != storage.NotFound {
		return false
	}
	is, err := verify.IsBatch(ctx, store)
	return err == nil && is
}

func (v *verified) batchTable(w io.Writer) {
	t := term.Table(w)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, term.OneLine(fmt.Sprintf(format, args...)))
	}
	row("Results", "%s", v.URI)
	if h := v.Batch; h != nil {
		row("Made by", "batch %s/%s, of operator %s", h.Batch.Namespace, h.Batch.Name, term.Known(h.OperatorVersion))
		row("At", "%s to %s", h.StartedAt, h.CompletedAt)
		row("Clips", "%d: %d succeeded, %d failed, %d cancelled %s", h.Counts.Total, h.Counts.Succeeded, h.Counts.Failed, h.Counts.Cancelled, h.Stopped)
	}
	row("Checked", "%d results, %d files, %d bytes, batch.json sha256 %s", v.Results, v.Files, v.Bytes, v.ManifestSHA256)
	_ = t.Flush() // to a writer whose errors come again
	for _, p := range v.Problems {
		fmt.Fprintf(w, "DAMAGED  %s\n", term.OneLine(p))
	}
	switch {
	case !v.Whole:
	case v.ManifestCompared:
		fmt.Fprintln(w, "All results are whole.")
	default:
		fmt.Fprintln(w, "The results are as batch.json says. Whether that is the one that was written only its digest tells: compare it with --manifest-sha256.")
	}
}

// batchTarget is the results of a whole batch, to be removed.
func (p *purger) batchTarget(ctx context.Context, name string) (*target, error) {
	g := p.flags.gone
	if p.flags.video || p.flags.copies || g.videoURI != "" {
		return nil, errors.New("of a batch only its results can be removed: leave --video, --copies and what goes with them out")
	}
	var b v1alpha1.PoseBatch
	err := p.Client.Get(ctx, client.ObjectKey{Namespace: p.Namespace, Name: name}, &b)
	there := err == nil
	switch {
	case there && !meta.IsStatusConditionTrue(b.Status.Conditions, v1alpha1.ConditionFinished):
		return nil, fmt.Errorf("PoseBatch %s/%s has not ended, and would write on: wait for its end, or delete it first", b.Namespace, name)
	case there && g.outputURI != "":
		return nil, fmt.Errorf("PoseBatch %s/%s is there: leave out --output-uri and what goes with it, for it says all that itself", p.Namespace, name)
	case !there && (!apierrors.IsNotFound(err) || g.outputURI == ""):
		return nil, fmt.Errorf("%w; of a batch that was deleted say --output-uri", p.Explain(err, "read", "PoseBatch "+p.Namespace+"/"+name))
	case !there:
		b = v1alpha1.PoseBatch{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: name, UID: types.UID(g.uid)}}
		b.Spec.Output = v1alpha1.BatchOutput{URI: g.outputURI, CredentialsSecretRef: secretRef(g.secret)}
		if g.serviceAccount != "" {
			b.Spec.Template.PodTemplate = &v1alpha1.PodTemplate{ServiceAccountName: g.serviceAccount}
		}
	}
	if b.UID != "" {
		var jobs v1alpha1.PoseJobList
		if err := p.Client.List(ctx, &jobs, client.InNamespace(p.Namespace), client.MatchingLabels{v1alpha1.LabelBatchUID: string(b.UID)}); err != nil {
			return nil, p.Explain(err, "list", "PoseJobs")
		}
		for i := range jobs.Items {
			if !finished(&jobs.Items[i]) {
				return nil, fmt.Errorf("PoseJob %s of the batch has not ended, and would write on: wait for it, or delete it", jobs.Items[i].Name)
			}
		}
	}
	job := &v1alpha1.PoseJob{ObjectMeta: b.ObjectMeta}
	job.Spec.Output.URI = b.Spec.Output.URI
	return &target{job: job, batch: &b}, nil
}

// batchRequest is the pod that removes what a batch wrote.
func (p *purger) batchRequest(b *v1alpha1.PoseBatch, settings errand.Settings) errand.Request {
	r := errand.BatchPurge(b, settings.Store, int64(p.flags.timeout/time.Second))
	r.Settings = settings
	r.Config.Purge.DryRun = p.flags.dryRun
	return r
}
