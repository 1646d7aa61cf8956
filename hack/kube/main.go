// Command kube is Kubernetes in one binary: it acts as the component whose
// name it was started under (a symlink such as kube-apiserver -> kube), or
// as the one that its first argument names.
//
// One binary links in a fraction of the time and disk of seven, and each
// component is the real one, built from Kubernetes' own Go modules.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // build info metric
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"github.com/pose-dev/pose-operator/hack/kube/dispatch"
)

// components maps a component's name to what runs it. Each returns the exit
// code, or ends the process itself as etcd does.
var components = map[string]func(args []string) int{
	"etcd":                    runEtcd,
	"kube-apiserver":          withCommand(func() *cobra.Command { return apiserver.NewAPIServerCommand() }),
	"kube-controller-manager": withCommand(controllermanager.NewControllerManagerCommand),
	"kube-proxy":              withCommand(proxy.NewProxyCommand),
	"kube-scheduler":          withCommand(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	"kubectl":                 runKubectl,
	// The command sets up its own signals.
	"kubelet": withCommand(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
}

func main() {
	name, args, err := dispatch.Pick(os.Args, slices.Sorted(maps.Keys(components)))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	// Components read os.Args themselves (flags, usage texts), so it must
	// look as if the component had been started directly.
	os.Args = args
	os.Exit(components[name](args))
}

func withCommand(build func() *cobra.Command) func([]string) int {
	return func([]string) int { return cli.Run(build()) }
}

func runEtcd(args []string) int {
	etcdmain.Main(args)
	return 0
}

func runKubectl([]string) int {
	command := kubectl.NewDefaultKubectlCommand()
	if err := cli.RunNoErrOutput(command); err != nil {
		kubectlutil.CheckErr(err)
	}
	return 0
}
