package exports

import (
	"archive/zip"
	"bufio"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxAside bounds the files that wait at a time: each has a descriptor.
const maxAside = 16

// pack writes files into one folder of a zip. A zip takes one after the other, and a
// format may write several at once: those that begin while another is open are kept in
// a temporary file until it ends.
type pack struct {
	zip    *zip.Writer
	folder string
	dir    string // for temporary files
	left   int64  // bytes that may yet be kept aside
	count  int
	open   bool
	aside  []*aside // closed, in the order in which they ended
	kept   []*os.File
}

func newPack(w io.Writer, folder, dir string, limit int64) *pack {
	z := zip.NewWriter(w)
	// Text shrinks to a tenth either way, and this is several times as fast.
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	return &pack{zip: z, folder: folder, dir: dir, left: limit}
}

// create is an export.Create.
func (p *pack) create(name string) (io.WriteCloser, error) {
	if p.count++; p.count > maxFrameFiles {
		return nil, fmt.Errorf("the export has more than %d files: use kubectl pose export", maxFrameFiles)
	}
	if p.open {
		return p.keep(name)
	}
	w, err := p.entry(name)
	if err != nil {
		return nil, err
	}
	p.open = true
	return &entry{Writer: w, pack: p}, nil
}

func (p *pack) entry(name string) (io.Writer, error) {
	w, err := p.zip.CreateHeader(&zip.FileHeader{Name: p.folder + "/" + name, Method: zip.Deflate})
	if err != nil {
		return nil, fmt.Errorf("add %s to the zip: %w", name, err)
	}
	return w, nil
}

// entry is the file that goes straight into the zip.
type entry struct {
	io.Writer
	pack *pack
}

// Close ends the file: those that waited for it follow.
func (e *entry) Close() error {
	e.pack.open = false
	return e.pack.follow()
}

// follow adds what was kept aside meanwhile.
func (p *pack) follow() error {
	for _, a := range p.aside {
		if err := p.add(a); err != nil {
			return err
		}
	}
	p.aside = nil
	return nil
}

func (p *pack) add(a *aside) error {
	w, err := p.entry(a.name)
	if err != nil {
		return err
	}
	if _, err := a.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read a temporary file: %w", err)
	}
	if _, err := io.Copy(w, a.file); err != nil {
		return fmt.Errorf("add %s to the zip: %w", a.name, err)
	}
	return nil
}

// Close frees what was kept aside, also of an export that failed.
func (p *pack) Close() {
	for _, f := range p.kept {
		_ = f.Close() // it is needed no longer
	}
}

// end the zip.
func (p *pack) end() error {
	if p.open {
		return errors.New("a file of the export was not ended")
	}
	if err := p.zip.Close(); err != nil {
		return fmt.Errorf("end the zip: %w", err)
	}
	return nil
}

// aside is a file that waits for another to end.
type aside struct {
	*bufio.Writer
	name string
	file *os.File
	pack *pack
}

func (p *pack) keep(name string) (io.WriteCloser, error) {
	if len(p.kept) == maxAside {
		return nil, fmt.Errorf("the export writes more than %d files at once: use kubectl pose export", maxAside)
	}
	f, err := nameless(p.dir)
	if err != nil {
		return nil, err
	}
	p.kept = append(p.kept, f)
	a := &aside{name: name, file: f, pack: p}
	a.Writer = bufio.NewWriterSize(bounded{p, f}, 1<<16)
	return a, nil
}

// Close ends the file; it goes into the zip once no other is open there.
func (a *aside) Close() error {
	if err := a.Flush(); err != nil {
		return fmt.Errorf("write a temporary file: %w", err)
	}
	a.pack.aside = append(a.pack.aside, a)
	if a.pack.open {
		return nil
	}
	return a.pack.follow()
}

// bounded writes no more than what the pack may keep aside.
type bounded struct {
	pack *pack
	to   io.Writer
}

func (b bounded) Write(p []byte) (int, error) {
	if b.pack.left -= int64(len(p)); b.pack.left < 0 {
		return 0, errors.New("the export keeps more aside than this service has room for: use kubectl pose export")
	}
	return b.to.Write(p) //nolint:wrapcheck // the file's own error
}

// nameless is a temporary file without a name: it is gone with the process, however
// that ends.
func nameless(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "export-")
	if err != nil {
		return nil, noRoom(err)
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, noRoom(err)
	}
	return f, nil
}
