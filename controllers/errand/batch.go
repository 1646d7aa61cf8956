package errand

import (
	"strings"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/report"
)

// outputMount is where the claim of a batch's output is mounted.
const outputMount = "/pose/claims/out"

// spareSeconds that a pod has longer than its role, so that the role can say why it
// gave up.
const spareSeconds = 60

// BatchPurge removes what a batch and its PoseJobs wrote, within so many seconds. The
// settings are the caller's to fill in.
func BatchPurge(b *v1alpha1.PoseBatch, store report.StoreConfig, seconds int64) Request {
	uri := strings.TrimRight(b.Spec.Output.URI, "/")
	return batchErrand(b, report.Config{
		Role: report.RolePurge,
		Purge: &report.PurgeConfig{
			URI: uri, PVCMount: batchMount(uri), Store: store, Batch: b.Name, TimeoutSeconds: seconds,
		},
	}, Place{Credentials: report.OutputCredentialsDir}, seconds)
}

// BatchVerify checks all results of a batch against its batch.json, whose sha256
// stands in the batch's status.
func BatchVerify(b *v1alpha1.PoseBatch, store report.StoreConfig, seconds int64) Request {
	uri := strings.TrimRight(b.Spec.Output.URI, "/")
	cfg := &report.VerifyConfig{URI: uri, PVCMount: batchMount(uri), Store: store, Batch: true, TimeoutSeconds: seconds}
	if x := b.Status.Index; x != nil {
		cfg.ManifestSHA256 = x.SHA256
	}
	return batchErrand(b, report.Config{Role: report.RoleVerify, Verify: cfg}, Place{Credentials: report.CredentialsDir, ReadOnly: true}, seconds)
}

func batchErrand(b *v1alpha1.PoseBatch, cfg report.Config, p Place, seconds int64) Request {
	cfg.Job = report.JobRef{Namespace: b.Namespace, Name: b.Name, UID: string(b.UID)}
	p.URI, p.Secret, p.Mount = b.Spec.Output.URI, b.Spec.Output.CredentialsSecretRef, outputMount
	r := Request{Config: cfg, Places: []Place{p}, DeadlineSeconds: seconds + spareSeconds}
	if t := b.Spec.Template.PodTemplate; t != nil {
		r.Template = *t
	}
	return r
}

func batchMount(uri string) string {
	if report.Claim(uri) != "" {
		return outputMount
	}
	return ""
}
