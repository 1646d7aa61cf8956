//go:build !page

package page

import "io/fs"

// FS says that this program was built without the page: build it with `make
// build` in this folder, and the program with the build tag `page`.
func FS() (fs.FS, bool) { return nil, false }
