// Package optional_test checks the manifests of engines that are not built in.
package optional_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// Arguments of each program, as its README lists them.
var options = map[string]string{
	"pose-onnx":     "../../images/onnx-pose/README.md",
	"pose-openpose": "../../images/openpose/README.md",
}

func manifests(t *testing.T) map[string]v1alpha1.PoseEngine {
	t.Helper()
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("find manifests: %v, %v", files, err)
	}
	out := map[string]v1alpha1.PoseEngine{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var e v1alpha1.PoseEngine
		if err := yaml.UnmarshalStrict(raw, &e); err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if e.APIVersion != v1alpha1.GroupVersion.String() || e.Kind != "PoseEngine" || e.Name+".yaml" != file {
			t.Errorf("%s holds %s %s %s", file, e.APIVersion, e.Kind, e.Name)
		}
		out[file] = e
	}
	return out
}

func TestManifestsDecodeStrictlyAndCompile(t *testing.T) {
	for file, e := range manifests(t) {
		patterns := []string{e.Spec.ProgressPattern}
		for _, s := range e.Spec.Stages {
			patterns = append(patterns, s.Pattern)
		}
		for _, r := range e.Spec.FailureRules {
			patterns = append(patterns, r.LogPattern)
		}
		for _, p := range patterns {
			if _, err := regexp.Compile(p); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
		if !strings.Contains(e.Annotations["pose.dev/licence"], "brought by you") {
			t.Errorf("%s does not say under which licence the model stands", file)
		}
	}
}

// TestOptionsAreThoseOfThePrograms keeps commands and programs together.
func TestOptionsAreThoseOfThePrograms(t *testing.T) {
	for file, e := range manifests(t) {
		for _, v := range e.Spec.Variants {
			program := filepath.Base(v.Command[0])
			if program == "python3" {
				program = filepath.Base(v.Command[1])
			}
			readme, err := os.ReadFile(options[program])
			if err != nil {
				t.Errorf("%s, variant %s, runs %q, which no README describes: %v", file, v.Name, program, err)
				continue
			}
			for _, argument := range v.Command {
				name, _, _ := strings.Cut(argument, "=")
				if strings.HasPrefix(name, "--") && !regexp.MustCompile("`"+name+"[`, ]").Match(readme) && !strings.Contains(string(readme), name+" ") {
					t.Errorf("%s, variant %s: option %s is not in %s", file, v.Name, name, options[program])
				}
			}
		}
	}
}

// TestFailureCodesAreThoseOfThePrograms: every code that a rule waits for is one that the program can print.
func TestFailureCodesAreThoseOfThePrograms(t *testing.T) {
	sources := map[string]string{
		"yolo-pose.yaml": "../../images/onnx-pose/src/pose_onnx/errors.py",
		"rtmpose.yaml":   "../../images/onnx-pose/src/pose_onnx/errors.py",
		"openpose.yaml":  "../../images/openpose/src/pose_openpose/report.py",
	}
	words := regexp.MustCompile(`[A-Z][A-Z_]{3,}`)
	for file, e := range manifests(t) {
		source, err := os.ReadFile(sources[file])
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, r := range e.Spec.FailureRules {
			for _, code := range words.FindAllString(r.LogPattern, -1) {
				if !regexp.MustCompile(`(?m)^    ` + code + ` = [0-9]+$`).Match(source) {
					t.Errorf("%s waits for code %s, which %s does not have", file, code, sources[file])
				}
			}
		}
	}
}
