// Command pose-gateway is the pose service over HTTP: videos in, PoseJobs in the
// cluster, results out.
package main

import (
	"fmt"
	"os"

	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	if err := command().ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "pose-gateway:", err)
		os.Exit(1)
	}
}
