package jobs

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/cached"
)

// Cluster is one watch of jobs and engines, for all clients.
type Cluster struct {
	Client client.Client
	// Plain reads and writes without the watch.
	Plain client.Client
	cache cache.Cache
}

// NewCluster watches the jobs of namespaces, of all where there are none, and tells hub.
func NewCluster(config *rest.Config, namespaces []string, hub *Hub) (*Cluster, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register types: %w", err)
	}
	o := cache.Options{Scheme: scheme, DefaultTransform: cache.TransformStripManagedFields()}
	if len(namespaces) > 0 {
		o.DefaultNamespaces = map[string]cache.Config{}
		for _, n := range namespaces {
			o.DefaultNamespaces[n] = cache.Config{}
		}
	}
	ca, err := cache.New(config, o)
	if err != nil {
		return nil, fmt.Errorf("make the watch of jobs: %w", err)
	}
	ctx := context.Background()
	informer, err := ca.GetInformer(ctx, &v1alpha1.PoseJob{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("make the watch of jobs: %w", err)
	}
	if _, err := informer.AddEventHandler(hub.Handler()); err != nil {
		return nil, fmt.Errorf("follow the jobs: %w", err)
	}
	if _, err := ca.GetInformer(ctx, &v1alpha1.PoseEngine{}, cache.BlockUntilSynced(false)); err != nil {
		return nil, fmt.Errorf("make the watch of engines: %w", err)
	}
	c, err := cached.NewClient(config, client.Options{Scheme: scheme, Cache: &client.CacheOptions{Reader: ca}})
	if err != nil {
		return nil, fmt.Errorf("make the client for jobs: %w", err)
	}
	plain, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("make the client for jobs: %w", err)
	}
	return &Cluster{Client: c, Plain: plain, cache: ca}, nil
}

// Start the watch; it ends with ctx.
func (c *Cluster) Start(ctx context.Context) error {
	if err := c.cache.Start(ctx); err != nil {
		return fmt.Errorf("watch jobs: %w", err)
	}
	return nil
}

// WaitForSync until the state of all jobs is known.
func (c *Cluster) WaitForSync(ctx context.Context) bool { return c.cache.WaitForCacheSync(ctx) }
