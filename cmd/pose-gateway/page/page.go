//go:build page

package page

import (
	"embed"
	"io/fs"
)

// dist is what `make build` made of src. all: takes every file, as a bundler may
// give one a name that begins with _.
//
//go:embed all:dist
var dist embed.FS

// FS is the built page: index.html and assets/, whose names carry a digest of
// their content. It says false where the program was built without the page.
func FS() (fs.FS, bool) {
	root, err := fs.Sub(dist, "dist")
	return root, err == nil
}
