package storage

import (
	"net/url"
	"regexp"
	"strings"
)

// imageDigest ends the reference of an image that can only ever be one image.
var imageDigest = regexp.MustCompile(`^[^@\s]+@sha256:[0-9a-f]{64}$`)

// openImageSource reads oci://registry/repository@sha256:digest//path: a file of an
// image that the kubelet has mounted. From there on it is as a claim's.
func openImageSource(u *url.URL, o Options) (Source, error) {
	image, path, ok := strings.Cut(u.Host+u.Path, "//")
	switch {
	case !ok || path == "" || strings.HasSuffix(path, "/"):
		return nil, invalid(u.String(), "it names no file: write oci://registry/repository@sha256:digest//path")
	case !imageDigest.MatchString(image):
		return nil, invalid(u.String(), "the image must be named by its digest, so that the same URI is the same file tomorrow: write oci://registry/repository@sha256:digest//path")
	}
	c, err := newClaim(u, path, o)
	if err != nil {
		return nil, err
	}
	return claimSource{c}, nil
}
