package main

import (
	"math"
	"slices"
	"time"
)

// quantiles of latencies, in milliseconds, and how many there were.
type quantiles struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
	// curve holds the percentiles from 1 to 100, in milliseconds.
	curve []float64
}

// newQuantiles by nearest rank: p99 of 100 values is the 99th smallest.
func newQuantiles(all []time.Duration) quantiles {
	if len(all) == 0 {
		return quantiles{}
	}
	sorted := slices.Sorted(slices.Values(all))
	q := quantiles{
		Count: len(sorted), P50: milliseconds(rank(sorted, 0.50)), P99: milliseconds(rank(sorted, 0.99)),
		Max: milliseconds(sorted[len(sorted)-1]),
	}
	for p := 1; p <= 100; p++ {
		q.curve = append(q.curve, milliseconds(rank(sorted, float64(p)/100)))
	}
	return q
}

// rank gives the smallest value that the share of all, 0 < share <= 1, does not pass.
func rank[T any](sorted []T, share float64) T {
	return sorted[int(math.Ceil(share*float64(len(sorted))))-1]
}

// milliseconds with a tenth's precision: watches are no more exact.
func milliseconds(d time.Duration) float64 {
	return math.Round(d.Seconds()*1e4) / 10
}

// median of at least one value.
func median(values ...float64) float64 {
	return rank(slices.Sorted(slices.Values(values)), 0.5)
}
