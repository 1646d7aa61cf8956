package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	access = "bench"
	secret = "bench-secret"
	block  = 1 << 20
)

// noise writes a file that no compression helps with.
func noise(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, io.LimitReader(rand.NewChaCha8([32]byte{1}), size), make([]byte, block))
	return errors.Join(err, f.Close())
}

// server is a process that listens.
type server struct {
	cmd *exec.Cmd
	log strings.Builder
}

func (b *bench) start(ctx context.Context, addr, name string, args ...string) error {
	s := &server{cmd: exec.Command(name, args...)}
	s.cmd.Stderr = &s.log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	b.servers = append(b.servers, s)
	for range 600 {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("%s does not listen on %s: %s", name, addr, s.log.String())
}

// cpu is what the servers have taken until now, as far as the kernel tells it.
func (b *bench) cpu() time.Duration {
	var sum time.Duration
	for _, s := range b.servers {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
		if err != nil {
			return 0
		}
		// What follows the name in brackets; 12th and 13th: in user and kernel mode.
		_, rest, _ := strings.Cut(string(raw), ") ")
		fields := strings.Fields(rest)
		for _, at := range []int{11, 12} {
			if at < len(fields) {
				ticks, _ := strconv.ParseInt(fields[at], 10, 64)
				sum += time.Duration(ticks) * tick
			}
		}
	}
	return sum
}

// tick is the unit of /proc on all of Go's Linux platforms.
const tick = 10 * time.Millisecond

func (s *server) stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// serve starts all servers.
func (b *bench) serve(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	addrs := make([]string, 3)
	for i := range addrs {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		addrs[i] = l.Addr().String()
		l.Close()
	}
	b.s3, b.http, b.raw = "http://"+addrs[0], "http://"+addrs[1], addrs[2]
	root := filepath.Join(b.work, "s3")
	return errors.Join(
		b.start(ctx, addrs[0], filepath.Join(b.tools, "versitygw"), "--quiet", "--access", access, "--secret", secret, "--port", addrs[0],
			"posix", "--sidecar", filepath.Join(b.work, "sidecar"), root),
		b.start(ctx, addrs[1], self, "serve", addrs[1], root, addrs[2], filepath.Join(b.work, "in", "raw")),
	)
}

// servePart is the plain HTTP server and, beside it, one that gives the file to
// whoever connects and says "get", and takes one from whoever says "put".
func servePart(args []string) error {
	l, err := net.Listen("tcp", args[2])
	if err != nil {
		return err
	}
	go serveRaw(l, filepath.Join(args[1], "bench", "up", "object"), args[3])
	return http.ListenAndServe(args[0], http.FileServer(http.Dir(args[1])))
}

func serveRaw(l net.Listener, get, put string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			verb := make([]byte, 3)
			if _, err := io.ReadFull(c, verb); err != nil {
				return
			}
			if string(verb) == "get" {
				f, err := os.Open(get)
				if err != nil {
					return
				}
				defer f.Close()
				_, _ = io.Copy(c, f) // sendfile
				return
			}
			f, err := os.Create(put)
			if err != nil {
				return
			}
			defer f.Close()
			_, _ = io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{c}, make([]byte, block))
			_, _ = c.Write([]byte("ok"))
		}()
	}
}

// rawReceivePart copies from the raw server to a file.
func rawReceivePart(args []string) error {
	c, err := net.Dial("tcp", args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte("get")); err != nil {
		return err
	}
	f, err := os.Create(args[1])
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{c}, make([]byte, block))
	return errors.Join(err, f.Close())
}

// rawSendPart copies a file to the raw server.
func rawSendPart(args []string) error {
	c, err := net.Dial("tcp", args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	f, err := os.Open(args[1])
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := c.Write([]byte("put")); err != nil {
		return err
	}
	if _, err := io.Copy(c, f); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 2))
	return err
}
