package report

import "strings"

// Claim that a pvc:// URI names, or "".
func Claim(uri string) string {
	rest, ok := strings.CutPrefix(uri, "pvc://")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}
