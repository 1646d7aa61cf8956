package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

func enginesCommand(streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags) *cobra.Command {
	c := &cobra.Command{
		Use:   "engines",
		Short: "Show PoseEngines, and look at their images and weights",
		Args:  cobra.NoArgs,
	}
	list := &cobra.Command{
		Use:   "list",
		Short: "Show every engine with its variants, best first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, _, err := connect(flags)
			if err != nil {
				return err
			}
			engines, err := listEngines(cmd.Context(), cl)
			if err != nil {
				return err
			}
			printEngines(&safe{streams.Out}, engines)
			return nil
		},
	}
	flags.AddFlags(list.Flags())
	c.AddCommand(list, checkCommand(streams, flags))
	return c
}

func listEngines(ctx context.Context, c client.Reader) ([]v1alpha1.PoseEngine, error) {
	var l v1alpha1.PoseEngineList
	err := c.List(ctx, &l)
	switch {
	case err == nil:
		return l.Items, nil
	case unknownKind(err):
		return nil, fmt.Errorf("the cluster knows no PoseEngines: install the pose operator, or choose another context: %w", err)
	case apierrors.IsForbidden(err):
		return nil, fmt.Errorf("you may not list PoseEngines, which are no part of a namespace: ask for a ClusterRoleBinding to the chart's poseengine-viewer role, or its value rbac.engineViewers: %w", err)
	}
	return nil, fmt.Errorf("list PoseEngines: %w", err)
}

// unknownKind says whether the API server has no such kind. A group without any
// is told by another error than a kind that its group lacks.
func unknownKind(err error) bool {
	var discovery *apiutil.ErrResourceDiscoveryFailed
	return meta.IsNoMatchError(err) || errors.As(err, &discovery) || apierrors.IsNotFound(err)
}

// findEngineIn gives the engine of a name, or an error that names those there are.
func findEngineIn(engines []v1alpha1.PoseEngine, name string) (*v1alpha1.PoseEngine, error) {
	var names []string
	for i := range engines {
		if engines[i].Name == name {
			return &engines[i], nil
		}
		names = append(names, engines[i].Name)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("there is no PoseEngine %q, and no other: the chart's values engines.mediapipe and engines.phalp make them", name)
	}
	return nil, fmt.Errorf("there is no PoseEngine %q; there are: %s", name, strings.Join(names, ", "))
}

func printEngines(w io.Writer, engines []v1alpha1.PoseEngine) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ENGINE\tREADY\tREASON\tDEFAULT\tVARIANT\tDEVICE\tDETECTOR\tTAKES\tIMAGE")
	for i := range engines {
		e := &engines[i]
		ready, reason := "Unknown", ""
		if c := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ConditionReady); c != nil {
			ready, reason = string(c.Status), c.Reason
		}
		isDefault := ""
		if e.Annotations[v1alpha1.AnnotationDefaultEngine] == "true" {
			isDefault = "yes"
		}
		name := e.Name
		for _, v := range e.Spec.Variants {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, ready, reason, isDefault, v.Name, v.Device, dash(v.Detector), takes(v), dash(v.Image))
			name, ready, reason, isDefault = "", "", "", ""
		}
	}
	_ = t.Flush()
}

// takes says which jobs a variant runs.
func takes(v v1alpha1.Variant) string {
	switch {
	case v.OnRequest:
		return "on request"
	case v.Boxes == v1alpha1.BoxesRequired:
		return "boxes"
	}
	return "-"
}
