// Command transfer measures how fast and in how much memory pose-runner fetches and
// uploads, beside clients that people know, on one machine: a real S3 server and a
// plain HTTP server, all over loopback. `make -C hack/transfer bench` builds what it
// needs and runs it.
//
// Clients take turns within each round, so that what else the machine does hits all
// of them. Servers and clients share the machine's cores: the figures compare
// clients, and do not say what a network would give.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) > 2 {
		if part, ok := parts[os.Args[1]]; ok {
			fail(part(os.Args[2:]))
			return
		}
	}
	var b bench
	flag.StringVar(&b.scratch, "dir", "/dev/shm", "folder for the servers' files and the clients' copies")
	flag.StringVar(&b.disk, "disk", os.TempDir(), "folder for the copy that memory is measured with")
	flag.Int64Var(&b.size, "mib", 1024, "size of the object, in MiB")
	flag.Int64Var(&b.large, "large-mib", 4096, "size of the object that memory is measured with, in MiB; 0 for none")
	flag.IntVar(&b.rounds, "rounds", 5, "rounds")
	flag.StringVar(&b.tools, "tools", "", "folder of versitygw and s5cmd")
	flag.StringVar(&b.aws, "aws", "", "the AWS command line client")
	flag.StringVar(&b.only, "only", "", "only clients whose name contains this")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fail(b.run(ctx))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "transfer:", err)
		os.Exit(1)
	}
}

// parts are what this program is when it starts itself: a process for each, so
// that memory is one part's own.
var parts = map[string]func(args []string) error{
	"fetch":       fetchPart,
	"download":    downloadPart,
	"digest":      digestPart,
	"upload":      uploadPart,
	"serve":       servePart,
	"raw-receive": rawReceivePart,
	"raw-send":    rawSendPart,
}

// bench is one run of all.
type bench struct {
	scratch, disk string
	size, large   int64 // MiB
	rounds        int
	tools, aws    string
	only          string

	work    string // everything of this run
	servers []*server
	s3      string // URL of the S3 server
	http    string // URL of the HTTP server
	raw     string // address of the raw server
}

func (b *bench) run(ctx context.Context) (err error) {
	if err := errors.Join(room(b.scratch, 4*b.size<<20), room(b.disk, b.large<<20)); err != nil {
		return err
	}
	if b.work, err = os.MkdirTemp(b.scratch, "transfer-"); err != nil {
		return err
	}
	defer func() {
		for _, s := range b.servers {
			s.stop()
		}
		err = errors.Join(err, os.RemoveAll(b.work))
	}()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	for _, c := range b.comparisons() {
		if err := c.run(ctx, b); err != nil {
			return err
		}
	}
	if b.large > 0 {
		return b.memory(ctx)
	}
	return nil
}

// prepare makes the files and starts the servers.
func (b *bench) prepare(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(b.work, "s3", "bench"), 0o755); err != nil {
		return err
	}
	for _, dir := range []string{"sidecar", "credentials", "out", "in"} {
		if err := os.Mkdir(filepath.Join(b.work, dir), 0o755); err != nil {
			return err
		}
	}
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret} {
		if err := os.WriteFile(filepath.Join(b.work, "credentials", name), []byte(value), 0o600); err != nil {
			return err
		}
	}
	fmt.Printf("making %d MiB of noise\n", b.size)
	if err := noise(b.source(), b.size<<20); err != nil {
		return err
	}
	if err := b.serve(ctx); err != nil {
		return err
	}
	// By the server itself, which knows no version of files that come otherwise.
	for _, key := range []string{"object", "large"} {
		if _, err := b.self("upload", b.source(), key, b.s3, filepath.Join(b.work, "credentials"))(ctx); err != nil {
			return err
		}
	}
	// Holes are read, sent and stored like anything else, and cost no memory here.
	return errors.Join(os.Truncate(b.stored("large"), 0), os.Truncate(b.stored("large"), b.large<<20))
}

// source is the file to upload, with the content of the object to download.
func (b *bench) source() string { return filepath.Join(b.work, "noise") }

// stored is where the S3 server keeps an object that our part uploaded.
func (b *bench) stored(key string) string { return filepath.Join(b.work, "s3", "bench", "up", key) }

// room fails where dir cannot hold what is to come.
func room(dir string, need int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < need+need/10 {
		return fmt.Errorf("%s has %d MiB free, %d MiB are needed: name another folder by -dir or -disk, or a smaller size by -mib or -large-mib", dir, free>>20, (need+need/10)>>20)
	}
	return nil
}
