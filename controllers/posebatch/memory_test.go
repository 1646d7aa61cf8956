package posebatch_test

import (
	"context"
	"fmt"
	"reflect"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// memory is the little of an API server that the reconciler needs, without
// encoding: controller-runtime's own takes minutes for ten thousand PoseJobs.
type memory struct {
	client.Client // nil: what is not made here is not needed

	mu      sync.Mutex
	objects map[string]client.Object
	version int
	writes  map[string]int
	refuses error // of PoseJobs
	// refusesPods of many clips.
	refusesPods error
}

func newMemory() *memory {
	return &memory{objects: map[string]client.Object{}, writes: map[string]int{}}
}

func keyOf(kind reflect.Type, k client.ObjectKey) string { return kind.String() + " " + k.String() }

func of(o client.Object) string { return keyOf(reflect.TypeOf(o), client.ObjectKeyFromObject(o)) }

func resource(o client.Object) schema.GroupResource {
	return schema.GroupResource{Resource: fmt.Sprintf("%T", o)}
}

func (m *memory) Get(_ context.Context, k client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	have := m.objects[keyOf(reflect.TypeOf(o), k)]
	if have == nil {
		return apierrors.NewNotFound(resource(o), k.Name)
	}
	reflect.ValueOf(o).Elem().Set(reflect.ValueOf(have.DeepCopyObject()).Elem())
	return nil
}

// List takes every selection for one of the only batch.
func (m *memory) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var o client.ListOptions
	o.ApplyOptions(opts)
	var out []runtime.Object
	for _, have := range m.objects {
		if o.LabelSelector != nil && !o.LabelSelector.Matches(labelsOf(have)) {
			continue
		}
		switch h := have.(type) {
		case *v1alpha1.PoseJob:
			if _, ok := list.(*v1alpha1.PoseJobList); ok {
				out = append(out, h.DeepCopy())
			}
		case *corev1.Pod:
			if _, ok := list.(*corev1.PodList); ok {
				out = append(out, h.DeepCopy())
			}
		case *corev1.ConfigMap:
			switch list.(type) {
			case *corev1.ConfigMapList:
				if h.Labels[v1alpha1.LabelBatchPart] == v1alpha1.PartRecord {
					out = append(out, h.DeepCopy())
				}
			case *metav1.PartialObjectMetadataList:
				out = append(out, &metav1.PartialObjectMetadata{ObjectMeta: *h.ObjectMeta.DeepCopy()})
			}
		}
	}
	return meta.SetList(list, out)
}

type labelSet map[string]string

func (l labelSet) Has(k string) bool              { _, ok := l[k]; return ok }
func (l labelSet) Get(k string) string            { return l[k] }
func (l labelSet) Lookup(k string) (string, bool) { v, ok := l[k]; return v, ok }
func labelsOf(o client.Object) labelSet           { return o.GetLabels() }

// put stores a copy under a new version.
func (m *memory) put(verb string, o client.Object) {
	m.version++
	o.SetResourceVersion(fmt.Sprint(m.version))
	m.objects[of(o)] = o.DeepCopyObject().(client.Object)
	m.writes[fmt.Sprintf("%s %T", verb, o)]++
}

func (m *memory) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := o.(*v1alpha1.PoseJob); ok && m.refuses != nil {
		return m.refuses
	}
	if o.GetLabels()[v1alpha1.LabelPurpose] == v1alpha1.PurposeQueue && m.refusesPods != nil {
		return m.refusesPods
	}
	if m.objects[of(o)] != nil {
		return apierrors.NewAlreadyExists(resource(o), o.GetName())
	}
	o.SetUID(types.UID(fmt.Sprintf("%05d-0000-4000-8000-000000000000", m.version)))
	m.put("create", o)
	return nil
}

// replace an object if it is still the version that was read.
func (m *memory) replace(verb string, o client.Object) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	have := m.objects[of(o)]
	switch {
	case have == nil:
		return apierrors.NewNotFound(resource(o), o.GetName())
	case o.GetResourceVersion() != "" && have.GetResourceVersion() != o.GetResourceVersion(): // without one it is written in any case
		return apierrors.NewConflict(resource(o), o.GetName(), nil)
	}
	m.put(verb, o)
	return nil
}

func (m *memory) Update(_ context.Context, o client.Object, _ ...client.UpdateOption) error {
	return m.replace("update", o)
}

// Patch takes the whole object, of which the reconciler changed the finalizers only.
func (m *memory) Patch(_ context.Context, o client.Object, _ client.Patch, _ ...client.PatchOption) error {
	return m.replace("patch", o)
}

func (m *memory) Delete(_ context.Context, o client.Object, opts ...client.DeleteOption) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var d client.DeleteOptions
	d.ApplyOptions(opts)
	have := m.objects[of(o)]
	switch {
	case have == nil:
		return apierrors.NewNotFound(resource(o), o.GetName())
	case d.Preconditions != nil && d.Preconditions.UID != nil && *d.Preconditions.UID != have.GetUID():
		return apierrors.NewConflict(resource(o), o.GetName(), nil)
	}
	delete(m.objects, of(o))
	m.writes[fmt.Sprintf("delete %T", o)]++
	return nil
}

func (m *memory) Status() client.SubResourceWriter { return memoryStatus{m: m} }

type memoryStatus struct {
	client.SubResourceWriter
	m *memory
}

func (s memoryStatus) Update(_ context.Context, o client.Object, _ ...client.SubResourceUpdateOption) error {
	return s.m.replace("status", o)
}

// Patch takes the whole object, which the reconciler has changed in its status only.
func (s memoryStatus) Patch(_ context.Context, o client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
	return s.m.replace("status", o)
}

// stale reads records as they were once; all else, and what is read past the cache,
// is as it is.
type stale struct {
	*memory
	records []corev1.ConfigMap
}

func (s *stale) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if maps, ok := list.(*corev1.ConfigMapList); ok {
		maps.Items = nil
		for i := range s.records {
			maps.Items = append(maps.Items, *s.records[i].DeepCopy())
		}
		return nil
	}
	return s.memory.List(ctx, list, opts...)
}
