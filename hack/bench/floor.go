package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// floorWorkers write at a time.
const floorWorkers = 16

// floorClient makes a pod for each unit, another when that failed, and writes one status
// for each unit when one succeeded: nothing can do the same with less. It keeps nothing
// and recovers from nothing.
type floorClient struct {
	units client.WithWatch
	pods  kubernetes.Interface
	pod   *corev1.Pod
	queue *fifo[func(context.Context) error]

	mu   sync.Mutex
	told map[types.UID]bool
}

// runFloor in a process of its own.
func runFloor(ctx context.Context, kubeconfig, podFile string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("read %s: %w", kubeconfig, err)
	}
	config.QPS = -1
	f := &floorClient{queue: newFIFO[func(context.Context) error](), told: map[types.UID]bool{}, pod: &corev1.Pod{}}
	raw, err := os.ReadFile(podFile)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, f.pod); err != nil {
		return fmt.Errorf("read %s: %w", podFile, err)
	}
	if f.units, err = newViewClient(config, floorUnits); err != nil {
		return err
	}
	binary := rest.CopyConfig(config)
	binary.ContentType = runtime.ContentTypeProtobuf
	if f.pods, err = kubernetes.NewForConfig(binary); err != nil {
		return err
	}
	if err := f.watch(ctx); err != nil {
		return err
	}
	var all sync.WaitGroup
	for range floorWorkers {
		all.Go(func() {
			for act, ok := f.queue.next(ctx); ok; act, ok = f.queue.next(ctx) {
				if err := act(ctx); err != nil && ctx.Err() == nil {
					fmt.Fprintln(os.Stderr, "floor:", err)
				}
			}
		})
	}
	all.Wait()
	return nil
}

// watch units and pods, those too that are there already.
func (f *floorClient) watch(ctx context.Context) error {
	var units unitViewList
	if err := f.units.List(ctx, &units, client.InNamespace(namespace)); err != nil {
		return fmt.Errorf("list units: %w", err)
	}
	pods, err := f.pods.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	for i := range units.Items {
		f.sawUnit(&units.Items[i])
	}
	for i := range pods.Items {
		f.sawPod(&pods.Items[i])
	}
	return errors.Join(
		follow(ctx, units.ResourceVersion, func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return f.units.Watch(ctx, &unitViewList{}, &client.ListOptions{Namespace: namespace, Raw: &o})
		}, f.sawUnit),
		follow(ctx, pods.ResourceVersion, func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return f.pods.CoreV1().Pods(namespace).Watch(ctx, o)
		}, f.sawPod))
}

func (f *floorClient) sawUnit(o runtime.Object) {
	u, ok := o.(*unitView)
	if !ok || u.Status.Phase != "" || !f.first(u.UID) {
		return
	}
	f.queue.add(func(ctx context.Context) error { return f.create(ctx, u.Name, u.UID, 1) })
}

func (f *floorClient) sawPod(o runtime.Object) {
	pod, ok := o.(*corev1.Pod)
	if !ok || pod.Status.Phase != corev1.PodFailed && pod.Status.Phase != corev1.PodSucceeded {
		return
	}
	owner := metav1.GetControllerOf(pod)
	if owner == nil || !f.first(pod.UID) {
		return
	}
	again := pod.Status.Phase == corev1.PodFailed && strings.HasSuffix(pod.Name, "-1")
	f.queue.add(func(ctx context.Context) error {
		if again {
			return f.create(ctx, owner.Name, owner.UID, 2)
		}
		return f.finish(ctx, owner.Name)
	})
}

// first time that this is told of an object.
func (f *floorClient) first(uid types.UID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.told[uid]
	f.told[uid] = true
	return !was
}

func (f *floorClient) create(ctx context.Context, name string, uid types.UID, number int) error {
	pod := f.pod.DeepCopy()
	yes := true
	pod.Namespace, pod.Name = namespace, fmt.Sprintf("%s-%d", name, number)
	pod.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: floorUnits.GroupVersion().String(), Kind: floorUnits.Kind, Name: name, UID: uid, Controller: &yes,
	}}
	if _, err := f.pods.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create pod %s: %w", pod.Name, err)
	}
	return nil
}

func (f *floorClient) finish(ctx context.Context, name string) error {
	unit := &unitView{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	patch := client.RawPatch(types.MergePatchType, []byte(fmt.Sprintf(`{"status":{"phase":%q}}`, v1alpha1.PhaseSucceeded)))
	if err := f.units.Status().Patch(ctx, unit, patch); err != nil {
		return fmt.Errorf("write the status of unit %s: %w", name, err)
	}
	return nil
}
