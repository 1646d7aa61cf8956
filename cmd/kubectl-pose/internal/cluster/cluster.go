// Package cluster reaches the cluster that a person's kubeconfig and flags name, and
// says in words what stands in the way of it.
package cluster

import (
	"context"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// Cluster is a connection. Nothing is asked of the API server before its first use.
type Cluster struct {
	Client client.WithWatch
	// Set is for what the Client cannot do, as logs.
	Set kubernetes.Interface
	// Namespace that the person means.
	Namespace string
	// Host is the API server's address, to be named in errors.
	Host string

	config *rest.Config
}

// Connect to the cluster that the flags name.
func Connect(flags *genericclioptions.ConfigFlags) (*Cluster, error) {
	namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, noConfig(err)
	}
	config, err := flags.ToRESTConfig()
	if err != nil {
		return nil, noConfig(err)
	}
	return connect(config, namespace)
}

func connect(config *rest.Config, namespace string) (*Cluster, error) {
	// A plugin asks in bursts, once: a limit on its side only makes it slow.
	config.QPS, config.Burst = 50, 100
	config.WarningHandler = rest.NoWarnings{}
	scheme, err := Scheme()
	if err != nil {
		return nil, err
	}
	c := &Cluster{Namespace: namespace, Host: config.Host, config: config}
	if c.Client, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		return nil, c.Explain(err, "reach", "")
	}
	if c.Set, err = kubernetes.NewForConfig(config); err != nil {
		return nil, c.Explain(err, "reach", "")
	}
	return c, nil
}

// Scheme has the kinds that the plugin reads and writes.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("register types: %w", err)
		}
	}
	return scheme, nil
}

// Logs of a container's end, at most MaxLog bytes.
func (c *Cluster) Logs(ctx context.Context, pod *corev1.Pod, container string) (string, error) {
	o := &corev1.PodLogOptions{Container: container, LimitBytes: new(int64(MaxLog))}
	b, err := c.Set.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, o).DoRaw(ctx)
	return string(b), err
}

// MaxLog is how much of a log is read whole, in bytes.
const MaxLog = 4 << 20

// Job gives the PoseJob of a name.
func (c *Cluster) Job(ctx context.Context, name string) (*v1alpha1.PoseJob, error) {
	var job v1alpha1.PoseJob
	if err := c.Client.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: name}, &job); err != nil {
		return nil, c.Explain(err, "read", "PoseJob "+c.Namespace+"/"+name)
	}
	return &job, nil
}

// Batch gives the PoseBatch of a name.
func (c *Cluster) Batch(ctx context.Context, name string) (*v1alpha1.PoseBatch, error) {
	var batch v1alpha1.PoseBatch
	if err := c.Client.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: name}, &batch); err != nil {
		return nil, c.Explain(err, "read", "PoseBatch "+c.Namespace+"/"+name)
	}
	return &batch, nil
}

// Engines of the cluster.
func (c *Cluster) Engines(ctx context.Context) ([]v1alpha1.PoseEngine, error) {
	var l v1alpha1.PoseEngineList
	if err := c.Client.List(ctx, &l); err != nil {
		return nil, c.Explain(err, "list", "PoseEngines")
	}
	return l.Items, nil
}

// Pods makes pods for a person. What happens meanwhile is said on notes.
func (c *Cluster) Pods(notes io.Writer) *PodRunner { return newPodRunner(c, notes) }
