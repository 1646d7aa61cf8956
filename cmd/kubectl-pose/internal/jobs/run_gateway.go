package jobs

import (
	"context"
	"fmt"
	"time"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/gateway"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
)

// throughGateway sends files to the upload service, which makes the jobs.
func (f *runFlags) throughGateway(ctx context.Context, streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags, all []video) error {
	ca, err := f.places.CA()
	if err != nil {
		return err
	}
	// That of the flag only: the namespace of a kubeconfig says nothing of a gateway.
	g, err := gateway.Open(f.gateway, f.gatewayToken, ca, *flags.Namespace)
	if err != nil {
		return err
	}
	var (
		sum  failures
		refs []ref
	)
	for _, v := range all {
		fields, err := f.spec.fields(v.upload.SHA256)
		if err != nil {
			return err
		}
		b := f.bar(ctx, streams, v.arg, "Upload", v.upload.Size)
		job, err := g.Send(ctx, v.upload, fields, !f.noResume, gateway.Watch{Went: b.add, Had: b.had, Say: b.say})
		b.done("")
		if err == nil {
			refs = append(refs, ref{name: job.Name})
			err = printObject(streams.Out, f.output, "created", job)
		} else if len(all) > 1 {
			fmt.Fprintf(term.Safe(streams.ErrOut), "error: %s: %v\n", v.arg, err)
		}
		sum.add(err)
		if ctx.Err() != nil {
			break
		}
	}
	if err := sum.err(); err != nil || !f.wait && !f.watch {
		return err
	}
	return watchJobs(ctx, streams, f.watching(), &gatewaySource{g: g, refs: refs, pause: 2 * time.Second}, refs)
}

// gatewaySource asks the gateway again and again, for who may not reach the cluster.
type gatewaySource struct {
	g     *gateway.Client
	refs  []ref
	pause time.Duration
}

// patientWith a gateway that does not answer: so many rounds are made without a word.
const patientWith = 15

func (s *gatewaySource) follow(ctx context.Context, seen func(client.Object) bool, gone func(ref) bool, all func() (bool, error)) error {
	failed, ready := 0, false
	for {
		enough := false
		var problem error
		for _, r := range s.refs {
			job, err := s.g.Job(ctx, r.name)
			switch {
			case ctx.Err() != nil:
				return nil //nolint:nilerr // the watch was ended
			case err == nil:
				enough = seen(job)
			case exit.Code(err) == exit.NotFound:
				enough = gone(r)
			case exit.Code(err) == exit.Forbidden:
				return err
			default:
				problem = err
			}
		}
		if failed++; problem == nil {
			failed = 0
		}
		if failed > patientWith {
			return problem
		}
		if !ready && problem == nil {
			ready = true
			var err error
			if enough, err = all(); err != nil {
				return err
			}
		}
		if enough {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(s.pause):
		}
	}
}
