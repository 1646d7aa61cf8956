package cli

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/cluster"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/term"
	"github.com/pose-dev/pose-operator/internal/version"
)

// versions is what -o prints.
type versions struct {
	Client clientVersion `json:"client"`
	// Operators are those that were found, one as a rule.
	Operators []operatorVersion `json:"operators,omitempty"`
	// API versions of our kinds that the cluster serves.
	API []string `json:"api,omitempty"`
	// Error says why nothing is known of the cluster.
	Error string `json:"error,omitempty"`
}

type clientVersion struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

type operatorVersion struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Version   string `json:"version,omitempty"`
	Image     string `json:"image,omitempty"`
	// Ready and Replicas of its Deployment.
	Ready    int32 `json:"ready"`
	Replicas int32 `json:"replicas"`
}

func versionCommand(streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags) *cobra.Command {
	var (
		output     string
		clientOnly bool
		operator   string
	)
	c := &cobra.Command{
		Use:   "version",
		Short: "Show the version of the plugin, of the operator, and of its API",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains([]string{"", "json", "yaml"}, output) {
				return exit.Usagef("--output %q is unknown: use json or yaml, or leave it out", output)
			}
			v := versions{Client: clientVersion{version.Version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}}
			var err error
			if !clientOnly {
				err = v.ask(cmd.Context(), flags, operator)
			}
			if perr := v.print(streams.Out, output); perr != nil {
				return perr
			}
			return err
		},
	}
	c.Flags().BoolVar(&clientOnly, "client", false, "ask no cluster")
	c.Flags().StringVar(&operator, "operator-namespace", "pose-system", "where the operator is looked for if you may not look into every namespace")
	c.Flags().StringVarP(&output, "output", "o", "", "json or yaml; for people if unset")
	return c
}

// ask the cluster. The error has the exit code; the words go into v, too.
func (v *versions) ask(ctx context.Context, flags *genericclioptions.ConfigFlags, namespace string) error {
	ctx, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	c, err := cluster.Connect(flags)
	if err == nil {
		v.API, err = apiVersions(c)
	}
	if err != nil {
		v.Error = term.OneLine(err.Error())
		return err
	}
	o := metav1.ListOptions{LabelSelector: "helm.sh/chart", Limit: 500}
	found, err := c.Set.AppsV1().Deployments("").List(ctx, o)
	if err != nil {
		if found, err = c.Set.AppsV1().Deployments(namespace).List(ctx, o); err != nil {
			v.Error = "the operator's Deployment cannot be looked for: " + term.OneLine(err.Error())
			return nil
		}
	}
	for _, d := range found.Items {
		if !strings.HasPrefix(d.Labels["helm.sh/chart"], "pose-operator-") || len(d.Spec.Template.Spec.Containers) == 0 {
			continue
		}
		v.Operators = append(v.Operators, operatorVersion{
			Namespace: d.Namespace, Name: d.Name, Version: d.Labels["app.kubernetes.io/version"], Image: d.Spec.Template.Spec.Containers[0].Image,
			Ready: d.Status.ReadyReplicas, Replicas: d.Status.Replicas,
		})
	}
	return nil
}

// apiVersions of pose.dev that the cluster serves.
func apiVersions(c *cluster.Cluster) ([]string, error) {
	groups, err := c.Set.Discovery().ServerGroups()
	if err != nil {
		return nil, c.Explain(err, "ask the cluster for its", "API groups")
	}
	var out []string
	for _, g := range groups.Groups {
		if g.Name == "pose.dev" {
			for _, version := range g.Versions {
				out = append(out, version.GroupVersion)
			}
		}
	}
	if len(out) == 0 {
		return nil, exit.With(exit.Unreachable, fmt.Errorf("the cluster at %s knows no PoseJobs: install the pose operator (its chart brings the CRDs), or choose another --context", c.Host))
	}
	return out, nil
}

func (v *versions) print(w io.Writer, format string) error {
	switch format {
	case "json":
		return term.JSON(w, v)
	case "yaml":
		b, err := yaml.Marshal(v)
		if err == nil {
			_, err = w.Write(b)
		}
		return err //nolint:wrapcheck // the terminal's own error
	}
	t := term.Table(term.Safe(w))
	fmt.Fprintf(t, "Plugin:\t%s\t(%s, %s)\n", v.Client.Version, v.Client.Platform, v.Client.Go)
	for _, o := range v.Operators {
		fmt.Fprintf(t, "Operator:\t%s\t%s/%s, %d of %d ready, %s\n", term.Known(o.Version), o.Namespace, o.Name, o.Ready, o.Replicas, o.Image)
	}
	switch {
	case v.Error != "" && len(v.API) > 0:
		fmt.Fprintf(t, "Operator:\tunknown\t%s\n", v.Error)
	case len(v.API) > 0 && len(v.Operators) == 0:
		fmt.Fprintf(t, "Operator:\tnone\tno Deployment of the chart pose-operator was found: jobs wait until there is one\n")
	}
	if len(v.API) > 0 {
		fmt.Fprintf(t, "API:\t%s\t\n", strings.Join(v.API, ", "))
	}
	return t.Flush() //nolint:wrapcheck // the terminal's own error
}
