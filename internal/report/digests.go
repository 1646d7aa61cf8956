package report

import (
	"fmt"
	"regexp"
	"strings"
)

// shortDigest is a ShortDigest.
var shortDigest = regexp.MustCompile(`^[A-Za-z0-9_-]{16}$`)

// IsShortDigest says whether a text can be a ShortDigest.
func IsShortDigest(s string) bool { return shortDigest.MatchString(s) }

// EncodeDigests of the clips of a chunk, one line a clip, which is empty where the
// digest is not known. Empty lines at the end are left out.
func EncodeDigests(digests []string) string {
	return strings.TrimRight(strings.Join(digests, "\n"), "\n")
}

// DecodeDigests of a chunk of so many clips.
func DecodeDigests(text string, clips int) ([]string, error) {
	if len(text) > clips*(ShortDigestLen+1) {
		return nil, fmt.Errorf("%d bytes of digests are too much for %d clips", len(text), clips)
	}
	out := make([]string, clips)
	if text == "" {
		return out, nil
	}
	lines := strings.Split(text, "\n")
	if len(lines) > clips {
		return nil, fmt.Errorf("there are %d digests of %d clips", len(lines), clips)
	}
	for i, line := range lines {
		if line != "" && !IsShortDigest(line) {
			return nil, fmt.Errorf("digest %d is %.40q", i, line)
		}
		out[i] = line
	}
	return out, nil
}
