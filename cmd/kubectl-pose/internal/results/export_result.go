package results

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pose-dev/pose-operator/internal/export"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/runner/beneath"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
)

const (
	poseFile = "pose.json"
	// maxPose, maxSMPL and maxTimes bound what is read of a result: enough for hours of
	// video, and an end for a file that never stops.
	maxPose  = 16 << 30
	maxSMPL  = 4 << 30
	maxTimes = 1 << 30
)

var limits = result.Limits{Bytes: maxPose}

// exportable is an open result.
type exportable struct {
	// Source is what is exported.
	Source *export.Source

	store  verify.Store
	from   string
	found  *verify.Found // nil: pose.json without a manifest
	pose   string        // key of pose.json in store
	report func(read, size int64)
	opened []*os.File
	temp   string // folder for what had to be fetched
}

// Close frees what the result took.
func (r *exportable) Close() {
	for _, f := range r.opened {
		_ = f.Close() // they were only read
	}
	if r.temp != "" {
		_ = os.RemoveAll(r.temp)
	}
}

// parts of a result beside pose.json that are wanted.
type parts struct{ smpl, times bool }

// openResult finds, checks and opens the result that lies in store; of what it has
// beside pose.json only the wanted parts. from names it in errors. A pose.json that a
// person names is taken as it is, without the manifest beside it.
func openResult(ctx context.Context, store verify.Store, from, digest string, want parts, report func(read, size int64)) (*exportable, error) {
	r := &exportable{store: store, from: from, report: report}
	if err := r.open(ctx, digest, want); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *exportable) open(ctx context.Context, digest string, want parts) error {
	if err := r.locate(ctx, digest); err != nil {
		return err
	}
	f, err := r.file(ctx, r.pose, maxPose)
	if err != nil {
		return fmt.Errorf("open the result %s: %w", r.from, err)
	}
	f.report = r.report
	defer func() { f.report = nil }() // the export counts frames itself
	if r.Source, err = export.NewSource(f, limits); err != nil {
		return fmt.Errorf("read the result %s: %w", r.from, err)
	}
	if want.times {
		if err := r.loadTimes(ctx); err != nil {
			return err
		}
	}
	if !want.smpl || r.Source.Head.Parametric == nil {
		return nil
	}
	return r.loadSMPL(ctx, r.Source.Head.Parametric.File)
}

// loadTimes reads the times of the source's frames, where the result has them: its
// manifest lists them, or without one they lie beside pose.json.
func (r *exportable) loadTimes(ctx context.Context) error {
	if r.found != nil && !slices.ContainsFunc(r.found.Manifest.Files, export.IsTimes) {
		return nil
	}
	f, err := r.file(ctx, result.FrameTimesFile, maxTimes)
	if r.found == nil && errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = r.Source.AttachTimes(f)
	}
	if err != nil {
		return fmt.Errorf("read the times of the frames: %w; without them (--constant-rate) times are those of the constant rate", err)
	}
	return nil
}

// locate finds pose.json, by the manifest where there is one.
func (r *exportable) locate(ctx context.Context, digest string) error {
	file, local := strings.CutSuffix(r.from, poseFile)
	if _, folder := r.store.(verify.Folder); folder && local && (file == "" || os.IsPathSeparator(file[len(file)-1])) {
		r.pose = poseFile
		return nil
	}
	found, err := verify.Find(ctx, r.store, digest, verify.Options{})
	switch {
	case storage.KindOf(err) == storage.NotFound && digest == "":
		r.pose = poseFile // a folder that somebody made of a result's files
		return nil
	case err != nil:
		return fmt.Errorf("find the result in %s: %w", r.from, err)
	}
	r.found = found
	for _, f := range found.Manifest.Files {
		if f.Name == poseFile || r.pose == "" && path.Base(f.Path) == poseFile {
			r.pose = f.Path
		}
	}
	if r.pose == "" {
		return fmt.Errorf("the manifest of %s lists no %s: the engine delivered another kind of result", r.from, poseFile)
	}
	return nil
}

// loadSMPL reads the body model's parameters from a file beside pose.json.
func (r *exportable) loadSMPL(ctx context.Context, file string) error {
	f, err := r.file(ctx, path.Join(path.Dir(r.pose), file), maxSMPL)
	if errors.Is(err, os.ErrNotExist) || storage.KindOf(err) == storage.NotFound {
		return fmt.Errorf("pose.json names %s beside it, which is not there: fetch the whole folder of the result", file)
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", file, err)
	}
	if err := r.Source.Attach(f, f.size, limits); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	return nil
}

// file opens one file of the result, name being its path in the manifest. It has been
// compared with the manifest, where there is one; of a store it is a copy.
func (r *exportable) file(ctx context.Context, name string, limit int64) (*readable, error) {
	want, err := r.listed(name)
	if err != nil {
		return nil, err
	}
	if want != nil && want.Size > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that are read", name, want.Size, limit)
	}
	key := name
	if r.found != nil {
		key = r.found.Key(name)
	}
	folder, local := r.store.(verify.Folder)
	var f *os.File
	switch {
	case local:
		f, err = beneath.Open(string(folder), filepath.FromSlash(key))
	case want == nil:
		return nil, fmt.Errorf("there is no %s in %s, and so no result that could be checked", result.ManifestFile, r.from)
	default:
		f, err = r.copied(ctx, key, *want)
	}
	if err != nil {
		return nil, err
	}
	r.opened = append(r.opened, f)
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", name, err)
	}
	out := &readable{ctx: ctx, file: f, size: info.Size()}
	switch {
	case out.size > limit:
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that are read", name, out.size, limit)
	case want != nil && local:
		err = r.compare(out, *want)
	}
	if err == nil {
		_, err = out.Seek(0, io.SeekStart)
	}
	return out, err
}

// listed is what the manifest says of a file; nil without a manifest.
func (r *exportable) listed(name string) (*result.ManifestFileRef, error) {
	if r.found == nil {
		return nil, nil //nolint:nilnil // no manifest is a choice of the person's
	}
	for i := range r.found.Manifest.Files {
		if f := &r.found.Manifest.Files[i]; f.Path == name {
			return f, nil
		}
	}
	return nil, fmt.Errorf("the manifest does not list %s: it is not part of the result", name)
}

// copied is a file of a store, in a folder of this machine that goes at the end.
func (r *exportable) copied(ctx context.Context, key string, want result.ManifestFileRef) (*os.File, error) {
	if r.temp == "" {
		dir, err := os.MkdirTemp("", "kubectl-pose-")
		if err != nil {
			return nil, fmt.Errorf("make a folder for what is fetched: %w", err)
		}
		r.temp = dir
	}
	f, err := os.CreateTemp(r.temp, "file-")
	if err != nil {
		return nil, fmt.Errorf("make a file for what is fetched: %w", err)
	}
	r.opened = append(r.opened, f)
	read := int64(0)
	return f, verify.Copy(ctx, r.store, key, want, f, func(n int64) { read += n; r.report(read, want.Size) })
}

// compare a file of this machine with the manifest.
func (r *exportable) compare(f *readable, want result.ManifestFileRef) error {
	f.report = r.report
	defer func() { f.report = nil }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("read %s: %w", f.file.Name(), err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want.SHA256 {
		return fmt.Errorf("%s has sha256 %s, the manifest says %s: it was changed or not fetched whole; fetch it again", f.file.Name(), got, want.SHA256)
	}
	return nil
}
