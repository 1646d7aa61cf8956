package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// Own leaves a word in an attempt's folder of whose it is, where nothing else tells
// so: before anything of it lies there, or before its manifest goes. Writing it again
// changes nothing.
func Own(ctx context.Context, sink storage.Sink, folder string, job report.JobRef) error {
	b, err := Encode(result.NewOwner(job, "", ""))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	o := storage.Object{Key: folder + "/" + result.OwnerFile, Size: int64(len(b)), SHA256: hex.EncodeToString(sum[:]), MediaType: "application/json"}
	return storage.RetryFew(ctx, storage.DefaultPolicy(), nil, func(ctx context.Context) error {
		return sink.Put(ctx, o, bytes.NewReader(b))
	})
}
