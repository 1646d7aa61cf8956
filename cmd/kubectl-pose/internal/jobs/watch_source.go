package jobs

import (
	"context"
	"errors"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
)

// breath is the pause before a watch that ended begins anew.
const breath = time.Second

// clusterSource lists and watches. A watch that ends, as each does after some minutes,
// begins anew with a list.
type clusterSource struct {
	c    *cluster.Cluster
	refs []ref
	// open: no names were given, so both kinds are looked at.
	open bool
}

var errEnough = errors.New("enough")

func (s *clusterSource) follow(ctx context.Context, seen func(client.Object) bool, gone func(ref) bool, all func() (bool, error)) error {
	kinds := s.kinds()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var (
		mu   sync.Mutex
		wait sync.WaitGroup
		left = len(kinds)
	)
	f := following{c: s.c, seen: func(o client.Object) {
		mu.Lock()
		defer mu.Unlock()
		if seen(o) {
			stop(errEnough)
		}
	}, gone: func(r ref) {
		mu.Lock()
		defer mu.Unlock()
		if gone(r) {
			stop(errEnough)
		}
	}, listed: func() {
		mu.Lock()
		defer mu.Unlock()
		if left--; left > 0 {
			return
		}
		if enough, err := all(); err != nil {
			stop(err)
		} else if enough {
			stop(errEnough)
		}
	}}
	for _, k := range kinds {
		wait.Go(func() {
			if err := f.kind(ctx, k); err != nil {
				// Without names, batches that nobody may see are none.
				if s.open && k.batch && exit.Code(err) == exit.Forbidden {
					f.listed()
					return
				}
				stop(err)
			}
		})
	}
	wait.Wait()
	if err := context.Cause(ctx); !errors.Is(err, errEnough) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err //nolint:wrapcheck // it was given by us
	}
	return nil
}

// watched is one kind, or one object of it.
type watched struct {
	batch bool
	only  string // name; empty for all
}

func (s *clusterSource) kinds() (out []watched) {
	if s.open {
		return []watched{{}, {batch: true}}
	}
	for _, batch := range []bool{false, true} {
		var names []string
		for _, r := range s.refs {
			if r.batch == batch {
				names = append(names, r.name)
			}
		}
		switch len(names) {
		case 0:
		case 1: // who may see that one only can
			out = append(out, watched{batch, names[0]})
		default:
			out = append(out, watched{batch: batch})
		}
	}
	return out
}

// following is one run of follow.
type following struct {
	c      *cluster.Cluster
	seen   func(client.Object)
	gone   func(ref)
	listed func()
}

func (f *following) kind(ctx context.Context, k watched) error {
	first := true
	known := map[string]bool{}
	for ctx.Err() == nil {
		l, what := k.list()
		o := &client.ListOptions{Namespace: f.c.Namespace}
		if k.only != "" {
			client.MatchingFields{"metadata.name": k.only}.ApplyToList(o)
		}
		err := f.c.Client.List(ctx, l, o)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the watch was ended
		}
		if err != nil && (first || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)) {
			return f.c.Explain(err, "list", what)
		}
		if err == nil {
			known = f.compare(k, l, known)
			if first {
				f.listed()
			}
			first = false
			if err := f.watch(ctx, k, l, o, known); err != nil {
				return f.c.Explain(err, "watch", what)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(breath):
		}
	}
	return nil
}

// compare a list with what was known: what is not in it any more was deleted.
func (f *following) compare(k watched, l client.ObjectList, known map[string]bool) map[string]bool {
	now := map[string]bool{}
	for _, o := range items(l) {
		now[o.GetName()] = true
		f.seen(o)
	}
	for name := range known {
		if !now[name] {
			f.gone(ref{k.batch, name})
		}
	}
	return now
}

func (f *following) watch(ctx context.Context, k watched, l client.ObjectList, o *client.ListOptions, known map[string]bool) error {
	next, _ := k.list()
	from := *o
	from.Raw = &metav1.ListOptions{ResourceVersion: l.GetResourceVersion()}
	w, err := f.c.Client.Watch(ctx, next, &from)
	switch {
	case err == nil:
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return err //nolint:wrapcheck // the caller says what was watched
	default:
		return nil // a list comes next, which says what is wrong
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.ResultChan():
			object, isObject := e.Object.(client.Object)
			switch {
			case !ok || !isObject || e.Type == watch.Error:
				return nil
			case e.Type == watch.Deleted:
				delete(known, object.GetName())
				f.gone(ref{k.batch, object.GetName()})
			case e.Type == watch.Added || e.Type == watch.Modified:
				known[object.GetName()] = true
				f.seen(object)
			}
		}
	}
}

func (k watched) list() (client.ObjectList, string) {
	if k.batch {
		return &v1alpha1.PoseBatchList{}, "PoseBatches"
	}
	return &v1alpha1.PoseJobList{}, "PoseJobs"
}

func items(l client.ObjectList) (out []client.Object) {
	switch l := l.(type) {
	case *v1alpha1.PoseJobList:
		for i := range l.Items {
			out = append(out, &l.Items[i])
		}
	case *v1alpha1.PoseBatchList:
		for i := range l.Items {
			out = append(out, &l.Items[i])
		}
	}
	return out
}
