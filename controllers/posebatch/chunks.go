package posebatch

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/batch"
	"github.com/pose-dev/pose-operator/internal/clips"
)

// keyClips of a chunk's ConfigMap holds its clips.
const keyClips = "clips.json.gz"

// Annotations of a chunk: what is to be known of it without reading it.
const (
	annotationClips = "pose.dev/clips"
	annotationFirst = "pose.dev/first-clip"
	annotationLast  = "pose.dev/last-clip"
)

// unwatched is for writes of chunks: the cache does not know them, so that reading
// what one wrote would wait for nothing.
const unwatched = client.DisableReadYourWritesConsistency

// partMeta of a ConfigMap of a batch.
func partMeta(b *v1alpha1.PoseBatch, name, part string, attempt int32) metav1.ObjectMeta {
	labels := batch.Labels(b)
	labels[v1alpha1.LabelBatchPart], labels[v1alpha1.LabelAttempt] = part, strconv.Itoa(int(attempt))
	return metav1.ObjectMeta{
		Namespace: b.Namespace, Name: name, Labels: labels,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(b, v1alpha1.GroupVersion.WithKind("PoseBatch"))},
	}
}

// errOtherChunk says that a chunk is there already and is another.
type errOtherChunk struct{ name string }

func (e *errOtherChunk) Error() string {
	return fmt.Sprintf("ConfigMap %s is there already, and holds other clips", e.name)
}

// store a chunk. Storing it again is no error.
func (r *Reconciler) store(ctx context.Context, b *v1alpha1.PoseBatch, attempt int32, n int, list []clips.Clip) error {
	raw, err := clips.Encode(list)
	if err != nil {
		return err
	}
	m := &corev1.ConfigMap{
		ObjectMeta: partMeta(b, batch.ChunkName(b, attempt, n), v1alpha1.PartClips, attempt),
		Immutable:  new(true),
		BinaryData: map[string][]byte{keyClips: raw},
	}
	m.Annotations = map[string]string{
		annotationClips: strconv.Itoa(len(list)), annotationFirst: list[0].Name, annotationLast: list[len(list)-1].Name,
	}
	err = r.Client.Create(ctx, m, unwatched)
	if err == nil {
		return nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("store chunk %d of the list of PoseBatch %s: %w", n, client.ObjectKeyFromObject(b), err)
	}
	var have corev1.ConfigMap
	if err := r.Reader.Get(ctx, client.ObjectKeyFromObject(m), &have); err != nil {
		return fmt.Errorf("read chunk %d of the list of PoseBatch %s, which is there already: %w", n, client.ObjectKeyFromObject(b), err)
	}
	if !metav1.IsControlledBy(&have, b) || !bytes.Equal(have.BinaryData[keyClips], raw) {
		return &errOtherChunk{have.Name}
	}
	return nil
}

// stored says how many clips each chunk of an attempt has, or why they are no whole
// list. It reads their metadata alone.
func (r *Reconciler) stored(ctx context.Context, b *v1alpha1.PoseBatch, attempt int32, chunks, total int) (sizes []int, why string, err error) {
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMapList"))
	err = r.Reader.List(ctx, &list, client.InNamespace(b.Namespace), client.MatchingLabels{
		v1alpha1.LabelBatchUID: string(b.UID), v1alpha1.LabelBatchPart: v1alpha1.PartClips, v1alpha1.LabelAttempt: strconv.Itoa(int(attempt)),
	})
	if err != nil {
		return nil, "", fmt.Errorf("list the chunks of PoseBatch %s: %w", client.ObjectKeyFromObject(b), err)
	}
	byName := map[string]*metav1.PartialObjectMetadata{}
	for i := range list.Items {
		if metav1.IsControlledBy(&list.Items[i], b) {
			byName[list.Items[i].Name] = &list.Items[i]
		}
	}
	sum, last := 0, ""
	for i := range chunks {
		m := byName[batch.ChunkName(b, attempt, i)]
		if m == nil {
			return nil, fmt.Sprintf("chunk %d of %d is not there", i, chunks), nil
		}
		n, _ := strconv.Atoi(m.Annotations[annotationClips]) // 0 of what is no number
		if n < 1 || n > clips.MaxChunkClips || m.Annotations[annotationFirst] <= last {
			return nil, fmt.Sprintf("chunk %d does not follow the one before it", i), nil
		}
		last = m.Annotations[annotationLast]
		sum += n
		sizes = append(sizes, n)
	}
	if sum != total || len(byName) != chunks {
		return nil, fmt.Sprintf("%d chunks with %d clips are there, %d with %d are expected", len(byName), sum, chunks, total), nil
	}
	return sizes, "", nil
}

// discard the chunks and records of other attempts than the one that made the list.
// They are few, and what stays behind goes with the batch.
func (r *Reconciler) discard(ctx context.Context, b *v1alpha1.PoseBatch) error {
	for n := int32(1); n < b.Status.Listing.Attempt; n++ {
		err := r.Client.DeleteAllOf(ctx, &corev1.ConfigMap{}, client.InNamespace(b.Namespace), client.MatchingLabels{
			v1alpha1.LabelBatchUID: string(b.UID), v1alpha1.LabelAttempt: strconv.Itoa(int(n)),
		})
		if err != nil {
			return fmt.Errorf("remove the chunks of attempt %d to list PoseBatch %s: %w", n, client.ObjectKeyFromObject(b), err)
		}
	}
	return nil
}

// maxCachedChunks is how many decoded chunks are kept: those of the batches that go
// on just now. Each has up to a megabyte.
const maxCachedChunks = 32

// chunkCache keeps chunks, which never change, by the batch and their number.
type chunkCache struct {
	mu   sync.Mutex
	kept map[chunkKey][]clips.Clip
}

type chunkKey struct {
	batch   types.UID
	attempt int32
	chunk   int
}

func (c *chunkCache) get(k chunkKey) ([]clips.Clip, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list, ok := c.kept[k]
	return list, ok
}

func (c *chunkCache) put(k chunkKey, list []clips.Clip) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil || len(c.kept) >= maxCachedChunks {
		c.kept = map[chunkKey][]clips.Clip{}
	}
	c.kept[k] = list
}

// errLost says that a part of a batch's list is gone or was changed.
type errLost struct{ what string }

func (e *errLost) Error() string { return e.what }

// chunk of the list of a batch.
func (r *Reconciler) chunk(ctx context.Context, b *v1alpha1.PoseBatch, n, size int) ([]clips.Clip, error) {
	key := chunkKey{b.UID, b.Status.Listing.Attempt, n}
	if list, ok := r.chunks.get(key); ok && len(list) == size {
		return list, nil
	}
	name := batch.ChunkName(b, key.attempt, n)
	var m corev1.ConfigMap
	if err := r.Reader.Get(ctx, client.ObjectKey{Namespace: b.Namespace, Name: name}, &m); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, &errLost{fmt.Sprintf("ConfigMap %s, a part of the list of clips, was deleted", name)}
		}
		return nil, fmt.Errorf("read ConfigMap %s/%s: %w", b.Namespace, name, err)
	}
	list, err := clips.Decode(m.BinaryData[keyClips])
	if err != nil || len(list) != size {
		return nil, &errLost{fmt.Sprintf("ConfigMap %s, a part of the list of clips, was changed", name)}
	}
	r.chunks.put(key, list)
	return list, nil
}
