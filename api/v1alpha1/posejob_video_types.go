package v1alpha1

import "k8s.io/apimachinery/pkg/util/intstr"

// VideoSource names a video.
type VideoSource struct {
	// URI is s3://bucket/key, gs://bucket/key, azblob://container/key,
	// https://host/path, http://host/path, pvc://claim/path, or
	// oci://registry/repository@sha256:digest//path for a file in an image, where
	// the cluster has image volumes. Credentials and signed URLs belong into the
	// Secret; the pull secrets of an image are the pod's.
	// +kubebuilder:validation:MinLength=8
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.matches('^(s3|gs|azblob|https?|pvc|oci)://')",message="unknown scheme: a video is s3://bucket/key, gs://bucket/key, azblob://container/key, https://host/path, http://host/path, pvc://claim/path or oci://image//path"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[^/]*//[^/]*@')",message="no user or password in a URI: put them into the Secret that credentialsSecretRef names"
	// +kubebuilder:validation:XValidation:rule="!self.contains('?') && !self.contains('#')",message="no query or fragment in a URI: put a signed URL into the key url of the Secret that credentialsSecretRef names"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^/]*//[^/]+/.')",message="the URI names no object: write scheme://bucket-or-host/path"
	// +kubebuilder:validation:XValidation:rule="!self.matches('(/|^)[.][.]?(/|$)') && !self.matches('%2[EeFf]')",message="no . or .. in the path of a URI, and no percent-encoded dot or slash"
	// +kubebuilder:validation:XValidation:rule="!self.matches('[[:cntrl:][:space:]]')",message="no white space or control characters in a URI: write them percent-encoded"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('pvc:') || self.matches('^pvc://[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/')",message="pvc://claim/path must name a PersistentVolumeClaim of this namespace"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('oci:') || self.matches('^oci://[a-z0-9.-]+(:[0-9]+)?/[^@]+@sha256:[0-9a-f]{64}//[^/].*$')",message="oci:// must name an image by digest, and a file in it: oci://registry/repository@sha256:digest//path"
	URI string `json:"uri"`

	// SHA256 of the video in lower-case hex. When set, a video that differs
	// fails the job.
	// +optional
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	SHA256 string `json:"sha256,omitempty"`

	// CredentialsSecretRef names a Secret in this namespace. Keys for s3:
	// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; for gs:
	// credentials.json (a service account's key); for azblob: AZURE_STORAGE_KEY or
	// AZURE_STORAGE_SAS_TOKEN; for http: username and password, or token, or url
	// (a signed URL). Only the containers that read the video see it.
	// +optional
	CredentialsSecretRef *SecretReference `json:"credentialsSecretRef,omitempty"`

	// Frames limits the job to a part of the video.
	// +optional
	Frames *FrameRange `json:"frames,omitempty"`

	// Boxes are the people's boxes, found before by other means. With them no
	// detector is loaded: only variants that take boxes run the job.
	// +optional
	Boxes *BoxesSource `json:"boxes,omitempty"`

	// CaptureFPS is how many frames a second the camera took, where the video
	// plays them slower: 240 for slow motion, or "239.76". Unset means the video's
	// own rate.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 1 && self <= 100000 : self.matches('^[0-9]{1,6}([.][0-9]{1,6})?$') && double(self) >= 1.0 && double(self) <= 100000.0",message="captureFPS must be a number of frames a second from 1 to 100000, as 240 or \"239.76\""
	CaptureFPS *intstr.IntOrString `json:"captureFPS,omitempty"`

	// FocalLengthPx is the camera's focal length in pixels of this video: its
	// width times the lens's focal length over the sensor's width, both in mm.
	// Unset leaves a guess to the engine, which makes distances from the camera
	// a guess too.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	FocalLengthPx *int64 `json:"focalLengthPx,omitempty"`
}

// BoxesSource names a file with the boxes of the people in a video.
type BoxesSource struct {
	// URI of a .json or .csv file, with the schemes of spec.video.uri. Its frames
	// are those of the source video, counted from 0. docs/boxes.md has the format.
	// +kubebuilder:validation:MinLength=8
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.matches('^(s3|gs|azblob|https?|pvc|oci)://')",message="unknown scheme: boxes are s3://bucket/key, gs://bucket/key, azblob://container/key, https://host/path, http://host/path, pvc://claim/path or oci://image//path"
	// +kubebuilder:validation:XValidation:rule="self.endsWith('.json') || self.endsWith('.csv')",message="boxes are a .json or .csv file: docs/boxes.md has the format"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[^/]*//[^/]*@')",message="no user or password in a URI: put them into the Secret that credentialsSecretRef names"
	// +kubebuilder:validation:XValidation:rule="!self.contains('?') && !self.contains('#')",message="no query or fragment in a URI: put a signed URL into the key url of the Secret that credentialsSecretRef names"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^/]*//[^/]+/.')",message="the URI names no object: write scheme://bucket-or-host/path"
	// +kubebuilder:validation:XValidation:rule="!self.matches('(/|^)[.][.]?(/|$)') && !self.matches('%2[EeFf]')",message="no . or .. in the path of a URI, and no percent-encoded dot or slash"
	// +kubebuilder:validation:XValidation:rule="!self.matches('[[:cntrl:][:space:]]')",message="no white space or control characters in a URI: write them percent-encoded"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('pvc:') || self.matches('^pvc://[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/')",message="pvc://claim/path must name a PersistentVolumeClaim of this namespace"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('oci:') || self.matches('^oci://[a-z0-9.-]+(:[0-9]+)?/[^@]+@sha256:[0-9a-f]{64}//[^/].*$')",message="oci:// must name an image by digest, and a file in it: oci://registry/repository@sha256:digest//path"
	URI string `json:"uri"`

	// SHA256 of the file in lower-case hex. When set, a file that differs fails
	// the job.
	// +optional
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	SHA256 string `json:"sha256,omitempty"`

	// CredentialsSecretRef names a Secret in this namespace, with the keys of
	// video.credentialsSecretRef. Only the container that fetches sees it.
	// +optional
	CredentialsSecretRef *SecretReference `json:"credentialsSecretRef,omitempty"`
}

// SecretReference names a Secret in the namespace of the PoseJob.
type SecretReference struct {
	// Name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// FrameRange is a part of a video, counted in frames of the source from 0.
//
// +kubebuilder:validation:XValidation:rule="!has(self.end) || self.end > (has(self.start) ? self.start : 0)",message="frames.end must be greater than frames.start: it is the first frame that is left out"
type FrameRange struct {
	// Start is the first frame, counted from 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Start int64 `json:"start,omitempty"`
	// End is the first frame that is left out. Unset means to the end.
	// +optional
	// +kubebuilder:validation:Minimum=1
	End int64 `json:"end,omitempty"`
}
