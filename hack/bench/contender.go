package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// Names of the contenders.
const (
	nameOurs  = "ours"
	nameJob   = "job"
	nameFloor = "floor"
)

// contender is a controller that runs one pod for each of its units to its end.
type contender struct {
	name, title string
	// command that starts it at a world's API server.
	command func(w *world) (path string, env, args []string, err error)
	// unit to be run.
	unit func(name string) client.Object
	// kind of the units.
	kind kind
	// watch units from a version on.
	watch func(ctx context.Context, w *world, o metav1.ListOptions) (watch.Interface, error)
	// pprof is where its profiles are; empty before it starts, and for the floor.
	pprof string
}

// setup is what all contenders share.
type setup struct {
	// Binaries.
	manager, assets, self string
	dir                   string
	// profiled says to save profiles beside the logs.
	profiled bool
	// pod that our manager makes, without what binds it to its owner.
	pod *corev1.Pod
}

// ours is the manager as it is built, with its defaults.
func ours(s *setup) *contender {
	c := &contender{name: nameOurs, title: "pose operator", kind: v1alpha1.GroupVersion.WithKind("PoseJob")}
	c.command = func(w *world) (string, []string, []string, error) {
		pprof, err := freePort()
		if err != nil {
			return "", nil, nil, err
		}
		progress, err := freePort()
		if err != nil {
			return "", nil, nil, err
		}
		c.pprof = fmt.Sprintf("http://127.0.0.1:%d", pprof)
		config := filepath.Join(w.dir, "config.yaml")
		text := "images: {runner: 'registry.example/pose-runner:bench', media: 'registry.example/media:bench'}\n"
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return "", nil, nil, err
		}
		env := []string{"KUBECONFIG=" + w.kubeconfig, fmt.Sprintf("POSE_BENCH_PPROF=127.0.0.1:%d", pprof), "POD_NAMESPACE=" + namespace}
		return s.manager, env, []string{
			"--config", config, "--leader-elect=false", "--metrics-bind-address=0", "--health-probe-bind-address=0",
			"--progress-bind-address", fmt.Sprintf("127.0.0.1:%d", progress), "--progress-host=localhost",
		}, nil
	}
	c.unit = func(name string) client.Object {
		return &v1alpha1.PoseJob{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec: v1alpha1.PoseJobSpec{
				EngineName: engineName,
				Video:      v1alpha1.VideoSource{URI: "s3://videos/" + name + ".mp4"},
				Output:     v1alpha1.Output{URI: "s3://results/" + namespace + "/" + name},
			},
		}
	}
	c.watch = watchView
	return c
}

// jobSyncs of kube-controller-manager at a time: as many as our manager reconciles.
const jobSyncs = 8

// batchJob is Kubernetes' own controller of batch/v1 Jobs, alone in its manager.
func batchJob(s *setup) *contender {
	c := &contender{name: nameJob, title: "batch/v1 Job", kind: batchv1.SchemeGroupVersion.WithKind("Job")}
	c.command = func(w *world) (string, []string, []string, error) {
		port, err := freePort()
		if err != nil {
			return "", nil, nil, err
		}
		c.pprof = fmt.Sprintf("https://127.0.0.1:%d", port)
		return filepath.Join(s.assets, "kube-controller-manager"), nil, []string{
			"--kubeconfig", w.kubeconfig, "--controllers=job-controller", "--leader-elect=false",
			"--kube-api-qps=100000", "--kube-api-burst=100000", "--concurrent-job-syncs=" + strconv.Itoa(jobSyncs),
			"--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(port), "--cert-dir", w.dir,
			"--authorization-always-allow-paths=/healthz,/debug/*",
		}, nil
	}
	c.unit = func(name string) client.Object {
		backoffLimit := int32(3)
		return &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec: batchv1.JobSpec{
				BackoffLimit: &backoffLimit,
				Template:     corev1.PodTemplateSpec{ObjectMeta: *s.pod.ObjectMeta.DeepCopy(), Spec: *s.pod.Spec.DeepCopy()},
			},
		}
	}
	// In the encoding that the controller has too: the API server then encodes once.
	c.watch = func(ctx context.Context, w *world, o metav1.ListOptions) (watch.Interface, error) {
		return w.pods.BatchV1().Jobs(namespace).Watch(ctx, o)
	}
	return c
}

// floor is a bare client, a process of this program: what any controller must cost.
func floor(s *setup) *contender {
	c := &contender{name: nameFloor, title: "floor", kind: floorUnits}
	c.command = func(w *world) (string, []string, []string, error) {
		raw, err := json.Marshal(s.pod)
		if err != nil {
			return "", nil, nil, err
		}
		file := filepath.Join(w.dir, "pod.json")
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			return "", nil, nil, err
		}
		return s.self, nil, []string{"floor", w.kubeconfig, file}, nil
	}
	c.unit = func(name string) client.Object {
		return &unitView{
			TypeMeta:   metav1.TypeMeta{APIVersion: floorUnits.GroupVersion().String(), Kind: floorUnits.Kind},
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		}
	}
	c.watch = watchView
	return c
}

// watchView watches custom resources, of which only what is needed here is decoded.
func watchView(ctx context.Context, w *world, o metav1.ListOptions) (watch.Interface, error) {
	return w.views.Watch(ctx, &unitViewList{}, &client.ListOptions{Namespace: namespace, Raw: &o})
}

// ended says whether a unit has ended, and whether well.
func ended(o runtime.Object) (done, succeeded bool) {
	switch u := o.(type) {
	case *unitView:
		return u.Status.Phase == string(v1alpha1.PhaseSucceeded) || u.Status.Phase == string(v1alpha1.PhaseFailed), u.Status.Phase == string(v1alpha1.PhaseSucceeded)
	case *batchv1.Job:
		for _, c := range u.Status.Conditions {
			if c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) {
				return true, c.Type == batchv1.JobComplete
			}
		}
	}
	return false, false
}
