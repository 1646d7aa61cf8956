package engines

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
)

// Command shows and checks PoseEngines.
func Command(streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags) *cobra.Command {
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
			c, err := cluster.Connect(flags)
			if err != nil {
				return err
			}
			engines, err := c.Engines(cmd.Context())
			if err != nil {
				return err
			}
			printEngines(term.Safe(streams.Out), engines)
			return nil
		},
	}
	c.AddCommand(list, checkCommand(streams, flags))
	return c
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
		return nil, exit.With(exit.NotFound, fmt.Errorf("there is no PoseEngine %q, and no other: the chart's values engines.mediapipe and engines.phalp make them", name))
	}
	return nil, exit.With(exit.NotFound, fmt.Errorf("there is no PoseEngine %q; there are: %s", name, strings.Join(names, ", ")))
}

func printEngines(w io.Writer, engines []v1alpha1.PoseEngine) {
	t := term.Table(w)
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
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, ready, reason, isDefault, v.Name, v.Device, term.Dash(v.Detector), takes(v), term.Dash(v.Image))
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
