package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/pose-dev/pose-operator/hack/cluster/internal/archive"
	"github.com/pose-dev/pose-operator/hack/cluster/internal/host"
	"github.com/pose-dev/pose-operator/hack/cluster/internal/layout"
)

// idLabel notes on an image in containerd which archive it came from.
const idLabel = "pose-cluster/id"

// Load brings images into both nodes: files, or names of archives that the
// image builder left in the cluster's images folder.
func (c *Cluster) Load(ctx context.Context, images []string) error {
	if err := checkOwner(layout.RunDir, c.Dir); err != nil {
		return err
	}
	var files []string
	for _, image := range images {
		file, err := c.archiveOf(image)
		if err != nil {
			return err
		}
		files = append(files, file)
	}
	return c.load(ctx, files)
}

// archiveOf finds the file that an argument means.
func (c *Cluster) archiveOf(image string) (string, error) {
	if info, err := os.Stat(image); err == nil && info.Mode().IsRegular() {
		return image, nil
	}
	if file := filepath.Join(c.Images(), image+".tar"); isThere(file) {
		return file, nil
	}
	have, _ := filepath.Glob(filepath.Join(c.Images(), "*.tar"))
	for i := range have {
		have[i] = strings.TrimSuffix(filepath.Base(have[i]), ".tar")
	}
	return "", fmt.Errorf("no image archive %s, neither a file nor in %s (there: %s): build it with hack/image/build.sh",
		image, c.Images(), strings.Join(have, ", "))
}

func isThere(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func (c *Cluster) load(ctx context.Context, files []string) error {
	if err := c.room(ctx, files); err != nil {
		return err
	}
	for _, file := range files {
		images, err := archive.Images(file)
		if err != nil {
			return err
		}
		if err := parallel(func(n layout.Node) error { return loadOne(ctx, n, file, images) }); err != nil {
			return fmt.Errorf("load %s: %w", file, err)
		}
		for _, image := range images {
			for _, tag := range image.RepoTags {
				digest, err := digestOf(ctx, layout.Nodes()[0], tag)
				if err != nil {
					return err
				}
				c.say("image %s on both nodes, also as %s", tag, pinned(tag, digest))
			}
		}
	}
	return nil
}

// loadOne imports an archive into one node unless all its images are there.
func loadOne(ctx context.Context, n layout.Node, file string, images []archive.Image) error {
	if present(ctx, n, images) {
		return nil
	}
	if err := ctr(ctx, n, "images", "import", file); err != nil {
		return err
	}
	for _, image := range images {
		for _, tag := range image.RepoTags {
			digest, err := digestOf(ctx, n, tag)
			if err != nil {
				return err
			}
			// A second name with the digest: charts pin images by digest, and a
			// pod's status then shows it.
			if err := ctr(ctx, n, "images", "tag", "--force", tag, pinned(tag, digest)); err != nil {
				return err
			}
			if err := ctr(ctx, n, "images", "label", tag, idLabel+"="+image.ID()); err != nil {
				return err
			}
		}
	}
	// The layers are unpacked: let go of the packed ones, which are as large.
	return ctr(ctx, n, "content", "prune", "references")
}

func present(ctx context.Context, n layout.Node, images []archive.Image) bool {
	for _, image := range images {
		for _, tag := range image.RepoTags {
			out, err := ctrOut(ctx, n, "images", "ls", "-q", fmt.Sprintf("name==%s,labels.%q==%s", tag, idLabel, image.ID()))
			if err != nil || strings.TrimSpace(out) == "" {
				return false
			}
		}
	}
	return true
}

// digestOf reads the digest of a tag's manifest in a node.
func digestOf(ctx context.Context, n layout.Node, tag string) (string, error) {
	out, err := ctrOut(ctx, n, "images", "ls", "name=="+tag)
	if err != nil {
		return "", err
	}
	return parseDigest(out, tag)
}

func parseDigest(listing, tag string) (string, error) {
	for _, line := range strings.Split(listing, "\n") {
		if f := strings.Fields(line); len(f) > 2 && f[0] == tag && strings.HasPrefix(f[2], "sha256:") {
			return f[2], nil
		}
	}
	return "", fmt.Errorf("containerd does not list %s after its import", tag)
}

// pinned is the name of an image by digest, without its tag.
func pinned(tag, digest string) string {
	if i := strings.LastIndexByte(tag, ':'); i > strings.LastIndexByte(tag, '/') {
		tag = tag[:i]
	}
	return tag + "@" + digest
}

func ctrArgs(n layout.Node, args []string) []string {
	return append([]string{"--address", n.Socket(), "--namespace", "k8s.io"}, args...)
}

func ctr(ctx context.Context, n layout.Node, args ...string) error {
	return host.Run(ctx, "ctr", ctrArgs(n, args)...)
}

func ctrOut(ctx context.Context, n layout.Node, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "ctr", ctrArgs(n, args)...).Output()
	if err != nil {
		return "", fmt.Errorf("ctr %s: %w", strings.Join(args, " "), err)
	}
	return string(out), nil
}
