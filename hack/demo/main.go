// Command demo runs two PoseJobs on a real cluster and shows what becomes of
// them: one on the CPU, and one that may use a GPU, whose GPU attempt crashes
// while loading its detector and is repeated on the CPU.
//
// The GPU and its crash are staged: no GPU and no PHALP weights can be had
// here. The cluster, the S3 server, the video, the pose engine, the crash of the
// process and everything that the operator does about it are real.
//
// The S3 server goes on when the demo has ended, so that the installed operator
// can be tried; "demo end-store" ends it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/hack/e2e/harness"
)

const (
	namespace = "pose-demo"
	bucket    = "demo"
	// patience bounds the whole demo once the cluster is up.
	patience = 20 * time.Minute
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, patience)
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 0:
		err = run(ctx)
	case slices.Equal(args, []string{"end-store"}):
		err = endStore()
	default:
		err = fmt.Errorf("unknown arguments %q: give none, or end-store", args)
	}
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	env, err := harness.Connect()
	if err != nil {
		return err
	}
	dir := filepath.Join(env.Root, ".demo")
	say("real video", "people who walk, 768x576, from Debian's opencv-doc, as .mp4 and .mov")
	videos, err := env.MakeVideos(ctx, filepath.Join(dir, "videos"))
	if err != nil {
		return err
	}
	folder, err := harness.DemoStore()
	if err != nil {
		return err
	}
	store, err := env.KeepStore(ctx, folder)
	if err != nil {
		return err
	}
	say("real S3 server", fmt.Sprintf("versitygw at %s, pid %d; it goes on after the demo", store.Endpoint, store.PID))
	if err := fill(ctx, store, videos); err != nil {
		return err
	}
	say("chart", "helm upgrade --install pose-operator charts/pose-operator")
	if err := env.InstallOperator(ctx, harness.Values(store)); err != nil {
		return err
	}
	jobs, err := apply(ctx, env, store)
	if err != nil {
		return err
	}
	ended, err := watch(ctx, env, jobs)
	if err != nil {
		return err
	}
	if err := report(ctx, store, dir, ended); err != nil {
		return err
	}
	fmt.Print(tryMore(env, store))
	return nil
}

func endStore() error {
	folder, err := harness.DemoStore()
	if err != nil {
		return err
	}
	pid, err := harness.EndStore(folder)
	if err == nil && pid != 0 {
		fmt.Printf("ended the demo's S3 server (pid %d)\n", pid)
	}
	return err
}

func say(what, more string) { fmt.Printf("==> %s: %s\n", what, more) }

func fill(ctx context.Context, s *harness.Store, v *harness.Videos) error {
	if err := s.Bucket(ctx, bucket); err != nil {
		return err
	}
	for key, path := range map[string]string{"videos/pedestrians.mp4": v.MP4, "videos/pedestrians.mov": v.MOV} {
		if err := s.Put(ctx, bucket, key, path); err != nil {
			return err
		}
	}
	return nil
}

// apply both jobs, anew each time.
func apply(ctx context.Context, env *harness.Env, s *harness.Store) ([]client.ObjectKey, error) {
	if err := env.Namespace(ctx, namespace); err != nil {
		return nil, err
	}
	if err := env.Secret(ctx, namespace, "store", s); err != nil {
		return nil, err
	}
	if _, err := env.StagedEngine(ctx, "phalp-staged", "sigsegv"); err != nil {
		return nil, err
	}
	say("staged", "PoseEngine phalp-staged: its GPU variant prints the log of PHALP's start, then really dies by SIGSEGV; node gpu-0 advertises a GPU that it has not")
	jobs := []*v1alpha1.PoseJob{
		job("walk-cpu", "mediapipe", v1alpha1.DeviceCPU, "pedestrians.mp4", 0, v1alpha1.OverlayFull),
		job("walk-auto", "phalp-staged", v1alpha1.DeviceAuto, "pedestrians.mov", 300, v1alpha1.OverlayBlurred),
	}
	var keys []client.ObjectKey
	for _, j := range jobs {
		key := client.ObjectKeyFromObject(j)
		if err := env.Remove(ctx, key); err != nil {
			return nil, err
		}
		if err := env.Client.Create(ctx, j); err != nil {
			return nil, fmt.Errorf("apply PoseJob %s: %w", key, err)
		}
		say("PoseJob", fmt.Sprintf("%s: engine %s, device %s, %s frames %d-%d", j.Name, j.Spec.EngineName, j.Spec.Device, j.Spec.Video.URI, j.Spec.Video.Frames.Start, j.Spec.Video.Frames.End))
		keys = append(keys, key)
	}
	return keys, nil
}

// frames that each job looks at: enough to see people walk, few enough to wait.
const frames = 100

func job(name, engine string, device v1alpha1.DevicePreference, video string, start int64, overlay v1alpha1.Overlay) *v1alpha1.PoseJob {
	return &v1alpha1.PoseJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.PoseJobSpec{
			EngineName: engine, Device: device,
			Video: v1alpha1.VideoSource{
				URI: "s3://" + bucket + "/videos/" + video, CredentialsSecretRef: &v1alpha1.SecretReference{Name: "store"},
				Frames: &v1alpha1.FrameRange{Start: start, End: start + frames},
			},
			Output: v1alpha1.Output{
				URI: "s3://" + bucket + "/" + namespace + "/" + name, CredentialsSecretRef: &v1alpha1.SecretReference{Name: "store"},
				Overlay: overlay,
			},
		},
	}
}

// watch all jobs to their end and print a line for every change.
func watch(ctx context.Context, env *harness.Env, keys []client.ObjectKey) ([]*v1alpha1.PoseJob, error) {
	fmt.Println()
	ended, errs := make([]*v1alpha1.PoseJob, len(keys)), make([]error, len(keys))
	started := time.Now()
	var wg sync.WaitGroup
	var out sync.Mutex
	for i, key := range keys {
		wg.Go(func() {
			last := ""
			see := func(j *v1alpha1.PoseJob) {
				if line := line(j); line != last {
					out.Lock()
					fmt.Printf("%6.1fs  %s\n", time.Since(started).Seconds(), line)
					out.Unlock()
					last = line
				}
			}
			ended[i], errs[i] = env.Await(ctx, key, see, harness.Finished)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return ended, nil
}

func line(j *v1alpha1.PoseJob) string {
	s := j.Status
	progress := ""
	if s.Progress != nil {
		progress = bar(s.Progress.Percent) + " " + s.Progress.Summary
		if s.Progress.MilliFPS > 0 {
			progress += fmt.Sprintf(" %.1f fps", float64(s.Progress.MilliFPS)/1000)
		}
	}
	attempt := ""
	if n := len(s.Attempts); n > 0 {
		a := s.Attempts[n-1]
		attempt = fmt.Sprintf("attempt %d %s (%s) %s", a.Number, a.Variant, a.Device, a.Node)
		if n > 1 {
			attempt += fmt.Sprintf(", after %s", s.Attempts[n-2].Reason)
		}
	}
	return fmt.Sprintf("%-10s %-9s %-13s %-34s %s", j.Name, s.Phase, s.Stage, progress, attempt)
}

func bar(percent int32) string {
	const width = 12
	full := int(percent) * width / 100
	b := make([]byte, width)
	for i := range b {
		b[i] = '.'
		if i < full {
			b[i] = '#'
		}
	}
	return "[" + string(b) + "]"
}
