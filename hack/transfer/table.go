package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// comparison is one object moved one way by several clients.
type comparison struct {
	what    string
	clients []client
}

// run lets the clients take turns, and prints what each took.
func (c comparison) run(ctx context.Context, b *bench) error {
	var clients []client
	for _, cl := range c.clients {
		if strings.Contains(cl.name, b.only) {
			clients = append(clients, cl)
		}
	}
	runs := make([][]usage, len(clients))
	want, err := digest(b.source())
	if err != nil {
		return err
	}
	for round := range b.rounds {
		for i := range clients {
			// Each begins once: the first runs beside what the one before left to do.
			at := (i + round) % len(clients)
			before := b.cpu()
			u, err := clients[at].run(ctx)
			u.servers = b.cpu() - before
			if err != nil {
				return err
			}
			if round == 0 {
				if got, err := digest(clients[at].file); err != nil || got != want {
					return errors.Join(fmt.Errorf("%s: %s made another file", c.what, clients[at].name), err)
				}
			}
			if err := os.Remove(clients[at].file); err != nil {
				return err
			}
			runs[at] = append(runs[at], u)
		}
		fmt.Printf("%s: round %d of %d\n", c.what, round+1, b.rounds)
	}
	c.print(b, clients, runs)
	return nil
}

func (c comparison) print(b *bench, clients []client, runs [][]usage) {
	rate := func(u usage) float64 { return float64(b.size<<20) / 1e6 / u.wall.Seconds() }
	best := -1 // the fastest that is not ours
	for i, cl := range clients {
		if !cl.ours && !cl.limit && (best < 0 || median(runs[i], rate) > median(runs[best], rate)) {
			best = i
		}
	}
	fmt.Printf("\n%s, %d MiB, %d rounds\n  %-18s %12s %17s %11s %9s %9s %9s\n", c.what, b.size, b.rounds, "", "median MB/s", "slowest-fastest", "to the best", "CPU s", "server s", "peak MiB")
	for i, cl := range clients {
		var slowest, fastest, peak float64
		for _, u := range runs[i] {
			if slowest == 0 || rate(u) < slowest {
				slowest = rate(u)
			}
			fastest, peak = max(fastest, rate(u)), max(peak, float64(u.peak)/(1<<20))
		}
		m, to := median(runs[i], rate), "-"
		if best >= 0 && !cl.limit {
			to = fmt.Sprintf("%.2f", beside(runs[i], runs[best], rate))
		}
		fmt.Printf("  %-18s %12.0f %17s %11s %9.2f %9.2f %9.0f\n", cl.name, m, fmt.Sprintf("%.0f-%.0f", slowest, fastest), to,
			median(runs[i], func(u usage) float64 { return u.cpu.Seconds() }), median(runs[i], func(u usage) float64 { return u.servers.Seconds() }), peak)
	}
	fmt.Println()
}

func median(of []usage, f func(usage) float64) float64 {
	v := make([]float64, len(of))
	for i, u := range of {
		v[i] = f(u)
	}
	slices.Sort(v)
	return v[len(v)/2]
}

// beside is the median of the ratios of two clients within each round: what else the
// machine does changes from round to round.
func beside(a, b []usage, rate func(usage) float64) float64 {
	v := make([]float64, len(a))
	for i := range a {
		v[i] = rate(a[i]) / rate(b[i])
	}
	slices.Sort(v)
	return v[len(v)/2]
}

func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, make([]byte, block)); err != nil {
		return "", err
	}
	return string(h.Sum(nil)), nil
}
