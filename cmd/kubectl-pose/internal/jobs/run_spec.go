package jobs

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
)

// specFlags say what is to be made of a video.
type specFlags struct {
	engine, device, output, overlay, frames, reuse, deletion, sha256, boxes string
	secret, videoSecret, outputSecret                                       string
	name, generate                                                          string
	variants                                                                []string
	labels                                                                  map[string]string
	people                                                                  int32
	deadline                                                                time.Duration
	engineFallback, overwrite, suspend                                      bool
}

func (f *specFlags) add(p *pflag.FlagSet) {
	p.StringVar(&f.output, "output-uri", "", "where the results go, as s3://bucket/NAMESPACE/folder; one that ends with /, or that of several videos, gets the job's name at its end")
	p.StringVar(&f.engine, "engine", "", "PoseEngine; the cluster's default if unset")
	p.StringVar(&f.device, "device", "", "Auto, GPU or CPU; Auto if unset")
	p.StringSliceVar(&f.variants, "variant", nil, "the engine's variants to try, in this order, separated by commas; all of them if unset")
	p.StringVar(&f.overlay, "overlay", "", "a video with the skeletons drawn in: None, Blurred (hides faces) or Full; None if unset")
	p.StringVar(&f.frames, "frames", "", "a part of the video, as 100:400, 100: or :400; the first frame is 0, the last is left out")
	p.Int32Var(&f.people, "people", 0, "keep so many people at most, the nearest and longest seen; everybody if unset")
	p.StringVar(&f.reuse, "reuse", "", "IfVerified takes a result that was computed before, Never does not; as the platform admin chose if unset")
	p.StringVar(&f.boxes, "boxes", "", "URI of a file with the people's boxes, found before by other means")
	p.StringVar(&f.sha256, "sha256", "", "digest that the video must have; of a file of this machine it is computed")
	p.StringVar(&f.secret, "secret", "", "Secret of the namespace by which the pod reads the video and writes the results")
	p.StringVar(&f.videoSecret, "video-secret", "", "Secret for the video alone")
	p.StringVar(&f.outputSecret, "output-secret", "", "Secret for the results alone")
	p.StringVar(&f.deletion, "deletion-policy", "", "what becomes of the results when the PoseJob is deleted: Retain or Delete; Retain if unset")
	p.DurationVar(&f.deadline, "deadline", 0, "give the job up after so long, all attempts together; never if unset")
	p.BoolVar(&f.engineFallback, "allow-engine-fallback", false, "allow the engine's fallback engine as the last rung, whose results are of another kind")
	p.BoolVar(&f.overwrite, "overwrite", false, "let the result take the place of another job's at the same output URI")
	p.BoolVar(&f.suspend, "suspended", false, "make the job, and let it wait for \"kubectl pose resume\"")
	p.StringVar(&f.name, "name", "", "name of the job; made of the video's if unset")
	p.StringVar(&f.generate, "generate-name", "", "what the job's name begins with; five characters follow")
	p.StringToStringVar(&f.labels, "label", nil, "labels of the job, as project=snow")
}

var digestHex = regexp.MustCompile(`^[0-9a-f]{64}$`)

// check what does not depend on a video.
func (f *specFlags) check(videos int, gateway bool) error {
	for _, e := range []struct {
		flag, value string
		to          *string
		words       []string
	}{
		{"device", f.device, &f.device, []string{"Auto", "GPU", "CPU"}}, {"overlay", f.overlay, &f.overlay, []string{"None", "Blurred", "Full"}},
		{"reuse", f.reuse, &f.reuse, []string{"IfVerified", "Never"}}, {"deletion-policy", f.deletion, &f.deletion, []string{"Retain", "Delete"}},
	} {
		if e.value == "" {
			continue
		}
		at := slices.IndexFunc(e.words, func(w string) bool { return strings.EqualFold(w, e.value) })
		if at < 0 {
			return exit.Usagef("--%s %q is none of %s", e.flag, e.value, strings.Join(e.words, ", "))
		}
		*e.to = e.words[at]
	}
	switch {
	case f.name != "" && videos > 1:
		return exit.Usagef("--name %s names one job, and there are %d videos: use --generate-name", f.name, videos)
	case f.name != "" && f.generate != "":
		return exit.Usagef("--name and --generate-name: leave one out")
	case f.sha256 != "" && (videos > 1 || !digestHex.MatchString(f.sha256)):
		return exit.Usagef("--sha256 %s: it is of one video, and 64 lower-case hex digits", f.sha256)
	case f.people < 0:
		return exit.Usagef("--people %d: a number from 1 on is expected", f.people)
	case f.deadline < 0 || f.deadline > 0 && f.deadline < time.Second:
		return exit.Usagef("--deadline %s is too short", f.deadline)
	case f.output == "" && !gateway:
		return exit.Usagef("say where the results go: --output-uri s3://bucket/NAMESPACE/folder/, whose path begins with your namespace; or let a gateway choose, with --gateway")
	}
	for _, n := range []string{f.name, strings.TrimSuffix(f.generate, "-") + "-x"} {
		if bad := validation.IsDNS1123Subdomain(n); n != "" && n != "-x" && len(bad) > 0 {
			return exit.Usagef("%q cannot be the name of a job: %s", n, bad[0])
		}
	}
	if _, err := labels.ValidatedSelectorFromSet(f.labels); err != nil {
		return exit.Usagef("--label: %w", err)
	}
	_, err := frameRange(f.frames)
	return err
}

