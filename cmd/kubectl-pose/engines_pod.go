package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pose-dev/pose-operator/controllers/enginecheck"
)

// settings are those of the operator's own pods: the chart's ConfigMap in the
// operator's namespace has them. One of another namespace counts for nothing, for
// who may make it is no admin of the operator, and the image that it names would
// run beside the weights. Several that differ are nobody's.
func (c *checker) settings(ctx context.Context, namespace, runner string) (enginecheck.Settings, error) {
	s := enginecheck.Settings{RunnerImage: runner, PullPolicy: corev1.PullIfNotPresent}
	var configs corev1.ConfigMapList
	err := c.client.List(ctx, &configs, client.InNamespace(namespace), client.HasLabels{"helm.sh/chart"})
	found := map[string]enginecheck.Settings{}
	for i := range configs.Items {
		m := &configs.Items[i]
		var config struct {
			Images struct {
				Runner      string            `json:"runner"`
				PullPolicy  corev1.PullPolicy `json:"pullPolicy"`
				PullSecrets []string          `json:"pullSecrets"`
			} `json:"images"`
		}
		if !strings.HasPrefix(m.Labels["helm.sh/chart"], "pose-operator-") || yaml.Unmarshal([]byte(m.Data["config.yaml"]), &config) != nil || config.Images.Runner == "" {
			continue
		}
		found[config.Images.Runner] = enginecheck.Settings{RunnerImage: config.Images.Runner, PullPolicy: config.Images.PullPolicy, PullSecrets: config.Images.PullSecrets}
	}
	images := slices.Sorted(maps.Keys(found))
	switch {
	case len(images) == 1:
		s = found[images[0]]
		if runner != "" {
			s.RunnerImage = runner
		}
		return s, nil
	case runner != "":
		return s, nil
	case err != nil:
		return s, fmt.Errorf("find the image of pose-runner in the operator's ConfigMap in namespace %s: %w; say it with --runner-image, as the chart's image.runner has it", namespace, err)
	case len(images) > 1:
		return s, fmt.Errorf("the ConfigMaps of the pose-operator chart in namespace %s name several images of pose-runner (%s): say with --runner-image which to run", namespace, strings.Join(images, ", "))
	}
	return s, fmt.Errorf("no ConfigMap of the pose-operator chart is in namespace %s, so the image of pose-runner is not known: name the operator's namespace with --operator-namespace, or the image with --runner-image", namespace)
}

// sweep deletes the pods of an engine's checks that were killed.
func (c *checker) sweep(ctx context.Context, namespace, engine string) {
	var pods corev1.PodList
	if err := c.client.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels(enginecheck.Labels(engine))); err != nil {
		c.note("pods in namespace %s cannot be listed, so those of earlier checks stay: %v", namespace, err)
		return
	}
	for i := range pods.Items {
		if pod := &pods.Items[i]; enginecheck.Abandoned(pod, c.now()) {
			c.note("pod %s/%s of an earlier check is deleted", pod.Namespace, pod.Name)
			c.remove(ctx, pod)
		}
	}
}

// remove the pod, also when the person gave up.
func (c *checker) remove(ctx context.Context, pod *corev1.Pod) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer stop()
	if err := c.client.Delete(ctx, pod, client.GracePeriodSeconds(1)); err != nil && !apierrors.IsNotFound(err) {
		c.note("pod %s/%s could not be deleted, do it by hand: %v", pod.Namespace, pod.Name, err)
	}
}

// wait until the engine's container has ended, or cannot start: the finding says so.
func (c *checker) wait(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, *enginecheck.Finding, error) {
	last := ""
	gone := fmt.Errorf("pod %s/%s was deleted by somebody else before it could say anything", pod.Namespace, pod.Name)
	for {
		if err := c.client.Get(ctx, client.ObjectKeyFromObject(pod), &corev1.Pod{}); apierrors.IsNotFound(err) {
			return nil, nil, gone
		}
		w, err := c.client.Watch(ctx, &corev1.PodList{}, client.InNamespace(pod.Namespace), client.MatchingFields{"metadata.name": pod.Name})
		if err != nil {
			return c.gaveUp(ctx, pod, last, err)
		}
		for event := range w.ResultChan() {
			p, ok := event.Object.(*corev1.Pod)
			if !ok {
				continue // an error event; the watch is closed and begins anew
			}
			pod = p
			if event.Type == watch.Deleted || p.DeletionTimestamp != nil {
				w.Stop()
				return nil, nil, gone
			}
			state := enginecheck.Look(p)
			if state.Step != last {
				last = state.Step
				c.note("pod %s: %s", p.Name, last)
			}
			if state.Ended || state.Stuck != "" {
				w.Stop()
			}
			switch {
			case state.Ended:
				return p, nil, nil
			case state.Stuck != "":
				return p, stuck(state.Stuck, "no job's pod with this variant could start: mend what it says, in the engine's spec or in namespace "+p.Namespace), nil
			}
		}
		select {
		case <-ctx.Done():
			return c.gaveUp(ctx, pod, last, ctx.Err())
		case <-time.After(time.Second): // a server that closes watches at once is not asked in a rush
		}
	}
}

func stuck(what, remedy string) *enginecheck.Finding {
	return &enginecheck.Finding{Level: enginecheck.LevelError, Name: "pod", What: what, Remedy: remedy}
}

// gaveUp says where a pod stood when the wait ended.
func (c *checker) gaveUp(ctx context.Context, pod *corev1.Pod, last string, err error) (*corev1.Pod, *enginecheck.Finding, error) {
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return nil, nil, errors.New("ended before the findings were there; the pod is deleted")
	}
	if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return nil, nil, fmt.Errorf("watch pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	why := ""
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer stop()
	var events corev1.EventList
	if c.client.List(ctx, &events, client.InNamespace(pod.Namespace), client.MatchingFields{"involvedObject.name": pod.Name}) == nil {
		for _, e := range events.Items {
			if e.Type == corev1.EventTypeWarning {
				why = fmt.Sprintf("; last warning: %s: %s", e.Reason, e.Message)
			}
		}
	}
	return pod, stuck(fmt.Sprintf("the time-out ended while pod %s/%s was: %s%s", pod.Namespace, pod.Name, last, why),
		"give it more time with --timeout, or mend what it waits for"), nil
}
