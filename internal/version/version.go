// Package version holds the version that the linker stamps into each binary.
package version

// Version is the release, set by -ldflags "-X …/internal/version.Version=…".
var Version = "dev"
