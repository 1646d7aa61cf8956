package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// metaAzureSHA256 is metaSHA256 as Azure allows it: a name of a program's variable.
const metaAzureSHA256 = "posesha256"

var (
	// azureAccount and azureContainer are Azure's rules.
	azureAccount   = regexp.MustCompile(`^[a-z0-9]{3,24}$`)
	azureContainer = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9]){2,62}$`)
)

type azureStore struct {
	client *container.Client
	access access
	policy Policy
	idle   func()
}

func newAzure(name string, o Options) (store, error) {
	if !azureContainer.MatchString(name) {
		return nil, &Error{Kind: Refused, Cause: fmt.Sprintf("%q is not a container's name", name)}
	}
	account := o.Store.AzureAccount
	if !azureAccount.MatchString(account) {
		return nil, &Error{Kind: Refused, Cause: "the operator has no Azure storage account: the platform admin sets the chart's value config.store.azureAccount"}
	}
	endpoint := strings.TrimRight(o.Store.AzureEndpoint, "/")
	if endpoint == "" {
		endpoint = "https://" + account + ".blob.core.windows.net"
	}
	transport, err := newTransport(o.Store.CAPEM, nil)
	if err != nil {
		return nil, err
	}
	transport.DisableCompression = true // offsets count the bytes that are stored
	client, acc, err := azureClient(endpoint+"/"+name, o, transport)
	if err != nil {
		return nil, err
	}
	return &azureStore{client: client, access: acc, policy: DefaultPolicy(), idle: transport.CloseIdleConnections}, nil
}

func azureOptionsOf(transport http.RoundTripper) policy.ClientOptions {
	return policy.ClientOptions{
		Transport: &http.Client{Transport: transport, CheckRedirect: noRedirect},
		// Our own loops retry: they know the time-out and tell of it.
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Telemetry: policy.TelemetryOptions{Disabled: true},
	}
}

func (s *azureStore) blob(key string) *blockblob.Client { return s.client.NewBlockBlobClient(key) }

// badKey refuses what Azure's side takes for a slash.
func (*azureStore) badKey(key string) string {
	if strings.Contains(key, "\\") {
		return "holds a backslash, which Azure takes for a slash"
	}
	return ""
}

// failure takes the URL, which may hold a SAS token, out of the SDK's errors.
func (s *azureStore) failure(err error) error {
	if err == nil {
		return nil
	}
	var r *azcore.ResponseError
	if errors.As(err, &r) {
		header := http.Header{}
		if r.RawResponse != nil {
			header = r.RawResponse.Header
		}
		err = apiError{statusError{r.StatusCode, retryAfter(header)}, word(r.ErrorCode)}
	}
	return s.access.explain(classify("", withoutURL(err)))
}

func ifMatch(version string) *blob.AccessConditions {
	if version == "" {
		return nil
	}
	tag := azcore.ETag(version)
	return &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: &tag}}
}

func azureInfo(size *int64, tag *azcore.ETag, metadata map[string]*string) Info {
	info := Info{Size: -1}
	if size != nil {
		info.Size = *size
	}
	if tag != nil {
		info.Version = string(*tag)
	}
	for name, value := range metadata {
		if strings.EqualFold(name, metaAzureSHA256) && value != nil {
			info.SHA256 = *value
		}
	}
	return info
}

func (s *azureStore) open(ctx context.Context, key string, offset, length int64, version string) (io.ReadCloser, Info, error) {
	if length == 0 {
		info, err := s.stat(ctx, key) // for the SDK, no bytes are all bytes
		return http.NoBody, info, err
	}
	r, err := s.blob(key).DownloadStream(ctx, &blob.DownloadStreamOptions{
		Range: blob.HTTPRange{Offset: offset, Count: max(length, 0)}, AccessConditions: ifMatch(version),
	})
	if err != nil {
		return nil, Info{}, s.failure(err)
	}
	info := azureInfo(r.ContentLength, r.ETag, r.Metadata)
	header := ""
	if r.ContentRange != nil {
		header = *r.ContentRange
	}
	body, err := fromOffset(ctx, r.Body, header, offset, length, &info)
	if err != nil {
		_ = r.Body.Close()
		return nil, Info{}, err
	}
	return body, info, nil
}

func (s *azureStore) stat(ctx context.Context, key string) (Info, error) {
	p, err := s.blob(key).GetProperties(ctx, nil)
	if err != nil {
		return Info{}, s.failure(err)
	}
	return azureInfo(p.ContentLength, p.ETag, p.Metadata), nil
}

func (s *azureStore) list(ctx context.Context, prefix string, limit int, each func(Entry) error) error {
	page := pageSize(limit)
	pager := s.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix, MaxResults: &page})
	for pager.More() {
		answer, err := pager.NextPage(ctx)
		if err != nil {
			return s.failure(err)
		}
		if answer.Segment == nil {
			return &Error{Cause: "the server's answer cannot be read"}
		}
		for _, item := range answer.Segment.BlobItems {
			if item.Name == nil || item.Properties == nil {
				return &Error{Cause: "the server's answer cannot be read"}
			}
			e := Entry{Key: *item.Name}
			if item.Properties.ContentLength != nil {
				e.Size = *item.Properties.ContentLength
			}
			if item.Properties.LastModified != nil {
				e.ModTime = *item.Properties.LastModified
			}
			if tag := item.Properties.ETag; tag != nil && *tag != "" {
				// In quotes everywhere but in listings.
				e.Version = `"` + strings.Trim(string(*tag), `"`) + `"`
			}
			if err := each(e); err != nil {
				return err
			}
		}
		if limit > 0 {
			return nil
		}
	}
	return nil
}

// remove removes snapshots too: they are copies of what is to go.
func (s *azureStore) remove(ctx context.Context, key, version string) error {
	snapshots := blob.DeleteSnapshotsOptionTypeInclude
	_, err := s.blob(key).Delete(ctx, &blob.DeleteOptions{DeleteSnapshots: &snapshots, AccessConditions: ifMatch(version)})
	return s.failure(err)
}

func (s *azureStore) close() { s.idle() }
