package result

import "github.com/pose-dev/pose-operator/internal/report"

// OwnerFile is the name of an attempt's Owner.
const OwnerFile = "owner.json"

// KindOwner is the kind of an Owner.
const KindOwner = "PoseOwner"

// Owner says whose an attempt's folder is where its manifest does not: of a result
// that was copied from another job's, with the manifest as it was, and of a folder
// whose removal began. It is written before anything else and removed last.
type Owner struct {
	APIVersion string        `json:"apiVersion"`
	Kind       string        `json:"kind"`
	Job        report.JobRef `json:"job"`
	// From and ManifestSHA256 are the result that was copied; empty for none.
	From           string `json:"from,omitempty"`
	ManifestSHA256 string `json:"manifestSHA256,omitempty"`
}

// NewOwner makes an Owner.
func NewOwner(job report.JobRef, from, manifestSHA256 string) Owner {
	return Owner{APIVersion: APIVersion, Kind: KindOwner, Job: job, From: from, ManifestSHA256: manifestSHA256}
}

// ReadOwner reads an owner that anybody may have written, as ReadManifest does.
func ReadOwner(raw []byte) (*Owner, error) {
	var o Owner
	if err := read(raw, KindOwner, &o); err != nil {
		return nil, err
	}
	return &o, checkJob(o.Job)
}
