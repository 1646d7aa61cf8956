package errand_test

import (
	"encoding/json"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/errand"
	"github.com/pose-dev/pose-operator/internal/report"
)

// TestBatchErrands: both reach the batch's output with its own Secret or claim, one to
// write and one to read.
func TestBatchErrands(t *testing.T) {
	b := &v1alpha1.PoseBatch{ObjectMeta: metav1.ObjectMeta{Namespace: "snow", Name: "many", UID: "u"}}
	b.Spec.Output = v1alpha1.BatchOutput{URI: "pvc://results/snow/many/", CredentialsSecretRef: &v1alpha1.SecretReference{Name: "store"}}
	b.Spec.Template.PodTemplate = &v1alpha1.PodTemplate{ServiceAccountName: "pose"}
	b.Status.Index = &v1alpha1.BatchIndex{SHA256: strings.Repeat("a", 64)}
	store := report.StoreConfig{S3Endpoint: "http://store:9000"}
	for name, c := range map[string]struct {
		request     errand.Request
		credentials string
		readOnly    bool
	}{
		"purge":  {errand.BatchPurge(b, store, 60), report.OutputCredentialsDir, false},
		"verify": {errand.BatchVerify(b, store, 60), report.CredentialsDir, true},
	} {
		c.request.Settings = errand.Settings{RunnerImage: "runner:v1"}
		pod, err := c.request.Pod()
		if err != nil {
			t.Fatal(err)
		}
		var cfg report.Config
		if err := json.Unmarshal([]byte(pod.Spec.Containers[0].Env[0].Value), &cfg); err != nil {
			t.Fatal(err)
		}
		mounts := map[string]bool{}
		for _, m := range pod.Spec.Containers[0].VolumeMounts {
			mounts[m.MountPath] = m.ReadOnly
		}
		if readOnly, ok := mounts["/pose/claims/out"]; !ok || readOnly != c.readOnly || !mounts[c.credentials] || len(mounts) != 2 {
			t.Errorf("%s: mounts %v", name, mounts)
		}
		if *pod.Spec.ActiveDeadlineSeconds <= 60 || pod.Spec.ServiceAccountName != "pose" || cfg.Job.Name != "many" || cfg.Job.UID != "u" {
			t.Errorf("%s: %+v %+v", name, pod.Spec, cfg.Job)
		}
		switch p, v := cfg.Purge, cfg.Verify; {
		case name == "purge" && (p == nil || p.Batch != "many" || p.URI != "pvc://results/snow/many" || p.PVCMount != "/pose/claims/out" || p.Store.S3Endpoint == ""):
			t.Errorf("%+v", p)
		case name == "verify" && (v == nil || !v.Batch || v.URI != "pvc://results/snow/many" || v.ManifestSHA256 != b.Status.Index.SHA256 || v.PVCMount == ""):
			t.Errorf("%+v", v)
		}
	}
}
