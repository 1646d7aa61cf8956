package result

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	maxArchive   = 4<<30 - 2 // bytes of the file: no zip64 directory
	maxArrays    = 64        // files in the archive
	maxDirectory = 64<<10 - 2
	maxHeader    = 4096 // bytes of an array's description
	endOfZip     = 22   // bytes of the record that ends an archive without comment
)

// array is one .npy file of an archive. Its data is read once, in order.
type array struct {
	name  string
	descr string // NumPy's type: <f4, <i4, <f8, |b1, <U21
	shape []int64
	data  io.ReadCloser
}

// openArchive lists the files of an .npz. The directory is bounded before
// archive/zip reads it, as that takes memory for whatever the file holds: it reads
// entries until one is none, whatever the size that is claimed, and compares their
// number modulo 65 536. A directory that begins where the end record says and ends
// at that record has at most maxDirectory bytes, so some 1 400 entries.
func openArchive(r io.ReaderAt, size int64) (map[string]*zip.File, error) {
	if size < endOfZip || size > maxArchive {
		return nil, fmt.Errorf("a zip archive of %d to %d bytes expected, it has %d", endOfZip, int64(maxArchive), size)
	}
	var end [endOfZip]byte
	if _, err := r.ReadAt(end[:], size-endOfZip); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the archive's end: %w", err)
	}
	here, files := binary.LittleEndian.Uint16(end[8:]), binary.LittleEndian.Uint16(end[10:])
	directory, offset := binary.LittleEndian.Uint32(end[12:]), binary.LittleEndian.Uint32(end[16:])
	switch {
	case string(end[:4]) != "PK\x05\x06":
		return nil, errors.New("the file does not end as a zip archive: it is none, or was cut off")
	case files > maxArrays || directory > maxDirectory || offset == 1<<32-1:
		return nil, fmt.Errorf("an archive of at most %d arrays expected, it has %d", maxArrays, files)
	case here != files || int64(offset)+int64(directory) != size-endOfZip:
		return nil, fmt.Errorf("the archive's list of %d files does not lie where its end says, %d bytes from byte %d on: write it as numpy.savez does, in one part", files, directory, offset)
	}
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("the zip archive cannot be read: %w", err)
	}
	found := make(map[string]*zip.File, len(z.File))
	for _, f := range z.File {
		if found[f.Name] != nil {
			return nil, fmt.Errorf("the archive holds %q twice", clip(f.Name))
		}
		found[f.Name] = f
	}
	return found, nil
}

// description matches the header that NumPy writes; it sorts the three keys.
var description = regexp.MustCompile(`^\{'descr': '([<|][A-Za-z][0-9]{1,4})', 'fortran_order': False, 'shape': \(([0-9, ]*)\), \}\s*\n$`)

// openArray opens an array and reads its description (format versions 1.0 to 3.0
// of https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
// Object arrays, which are pickles, have no length in their type and do not match.
func openArray(files map[string]*zip.File, name string) (*array, error) {
	f := files[name+".npy"]
	if f == nil {
		return nil, fmt.Errorf("array %q is missing", name)
	}
	data, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("array %q cannot be opened: %w", name, err)
	}
	a := &array{name: name, data: data}
	if err := a.describe(); err != nil {
		data.Close()
		return nil, fmt.Errorf("array %q: %w", name, err)
	}
	return a, nil
}

func (a *array) describe() error {
	var magic [8]byte
	if _, err := io.ReadFull(a.data, magic[:]); err != nil || string(magic[:6]) != "\x93NUMPY" {
		return errors.New("it is no array in NumPy's format")
	}
	width := 4
	if magic[6] == 1 {
		width = 2
	}
	if magic[6] < 1 || magic[6] > 3 {
		return fmt.Errorf("version %d of NumPy's format is unknown", magic[6])
	}
	length := make([]byte, 4)
	if _, err := io.ReadFull(a.data, length[:width]); err != nil {
		return errors.New("it ends within its header")
	}
	n := binary.LittleEndian.Uint32(length)
	if n > maxHeader {
		return fmt.Errorf("its header has %d bytes, at most %d are read", n, maxHeader)
	}
	header := make([]byte, n)
	if _, err := io.ReadFull(a.data, header); err != nil {
		return errors.New("it ends within its header")
	}
	m := description.FindSubmatch(header)
	if m == nil {
		return fmt.Errorf("its header is not that of a plain little-endian array in C order: %s", clip(string(header)))
	}
	a.descr = string(m[1])
	var err error
	a.shape, err = shape(string(m[2]))
	return err
}

// shape reads "3, 4" or "3,".
func shape(s string) ([]int64, error) {
	dims := []int64{}
	if strings.TrimSpace(s) == "" {
		return dims, nil
	}
	for _, part := range strings.Split(strings.TrimSuffix(strings.TrimSpace(s), ","), ",") {
		n, err := strconv.ParseInt(strings.TrimSpace(part), 10, 64)
		if err != nil || n < 0 || len(dims) > 8 {
			return nil, fmt.Errorf("its shape (%s) is none", clip(s))
		}
		dims = append(dims, n)
	}
	return dims, nil
}

// expect checks type and shape; -1 takes any length, which is returned.
func (a *array) expect(descr string, dims ...int64) (int64, error) {
	free := int64(0)
	fits := a.descr == descr && len(a.shape) == len(dims)
	for i := range dims {
		if !fits {
			break
		}
		if dims[i] < 0 {
			free = a.shape[i]
		} else {
			fits = a.shape[i] == dims[i]
		}
	}
	if !fits {
		return 0, fmt.Errorf("array %q has type %s and shape %v, %s and %v expected (-1: any)", a.name, clip(a.descr), a.shape, descr, dims)
	}
	return free, nil
}

// items reads exactly n items of size bytes and hands out a few thousand at a
// time. Memory is taken for what was read, not for what is announced.
func (a *array) items(n int64, size int, chunk func([]byte) error) error {
	buffer := make([]byte, max(1, (64<<10)/size)*size)
	for n > 0 {
		part := buffer[:min(n*int64(size), int64(len(buffer)))]
		if _, err := io.ReadFull(a.data, part); err != nil {
			return fmt.Errorf("array %q: it ends before its last item: %w", a.name, err)
		}
		if err := chunk(part); err != nil {
			return err
		}
		n -= int64(len(part) / size)
	}
	// Reading to the end makes archive/zip compare the checksum.
	switch n, err := io.ReadFull(a.data, buffer[:1]); {
	case n > 0:
		return fmt.Errorf("array %q goes on behind its last item", a.name)
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("array %q: %w", a.name, err)
	}
	return nil
}

// texts reads an array of fixed-width text (UTF-32, padded by zeros).
func (a *array) texts(dims ...int64) ([]string, error) {
	width, err := strconv.Atoi(strings.TrimPrefix(a.descr, "<U"))
	if err != nil || !strings.HasPrefix(a.descr, "<U") || width < 1 || width > 64 || !slices.Equal(a.shape, dims) {
		return nil, fmt.Errorf("array %q has type %s and shape %v, text of at most 64 characters and %v expected", a.name, clip(a.descr), a.shape, dims)
	}
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	var out []string
	err = a.items(n, 4*width, func(b []byte) error {
		for ; len(b) > 0; b = b[4*width:] {
			var s strings.Builder
			for i := 0; i < width; i++ {
				if r := binary.LittleEndian.Uint32(b[4*i:]); r != 0 {
					s.WriteRune(rune(r)) //nolint:gosec // WriteRune replaces what is no rune
				}
			}
			out = append(out, s.String())
		}
		return nil
	})
	return out, err
}