// frameRange of 100:400, 100: or :400.
func frameRange(s string) (*v1alpha1.FrameRange, error) {
	if s == "" {
		return nil, nil //nolint:nilnil // no range is a choice
	}
	wrong := exit.Usagef("--frames %q is no part of a video: write 100:400, 100: or :400", s)
	from, to, ok := strings.Cut(s, ":")
	if !ok || from == "" && to == "" {
		return nil, wrong
	}
	var r v1alpha1.FrameRange
	for _, n := range []struct {
		text string
		to   *int64
	}{{from, &r.Start}, {to, &r.End}} {
		if n.text == "" {
			continue
		}
		v, err := strconv.ParseInt(n.text, 10, 64)
		if err != nil || v < 0 {
			return nil, wrong
		}
		*n.to = v
	}
	if to != "" && r.End <= r.Start {
		return nil, exit.Usagef("--frames %s: the end must come after the start; it is the first frame that is left out", s)
	}
	return &r, nil
}

// job of one video. unique is five characters that no other job of its name has.
func (f *specFlags) job(namespace, video, digest, unique string, several bool) *v1alpha1.PoseJob {
	j := &v1alpha1.PoseJob{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: f.jobName(video, unique), Labels: f.labels}}
	named(j)
	frames, _ := frameRange(f.frames) // checked before
	spec := &j.Spec
	spec.Video = v1alpha1.VideoSource{URI: video, SHA256: cmp.Or(digest, f.sha256), CredentialsSecretRef: secretOf(f.videoSecret, f.secret), Frames: frames}
	if f.boxes != "" {
		spec.Video.Boxes = &v1alpha1.BoxesSource{URI: f.boxes, CredentialsSecretRef: secretOf(f.videoSecret, f.secret)}
	}
	spec.Output = v1alpha1.Output{
		URI: outputOf(f.output, j.Name, several), CredentialsSecretRef: secretOf(f.outputSecret, f.secret),
		Overlay: v1alpha1.Overlay(f.overlay), DeletionPolicy: v1alpha1.DeletionPolicy(f.deletion),
	}
	spec.EngineName, spec.Device, spec.Variants, spec.Reuse = f.engine, v1alpha1.DevicePreference(f.device), f.variants, v1alpha1.ReusePolicy(f.reuse)
	spec.Suspend = f.suspend
	if f.overwrite {
		spec.Output.Overwrite = v1alpha1.Allow
	}
	if f.engineFallback {
		spec.Fallback.Engine = v1alpha1.Allow
	}
	if f.people > 0 {
		spec.People = &v1alpha1.PeopleSelection{Max: f.people}
	}
	if f.deadline > 0 {
		spec.ActiveDeadlineSeconds = new(int64(f.deadline / time.Second))
	}
	return j
}

// secretOf gives the first name that is set.
func secretOf(names ...string) *v1alpha1.SecretReference {
	if name := cmp.Or(names...); name != "" {
		return &v1alpha1.SecretReference{Name: name}
	}
	return nil
}

// outputOf a job: a folder of its own in a folder of several.
func outputOf(base, name string, several bool) string {
	if strings.HasSuffix(base, "/") || several {
		return strings.TrimRight(base, "/") + "/" + name
	}
	return base
}

// longestStem is what is left of a video's name in that of its job.
const longestStem = 40

// jobName of a video, by flags or by its own name.
func (f *specFlags) jobName(video, unique string) string {
	switch {
	case f.name != "":
		return f.name
	case f.generate != "":
		return strings.TrimSuffix(f.generate, "-") + "-" + unique
	}
	return stem(video) + "-" + unique
}

// stem is a video's name as a part of that of an object in Kubernetes.
func stem(video string) string {
	base := path.Base(strings.ReplaceAll(video, `\`, "/"))
	base = strings.TrimSuffix(base, path.Ext(base))
	var b strings.Builder
	for _, r := range strings.ToLower(base) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	s := b.String()
	return cmp.Or(strings.Trim(s[:min(len(s), longestStem)], "-"), "pose")
}

// fields of the gateway's form.
func (f *specFlags) fields(digest string) (map[string]string, error) {
	for flag, set := range map[string]bool{
		"output-uri": f.output != "", "variant": len(f.variants) > 0, "secret": f.secret+f.videoSecret+f.outputSecret != "", "boxes": f.boxes != "", "name": f.name+f.generate != "",
		"label": len(f.labels) > 0, "reuse": f.reuse != "", "deadline": f.deadline > 0, "allow-engine-fallback": f.engineFallback, "overwrite": f.overwrite, "suspended": f.suspend,
	} {
		if set {
			return nil, exit.Usagef("--%s is not for the gateway to say: leave it out, or upload with --upload-to", flag)
		}
	}
	out := map[string]string{"engine": f.engine, "device": f.device, "overlay": f.overlay, "deletionPolicy": f.deletion, "sha256": digest}
	if f.people > 0 {
		out["people"] = fmt.Sprint(f.people)
	}
	if r, _ := frameRange(f.frames); r != nil { // checked before
		out["frameStart"] = fmt.Sprint(r.Start)
		if r.End > 0 {
			out["frameEnd"] = fmt.Sprint(r.End)
		}
	}
	return out, nil
}
