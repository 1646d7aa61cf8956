// Package dispatch finds which component a multi-call binary was asked for.
// It is apart from the components so that its test need not build them.
package dispatch

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Pick returns the component that argv asks for, by the name it was started
// under first, and the arguments that the component should see.
func Pick(argv, components []string) (name string, args []string, err error) {
	if base := filepath.Base(argv[0]); slices.Contains(components, base) {
		return base, argv, nil
	}
	if len(argv) > 1 && slices.Contains(components, argv[1]) {
		return argv[1], argv[1:], nil
	}
	return "", nil, fmt.Errorf("%s: start it under the name of a component or give one first: %s",
		argv[0], strings.Join(components, ", "))
}
