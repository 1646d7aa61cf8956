package deliver

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
)

// mp4Box makes a box of parts.
func mp4Box(kind string, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	return append(append(b, kind...), body...)
}

func longBox(kind string, body []byte) []byte {
	b := append([]byte{0, 0, 0, 1}, kind...)
	b = binary.BigEndian.AppendUint64(b, uint64(16+len(body)))
	return append(b, body...)
}

func TestCheckMP4(t *testing.T) {
	ftyp, trak := mp4Box("ftyp", []byte("isom")), mp4Box("trak")
	moov, mdat := mp4Box("moov", mp4Box("mvhd"), trak), mp4Box("mdat", []byte("frames"))
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	toEnd := append([]byte{0, 0, 0, 0}, "mdatxx"...)
	for name, tc := range map[string]struct {
		file []byte
		want string // "" is valid
	}{
		"index last":          {join(ftyp, mdat, moov), ""},
		"index first":         {join(ftyp, moov, mp4Box("free"), mdat), ""},
		"long size":           {join(ftyp, longBox("mdat", []byte("frames")), moov), ""},
		"box to the end":      {join(ftyp, moov, toEnd), ""},
		"empty":               {nil, "ftyp"},
		"text":                {[]byte("this is no video"), "bytes where"},
		"no index":            {join(ftyp, mdat), "no moov"},
		"no data":             {join(ftyp, moov), "no media data"},
		"no track":            {join(ftyp, mp4Box("moov", mp4Box("mvhd")), mdat), "no track"},
		"cut in the data":     {join(ftyp, moov, mdat[:10]), "bytes where"},
		"cut in a header":     {join(ftyp, moov, mdat, []byte{0, 0, 0}), "stray bytes"},
		"size below a header": {join(ftyp, []byte{0, 0, 0, 2, 'f', 'r', 'e', 'e'}), "bytes where"},
		"huge long size":      {join(ftyp, []byte{0, 0, 0, 1, 'm', 'd', 'a', 't', 255, 255, 255, 255, 255, 255, 255, 255}), "reaches beyond"},
		"cut long size":       {join(ftyp, []byte{0, 0, 0, 1, 'm', 'd', 'a', 't', 0}), "cut off"},
		"bad inner box":       {join(ftyp, mp4Box("moov", []byte{0, 0, 1, 0, 't', 'r', 'a', 'k'}), mdat), "in moov"},
	} {
		err := checkMP4(bytes.NewReader(tc.file), int64(len(tc.file)))
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzCheckMP4(f *testing.F) {
	f.Add(bytes.Join([][]byte{mp4Box("ftyp"), mp4Box("moov", mp4Box("trak")), longBox("mdat", []byte("x"))}, nil))
	f.Fuzz(func(_ *testing.T, b []byte) { _ = checkMP4(bytes.NewReader(b), int64(len(b))) })
}

func TestJudgeFiles(t *testing.T) {
	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 4, 3))); err != nil {
		t.Fatal(err)
	}
	huge := append([]byte(nil), picture.Bytes()...)
	copy(huge[16:], []byte{0, 1, 0, 0, 0, 1, 0, 0}) // IHDR's size; its checksum is wrong too
	for name, tc := range map[string]struct {
		format   report.OutputFormat
		content  []byte
		make     func(path string) error
		optional bool
		max      int64
		want     string // "" is valid
		files    int
	}{
		"picture":          {format: report.FormatPNG, content: picture.Bytes(), files: 1},
		"cut picture":      {format: report.FormatPNG, content: picture.Bytes()[:20], want: "no PNG"},
		"huge picture":     {format: report.FormatPNG, content: huge, want: "PNG"},
		"text as picture":  {format: report.FormatPNG, content: []byte("hello"), want: "no PNG"},
		"text as video":    {format: report.FormatMP4, content: []byte("hello world"), want: "no complete MP4"},
		"empty video":      {format: report.FormatMP4, content: []byte{}, want: "empty"},
		"empty opaque":     {format: report.FormatOpaque, content: []byte{}, files: 1},
		"too large":        {format: report.FormatOpaque, content: make([]byte, 100), max: 99, want: "more than the 99B"},
		"unknown format":   {format: "Pickle", content: []byte("x"), want: "unknown format"},
		"missing":          {format: report.FormatMP4, want: "a MP4 file was expected"},
		"missing optional": {format: report.FormatMP4, optional: true},
		"a folder":         {format: report.FormatOpaque, make: func(p string) error { return os.Mkdir(p, 0o755) }, want: "not a regular file"},
		"a pipe":           {format: report.FormatOpaque, make: func(p string) error { return syscall.Mkfifo(p, 0o600) }, want: "not a regular file"},
		"a link":           {format: report.FormatOpaque, make: func(p string) error { return os.Symlink("/etc/passwd", p) }, want: "symbolic link"},
		"a link, optional": {format: report.FormatOpaque, optional: true, make: func(p string) error { return os.Symlink("/etc/passwd", p) }, want: "symbolic link"},
		"a hard link": {format: report.FormatOpaque, make: func(p string) error {
			if err := os.WriteFile(p, []byte("x"), 0o600); err != nil {
				return err
			}
			return os.Link(p, p+"2")
		}, want: "hard links"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "out")
			if tc.content != nil {
				if err := os.WriteFile(path, tc.content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if tc.make != nil {
				if err := tc.make(path); err != nil {
					t.Fatal(err)
				}
			}
			j, err := judge(t.Context(), report.DeliverConfig{
				MaxBytes: max(tc.max, 0), Outputs: []report.OutputFile{{Name: "o", Path: "out", Format: tc.format, Required: !tc.optional}},
			}, dir, report.VideoFacts{Frames: 1})
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Fatalf("error %v", err)
				}
				return
			}
			if err != nil || len(j.outputs) != tc.files || j.proven {
				t.Fatalf("%+v %v", j, err)
			}
			j.close()
		})
	}
}

func TestJudgeStaysInItsFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..", filepath.Join(out, "up")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"../secret", "up/secret", "/etc/passwd", "."} {
		_, err := judge(t.Context(), report.DeliverConfig{Outputs: []report.OutputFile{{Name: "o", Path: path, Format: report.FormatOpaque, Required: true}}}, out, report.VideoFacts{})
		if err == nil {
			t.Errorf("%s was opened", path)
		}
	}
}
