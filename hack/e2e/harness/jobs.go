package harness

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	corev1 "k8s.io/api/core/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// Finished says whether a job ended.
func Finished(job *v1alpha1.PoseJob) bool {
	return meta.IsStatusConditionTrue(job.Status.Conditions, v1alpha1.ConditionFinished)
}

// Await polls a job until done says so, calling see on every look.
func (e *Env) Await(ctx context.Context, key client.ObjectKey, see func(*v1alpha1.PoseJob), done func(*v1alpha1.PoseJob) bool) (*v1alpha1.PoseJob, error) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		var job v1alpha1.PoseJob
		if err := e.Client.Get(ctx, key, &job); err != nil {
			return nil, fmt.Errorf("read PoseJob %s: %w", key, err)
		}
		if see != nil {
			see(&job)
		}
		if done(&job) {
			return &job, nil
		}
		select {
		case <-ctx.Done():
			return &job, fmt.Errorf("PoseJob %s did not get there: phase %s, stage %s: %w", key, job.Status.Phase, job.Status.Stage, ctx.Err())
		case <-tick.C:
		}
	}
}

// StagedEngine is a PoseEngine whose GPU variant is the staged engine, which
// prints the log of PHALP's start and then really dies as told, and whose CPU
// variant is the real mediapipe engine.
//
// change, if given, changes what was made before it is written.
func (e *Env) StagedEngine(ctx context.Context, name, die string, change ...func(*v1alpha1.PoseEngine)) (*v1alpha1.PoseEngine, error) {
	var real v1alpha1.PoseEngine
	if err := e.Client.Get(ctx, client.ObjectKey{Name: "mediapipe"}, &real); err != nil {
		return nil, fmt.Errorf("read the chart's engine mediapipe: %w", err)
	}
	engine := &v1alpha1.PoseEngine{ObjectMeta: metav1.ObjectMeta{Name: name}}
	_, err := controllerutil.CreateOrUpdate(ctx, e.Client, engine, func() error {
		engine.Spec = *real.Spec.DeepCopy()
		cpu := engine.Spec.Variants[0]
		gpu := v1alpha1.Variant{
			Name: "gpu", Device: v1alpha1.GPU, Detector: "staged-vitdet",
			Image: ImageStaged, ImagePullPolicy: corev1.PullIfNotPresent,
			Command:      []string{"/staged-engine", "--die", die},
			NodeSelector: map[string]string{"nvidia.com/gpu.present": "true"},
			Tolerations:  []corev1.Toleration{{Key: "nvidia.com/gpu", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}},
			Resources: &v1alpha1.Resources{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")},
				Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi"), "nvidia.com/gpu": resource.MustParse("1")},
			},
		}
		engine.Spec.Variants = []v1alpha1.Variant{gpu, cpu}
		engine.Spec.Stages = append(engine.Spec.Stages,
			v1alpha1.StageRule{Name: "PredictorLoad", Pattern: "Loading Predictor model"})
		for i := range engine.Spec.Stages {
			s := &engine.Spec.Stages[i]
			switch s.Name {
			case v1alpha1.StageModelLoad:
				s.Pattern = "(" + s.Pattern + ")|automatically upgraded|You are using a SMPL model"
			case v1alpha1.StageDetectorLoad:
				s.Pattern = "(" + s.Pattern + ")|Loading Detection model"
			}
		}
		for _, c := range change {
			c(engine)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("write PoseEngine %s: %w", name, err)
	}
	return engine, nil
}

// PinnedEngine is a PoseEngine with the real mediapipe engine by digest: what is
// reused must be pinned.
func (e *Env) PinnedEngine(ctx context.Context, name string) (*v1alpha1.PoseEngine, error) {
	var real v1alpha1.PoseEngine
	if err := e.Client.Get(ctx, client.ObjectKey{Name: "mediapipe"}, &real); err != nil {
		return nil, fmt.Errorf("read the chart's engine mediapipe: %w", err)
	}
	image, err := e.pinned(ctx, real.Spec.Variants[0].Image)
	if err != nil {
		return nil, err
	}
	engine := &v1alpha1.PoseEngine{ObjectMeta: metav1.ObjectMeta{Name: name}}
	_, err = controllerutil.CreateOrUpdate(ctx, e.Client, engine, func() error {
		engine.Spec = *real.Spec.DeepCopy()
		engine.Spec.Variants[0].Image = image
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("write PoseEngine %s: %w", name, err)
	}
	return engine, nil
}

// pinned gives the name by digest under which the nodes hold an image.
func (e *Env) pinned(ctx context.Context, image string) (string, error) {
	repository, _, _ := strings.Cut(image, ":")
	var nodes corev1.NodeList
	if err := e.Client.List(ctx, &nodes); err != nil {
		return "", fmt.Errorf("list nodes: %w", err)
	}
	for _, n := range nodes.Items {
		for _, i := range n.Status.Images {
			j := slices.IndexFunc(i.Names, func(name string) bool { return strings.HasPrefix(name, repository+"@sha256:") })
			if j >= 0 {
				return i.Names[j], nil
			}
		}
	}
	return "", fmt.Errorf("no node tells the digest of image %s", image)
}

// Remove a job and wait until it and its pods are gone.
func (e *Env) Remove(ctx context.Context, key client.ObjectKey) error {
	job := &v1alpha1.PoseJob{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	if err := e.Client.Delete(ctx, job, client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
		return client.IgnoreNotFound(err)
	}
	for {
		var gone v1alpha1.PoseJob
		if err := e.Client.Get(ctx, key, &gone); err != nil {
			return client.IgnoreNotFound(err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("PoseJob %s is still being deleted: %w", key, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}
