// Command krew makes the release archives of kubectl-pose and the manifest by which
// krew installs them:
//
//	go run ./hack/krew -version v0.1.0 -base-uri https://host/download/v0.1.0 -dist dist
//
// builds kubectl-pose for each platform, packs it with the licence, and writes
// dist/pose.yaml with the archives' digests. With -build=false the archives are there
// already.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"
)

//go:embed pose.yaml.tmpl
var manifestTemplate string

// platform that the plugin is built for.
type platform struct{ OS, Arch string }

var platforms = []platform{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"}, {"windows", "arm64"}}

// archive is what the manifest says of one platform.
type archive struct {
	platform
	URI, SHA256, Binary string
}

// name of the archive's file.
func (p platform) name(version string) string {
	ending := ".tar.gz"
	if p.OS == "windows" {
		ending = ".zip"
	}
	return fmt.Sprintf("kubectl-pose_%s_%s_%s%s", version, p.OS, p.Arch, ending)
}

func (p platform) binary() string {
	if p.OS == "windows" {
		return "kubectl-pose.exe"
	}
	return "kubectl-pose"
}

type release struct {
	version, base, homepage, dist string
}

// semver as krew wants it.
var semver = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

func (r *release) check() error {
	if !semver.MatchString(r.version) {
		return fmt.Errorf("-version %q is no version as v0.1.0", r.version)
	}
	for name, raw := range map[string]string{"base-uri": r.base, "homepage": r.homepage} {
		if u, err := url.Parse(raw); err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.User != nil {
			return fmt.Errorf("-%s %q is no https URL", name, raw)
		}
	}
	if r.dist == "" {
		return errors.New("-dist names no folder")
	}
	return nil
}

// manifest of the archives that lie in r.dist.
func (r *release) manifest() ([]byte, error) {
	var all []archive
	for _, p := range platforms {
		name := p.name(r.version)
		b, err := os.ReadFile(filepath.Join(r.dist, name))
		if err != nil {
			return nil, fmt.Errorf("the archive of %s/%s: %w; build it with -build", p.OS, p.Arch, err)
		}
		if err := contains(name, b, p.binary(), "LICENSE"); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		sum := sha256.Sum256(b)
		all = append(all, archive{p, strings.TrimRight(r.base, "/") + "/" + name, hex.EncodeToString(sum[:]), p.binary()})
	}
	t, err := template.New("pose.yaml").Option("missingkey=error").Parse(manifestTemplate)
	if err != nil {
		return nil, fmt.Errorf("read the template: %w", err)
	}
	var out bytes.Buffer
	err = t.Execute(&out, map[string]any{"Version": r.version, "Homepage": r.homepage, "Archives": all})
	return out.Bytes(), err
}

// build the archives.
func (r *release) build(ctx context.Context) error {
	license, err := os.ReadFile("LICENSE")
	if err != nil {
		return fmt.Errorf("run this in the root of the repository: %w", err)
	}
	for _, p := range platforms {
		fmt.Fprintf(os.Stderr, "building for %s/%s\n", p.OS, p.Arch)
		binary, err := compile(ctx, p, r.version)
		if err != nil {
			return fmt.Errorf("build for %s/%s: %w", p.OS, p.Arch, err)
		}
		packed, err := pack(p.name(r.version), []entry{{p.binary(), binary, 0o755}, {"LICENSE", license, 0o644}})
		if err == nil {
			err = os.WriteFile(filepath.Join(r.dist, p.name(r.version)), packed, 0o644)
		}
		if err != nil {
			return fmt.Errorf("pack %s: %w", p.name(r.version), err)
		}
	}
	return nil
}

// compile the plugin as the Makefile does.
func compile(ctx context.Context, p platform, version string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "krew-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, p.binary())
	stamp := "-s -w -X github.com/pose-dev/pose-operator/internal/version.Version=" + strings.TrimPrefix(version, "v")
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "grpcnotrace", "-ldflags", stamp, "-o", out, "./cmd/kubectl-pose")
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.OS, "GOARCH="+p.Arch)
	c.Stderr = os.Stderr
	if err := c.Run(); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
}

func run(ctx context.Context, args []string) error {
	var r release
	f := flag.NewFlagSet("krew", flag.ContinueOnError)
	f.StringVar(&r.version, "version", "", "version of the release, as v0.1.0")
	f.StringVar(&r.base, "base-uri", "", "https URL of the folder from which the archives will be downloaded")
	f.StringVar(&r.homepage, "homepage", "https://github.com/pose-dev/pose-operator", "https URL of the project")
	f.StringVar(&r.dist, "dist", "dist", "folder for archives and manifest")
	build := f.Bool("build", true, "build the archives first")
	if err := f.Parse(args); err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return err
	}
	if err := os.MkdirAll(r.dist, 0o755); err != nil {
		return err
	}
	if *build {
		if err := r.build(ctx); err != nil {
			return err
		}
	}
	m, err := r.manifest()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.dist, "pose.yaml"), m, 0o644)
}

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "krew:", err)
		os.Exit(1)
	}
}
