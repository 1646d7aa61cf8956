package storage

import (
	"context"
	"crypto/md5" //nolint:gosec // the checksum that Azure compares, not a signature
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"io"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
)

func (s *azureStore) put(ctx context.Context, key string, o Object, body io.Reader) error {
	if o.Size > partSize {
		return s.large(ctx, key, o, body)
	}
	data, err := exactly(body, o.Size)
	if err != nil {
		return err
	}
	return watched(ctx, s.policy, func(ctx context.Context) error {
		_, err := s.blob(key).Upload(ctx, azureBody{newOutgoing(ctx, data)}, &blockblob.UploadOptions{
			Metadata: azureMetadata(o), HTTPHeaders: azureHeaders(o), AccessConditions: azureConditions(o.If),
			TransactionalValidation: checksum(data),
		})
		return s.failure(err)
	})
}

// azureBody is a body as the SDK wants it.
type azureBody struct{ *outgoing }

func (azureBody) Close() error { return nil }

func checksum(data []byte) blob.TransferValidationType {
	sum := md5.Sum(data) //nolint:gosec // as above
	return blob.TransferValidationTypeMD5(sum[:])
}

func azureMetadata(o Object) map[string]*string {
	if o.SHA256 == "" {
		return nil
	}
	return map[string]*string{metaAzureSHA256: &o.SHA256}
}

func azureHeaders(o Object) *blob.HTTPHeaders {
	if o.MediaType == "" {
		return nil
	}
	return &blob.HTTPHeaders{BlobContentType: &o.MediaType}
}

func azureConditions(c Condition) *blob.AccessConditions {
	if !c.Absent {
		return ifMatch(c.Version)
	}
	anything := azcore.ETagAny
	return &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: &anything}}
}

// large sends blocks, some at once, and then the list of them, which makes the
// object. Blocks that no list names show nowhere, and Azure drops them after a week.
func (s *azureStore) large(ctx context.Context, key string, o Object, body io.Reader) error {
	// Names of this upload alone: two that write the same key must not mix.
	var upload [12]byte
	_, _ = rand.Read(upload[:]) // never fails
	name := func(number int) string {
		return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(upload[:len(upload):len(upload)], uint32(number))) //nolint:gosec // at most maxParts
	}
	err := sendParts(ctx, body, o.Size, s.policy, func(ctx context.Context, p uploadPart) error {
		_, err := s.blob(key).StageBlock(ctx, name(p.number), azureBody{newOutgoing(ctx, p.data)}, &blockblob.StageBlockOptions{TransactionalValidation: checksum(p.data)})
		return s.failure(err)
	})
	if err != nil {
		return err
	}
	length, _, err := planParts(o.Size)
	if err != nil {
		return err
	}
	var names []string
	for i := range (o.Size + length - 1) / length {
		names = append(names, name(int(i)))
	}
	tries := 0
	return persist(ctx, s.policy, func(ctx context.Context) error {
		tries++
		_, err := s.blob(key).CommitBlockList(ctx, names, &blockblob.CommitBlockListOptions{
			Metadata: azureMetadata(o), HTTPHeaders: azureHeaders(o), AccessConditions: azureConditions(o.If),
		})
		err = s.failure(err)
		if err != nil && tries > 1 && !Temporary(err) && arrived(ctx, s, key, o) {
			return nil
		}
		return err
	})
}
