package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/uuid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// archive is the namespace of finished objects that lie there.
const archive = "archive"

// putsAtOnce are encoded before they are written.
const putsAtOnce = 512

// archived copies of a finished unit are put into etcd itself: their making is not what
// is measured, and by the API it would take most of the run. All watches tell of them as
// of any other.
//
// It gives the bytes that one takes in etcd.
func (w *world) archived(ctx context.Context, unit string, from, to int) (size int, err error) {
	if from == 0 {
		if err := w.api.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: archive}}); err != nil {
			return 0, fmt.Errorf("create namespace %s: %w", archive, err)
		}
	}
	copyOf, err := w.copier(ctx, unit)
	if err != nil {
		return 0, err
	}
	var puts []put
	for i := from; i < to; i++ {
		p, err := copyOf(fmt.Sprintf("archived-%06d", i))
		if err != nil {
			return 0, err
		}
		size = len(p.value)
		puts = append(puts, p)
		if len(puts) == putsAtOnce || i+1 == to {
			if err := putAll(ctx, w.etcdURL, puts); err != nil {
				return 0, err
			}
			puts = puts[:0]
		}
	}
	return size, w.archiveHas(ctx, to)
}

// archiveHas so many objects, as the API server says once its own watch has told it.
func (w *world) archiveHas(ctx context.Context, want int) error {
	for over := time.Now().Add(slack); ; {
		var list metav1.PartialObjectMetadataList
		list.SetGroupVersionKind(w.contender.kind.GroupVersion().WithKind(w.contender.kind.Kind + "List"))
		if err := w.api.List(ctx, &list, client.InNamespace(archive), client.Limit(1)); err != nil {
			return fmt.Errorf("count the objects of namespace %s: %w", archive, err)
		}
		have := len(list.Items)
		if list.RemainingItemCount != nil {
			have += int(*list.RemainingItemCount)
		}
		switch {
		case have == want:
			return nil
		case time.Now().After(over):
			return fmt.Errorf("the API server has %d objects in namespace %s, expected %d", have, archive, want)
		}
		if err := storage.Sleep(ctx, time.Second/2); err != nil {
			return err
		}
	}
}

// put of a value under a key.
type put struct {
	key   string
	value []byte
}

// copier of one finished unit, in the encoding in which the API server keeps it.
func (w *world) copier(ctx context.Context, name string) (func(name string) (put, error), error) {
	key := client.ObjectKey{Namespace: namespace, Name: name}
	rename := func(m *metav1.ObjectMeta, name string) {
		m.Namespace, m.Name, m.UID, m.ResourceVersion = archive, name, uuid.NewUUID(), ""
	}
	switch w.contender.name {
	case nameOurs:
		var job v1alpha1.PoseJob
		if err := w.api.Get(ctx, key, &job); err != nil {
			return nil, fmt.Errorf("read a finished PoseJob: %w", err)
		}
		job.SetGroupVersionKind(w.contender.kind)
		return func(name string) (put, error) {
			rename(&job.ObjectMeta, name)
			raw, err := json.Marshal(&job)
			return put{key: "/registry/pose.dev/posejobs/" + archive + "/" + name, value: raw}, err
		}, nil
	case nameJob:
		var job batchv1.Job
		if err := w.api.Get(ctx, key, &job); err != nil {
			return nil, fmt.Errorf("read a finished Job: %w", err)
		}
		job.SetGroupVersionKind(w.contender.kind)
		encoder := protobuf.NewSerializer(w.api.Scheme(), w.api.Scheme())
		return func(name string) (put, error) {
			rename(&job.ObjectMeta, name)
			var raw bytes.Buffer
			err := encoder.Encode(&job, &raw)
			return put{key: "/registry/jobs/" + archive + "/" + name, value: raw.Bytes()}, err
		}, nil
	}
	return nil, fmt.Errorf("objects of %s are not copied", w.contender.title)
}

// runningCopies of a job that runs, and of its pod, until there are n of them: only what
// running jobs cost is to be measured. It gives their pods.
func (w *world) runningCopies(ctx context.Context, name string, pod *corev1.Pod, n int) ([]*corev1.Pod, error) {
	var job v1alpha1.PoseJob
	if err := w.api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &job); err != nil {
		return nil, fmt.Errorf("read a running PoseJob: %w", err)
	}
	var first corev1.Pod
	if err := w.api.Get(ctx, client.ObjectKeyFromObject(pod), &first); err != nil {
		return nil, fmt.Errorf("read the pod of a running PoseJob: %w", err)
	}
	job.SetGroupVersionKind(w.contender.kind)
	first.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	job.ResourceVersion, first.ResourceVersion = "", ""
	jobText, err1 := json.Marshal(&job)
	podText, err2 := json.Marshal(&first)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	encoder := protobuf.NewSerializer(w.api.Scheme(), w.api.Scheme())
	pods := []*corev1.Pod{&first}
	var puts []put
	for i := 1; i < n; i++ {
		uid, copied := string(uuid.NewUUID()), fmt.Sprintf("progress-%06d", i)
		// Pods are named by job, part of its uid, and attempt.
		podName := copied + "-" + uid[:5] + strings.TrimPrefix(first.Name, name+"-"+string(job.UID)[:5])
		rename := strings.NewReplacer(first.Name, podName, name, copied, string(job.UID), uid, string(first.UID), string(uuid.NewUUID()))
		var next corev1.Pod
		if err := json.Unmarshal([]byte(rename.Replace(string(podText))), &next); err != nil {
			return nil, err
		}
		var raw bytes.Buffer
		if err := encoder.Encode(&next, &raw); err != nil {
			return nil, err
		}
		puts = append(puts,
			put{key: "/registry/pods/" + namespace + "/" + podName, value: raw.Bytes()},
			put{key: "/registry/pose.dev/posejobs/" + namespace + "/" + copied, value: []byte(rename.Replace(string(jobText)))})
		if len(puts) >= putsAtOnce || i+1 == n {
			if err := putAll(ctx, w.etcdURL, puts); err != nil {
				return nil, err
			}
			puts = puts[:0]
		}
		pods = append(pods, &next)
	}
	return pods, nil
}

// etcdClient of etcd's JSON gateway, which needs no library.
var etcdClient = &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: putters}}

// putters write at a time.
const putters = 8

// putAll, each in a revision of its own as the API server itself does: watches tell
// objects of one revision apart badly.
func putAll(ctx context.Context, url string, puts []put) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for k := range putters {
		all.Go(func() {
			for i := k; i < len(puts) && ctx.Err() == nil; i += putters {
				if err := putOne(ctx, url, puts[i]); err != nil {
					cancel(err)
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

func putOne(ctx context.Context, url string, p put) error {
	body, err := json.Marshal(map[string][]byte{"key": []byte(p.key), "value": p.value})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v3/kv/put", bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := etcdClient.Do(request)
	if err != nil {
		return fmt.Errorf("write to etcd: %w", err)
	}
	defer answer.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(answer.Body, 4096))
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("write %s to etcd: %s: %.300s", p.key, answer.Status, said)
	}
	return nil
}
