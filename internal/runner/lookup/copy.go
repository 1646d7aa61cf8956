package lookup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
	"github.com/pose-dev/pose-operator/internal/runner/progress"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
)

// copy puts a result into the job's own folder, with the very bytes of its manifest:
// what it says of who computed it stays true, and its digest stays known. First goes
// a note of whose the folder is, last the manifest, after all files were read back.
// So a folder that a killed run leaves is no result, and the job's to remove.
//
// It says why the result will not do: one of its files is not what its manifest
// says, or another result lies in the folder. An error is of the job's own place.
func (k *look) copy(ctx context.Context, f *found) (why string, err error) {
	r := f.result
	if k.cfg.MaxBytes > 0 && r.Bytes() > k.cfg.MaxBytes {
		return fmt.Sprintf("it has %d bytes, more than the %d that a result of this job may have", r.Bytes(), k.cfg.MaxBytes), nil
	}
	to := &verify.Found{Folder: result.AttemptsDir + "/" + k.cfg.AttemptID, Manifest: r.Manifest, Raw: r.Raw, SHA256: r.SHA256}
	raw, err := k.document(ctx, to.Key(result.ManifestFile))
	switch {
	case err != nil:
		return "", k.unusable(err)
	case bytes.Equal(raw, r.Raw):
		// A run before this one has copied it and did not come to the pointer.
		return k.check(ctx, k.sink, to), nil
	case raw != nil:
		return fmt.Sprintf("%s holds another result already", storage.Join(k.cfg.URI, to.Folder)), nil
	}
	fmt.Fprintf(k.log, "pose-runner: copying %s from %s\n", progress.Bytes(r.Bytes()), f.store)
	owner, err := verify.Encode(result.NewOwner(k.job, f.folder(), r.SHA256))
	if err == nil {
		err = k.put(ctx, to.Key(result.OwnerFile), owner, storage.Condition{})
	}
	if err != nil {
		return "", k.unusable(err)
	}
	// One after another: a large file's parts are sent several at a time already,
	// and take their memory.
	for _, file := range r.Manifest.Files {
		err := retry(ctx, func(ctx context.Context) error { return k.file(ctx, f, to, file) })
		var bad *unlike
		switch {
		case errors.As(err, &bad):
			k.drop(ctx, to)
			return bad.why, nil
		case err != nil:
			return "", k.unusable(err)
		}
	}
	if why := k.check(ctx, k.sink, to); why != "" {
		return "", outcome.Failf("", "the copy at %s is not what was copied: %s", storage.Join(k.cfg.URI, to.Folder), why).MayPass(true)
	}
	err = k.put(ctx, to.Key(result.ManifestFile), r.Raw, storage.Condition{Absent: true})
	return "", k.unusable(err)
}

// unlike says that a file of the source will not do.
type unlike struct{ why string }

func (u *unlike) Error() string { return u.why }

// file copies one, unless it is there.
func (k *look) file(ctx context.Context, f *found, to *verify.Found, file result.ManifestFileRef) error {
	key := to.Key(file.Path)
	info, err := k.sink.Stat(ctx, key)
	switch {
	case err == nil && info.Size == file.Size && info.SHA256 == file.SHA256:
		return nil
	case err != nil && storage.KindOf(err) != storage.NotFound:
		return err
	}
	body, info, err := f.store.Open(ctx, f.result.Key(file.Path))
	if err != nil {
		if storage.Temporary(err) || ctx.Err() != nil {
			return err
		}
		return &unlike{"it is damaged: " + err.Error()}
	}
	defer body.Close()
	if info.Size >= 0 && info.Size != file.Size {
		return &unlike{fmt.Sprintf("it is damaged: %s has %d bytes, its manifest says %d", file.Path, info.Size, file.Size)}
	}
	in := &checked{r: body, h: sha256.New(), left: file.Size, want: file.SHA256}
	err = k.sink.Put(ctx, storage.Object{Key: key, Size: file.Size, SHA256: file.SHA256, MediaType: file.MediaType}, in)
	if in.wrong {
		return &unlike{fmt.Sprintf("it is damaged: %s is not what its manifest says", file.Path)}
	}
	return err
}

// checked reads what must have a size and a digest, and fails at its end where it
// has not: then nothing is put.
type checked struct {
	r     io.Reader
	h     hash.Hash
	left  int64
	want  string
	wrong bool
}

var errUnlike = errors.New("these are not the bytes of the manifest")

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.h.Write(p[:n])
	c.left -= int64(n)
	// The last bytes are judged before they are given: who has all bytes that were
	// announced need not ask for the end.
	if c.left < 0 || c.left == 0 && hex.EncodeToString(c.h.Sum(nil)) != c.want || errors.Is(err, io.EOF) && c.left > 0 {
		c.wrong = true
		return 0, errUnlike
	}
	return n, err
}

// drop what was copied of a result that will not do, best effort.
func (k *look) drop(ctx context.Context, to *verify.Found) {
	keys := []string{}
	for _, file := range to.Manifest.Files {
		keys = append(keys, to.Key(file.Path))
	}
	for _, key := range append(keys, to.Key(result.OwnerFile)) {
		if err := k.sink.Delete(ctx, key); err != nil {
			fmt.Fprintf(k.log, "pose-runner: %s stays, which is a part of a broken result: %v\n", key, err)
			return
		}
	}
}

func (k *look) put(ctx context.Context, key string, b []byte, condition storage.Condition) error {
	sum := sha256.Sum256(b)
	o := storage.Object{Key: key, Size: int64(len(b)), SHA256: hex.EncodeToString(sum[:]), MediaType: "application/json", If: condition}
	return retry(ctx, func(ctx context.Context) error { return k.sink.Put(ctx, o, bytes.NewReader(b)) })
}

// document reads a small one, nil where there is none.
func (k *look) document(ctx context.Context, key string) (raw []byte, err error) {
	err = retry(ctx, func(ctx context.Context) (err error) {
		raw, _, err = k.sink.Get(ctx, key, result.MaxManifestBytes)
		return err
	})
	if storage.KindOf(err) == storage.NotFound {
		return nil, nil
	}
	return raw, err
}
