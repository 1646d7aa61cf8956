package cached

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// patience is how long a read waits for the cache to show the client's own writes. Watches
// bring them within milliseconds.
const patience = 5 * time.Second

// NewClient is a client.NewClientFunc: client.New with read-your-writes consistency, whose
// reads wait for patience at most and are then served as the cache is. Such a read may be
// behind, which whoever reads from a cache must bear with anyway.
//
// controller-runtime itself waits until an event shows the written version or a later one
// of that kind. It never comes where the watch was interrupted, the last object that was
// written went meanwhile, and nothing else of its kind changes: a list that begins the
// next watch tells of what is gone with its last known version alone. All reads of that
// kind, and with them all workers, would stand still until somebody makes such an object.
func NewClient(config *rest.Config, o client.Options) (client.Client, error) {
	return newClient(config, o, patience)
}

func newClient(config *rest.Config, o client.Options, patience time.Duration) (client.Client, error) {
	if o.Cache == nil || o.Cache.Reader == nil {
		return nil, errors.New("a client that shows its own writes needs a cache")
	}
	cached := *o.Cache
	cached.EnableReadYourWritesConsistency = new(true)
	o.Cache = &cached
	c, err := client.New(config, o)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it is
	}
	return &patient{Client: c, patience: patience}, nil
}

type patient struct {
	client.Client
	patience time.Duration
}

// behind says whether a read ended because the cache did not catch up in time.
func behind(ctx, waiting context.Context, err error) bool {
	return err != nil && ctx.Err() == nil && errors.Is(waiting.Err(), context.DeadlineExceeded)
}

func (p *patient) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	waiting, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	err := p.Client.Get(waiting, key, o, opts...)
	if behind(ctx, waiting, err) {
		log.FromContext(ctx).Info("The cache does not show what was written, and is read as it is", "kind", fmt.Sprintf("%T", o), "key", key)
		err = p.Client.Get(ctx, key, o, append(opts, client.DisableReadYourWritesConsistency)...)
	}
	return err //nolint:wrapcheck // as the client that is wrapped
}

func (p *patient) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	waiting, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	err := p.Client.List(waiting, list, opts...)
	if behind(ctx, waiting, err) {
		log.FromContext(ctx).Info("The cache does not show what was written, and is read as it is", "kind", fmt.Sprintf("%T", list))
		err = p.Client.List(ctx, list, append(opts, client.DisableReadYourWritesConsistency)...)
	}
	return err //nolint:wrapcheck // as the client that is wrapped
}
