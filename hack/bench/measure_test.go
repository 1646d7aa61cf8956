package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestQuantilesByNearestRank(t *testing.T) {
	var hundred []time.Duration
	for i := 100; i > 0; i-- {
		hundred = append(hundred, time.Duration(i)*time.Millisecond)
	}
	for name, c := range map[string]struct {
		all           []time.Duration
		p50, p99, max float64
	}{
		"1 to 100 ms":   {all: hundred, p50: 50, p99: 99, max: 100},
		"one value":     {all: hundred[:1], p50: 100, p99: 100, max: 100},
		"two values":    {all: hundred[:2], p50: 99, p99: 100, max: 100},
		"a fraction":    {all: []time.Duration{1234567}, p50: 1.2, p99: 1.2, max: 1.2},
		"none at all":   {},
		"one straggler": {all: append([]time.Duration{time.Minute}, hundred[1:]...), p50: 50, p99: 99, max: 60000},
	} {
		if q := newQuantiles(c.all); q.P50 != c.p50 || q.P99 != c.p99 || q.Max != c.max || q.Count != len(c.all) {
			t.Errorf("%s: %+v, want p50 %v, p99 %v, max %v", name, q, c.p50, c.p99, c.max)
		}
	}
	if hundred[0] != 100*time.Millisecond {
		t.Error("the caller's values were sorted")
	}
	if m := median(3, 1, 2); m != 2 {
		t.Errorf("median(3, 1, 2) = %v", m)
	}
}

func TestParseStat(t *testing.T) {
	const tail = " S 41 42 43 0 -1 4194560 1 2 3 4 250 75 9 9 20 0 1 0 100 1 1 1\n"
	for name, program := range map[string]string{"a plain name": "etcd", "blanks and parentheses": "a) S (b c"} {
		s, err := parseStat([]byte("7 (" + program + ")" + tail))
		if err != nil || s.name != program || s.parent != 41 || s.cpu != 3.25 {
			t.Errorf("%s: parseStat = %+v, %v; want %q, parent 41, 3.25 s", name, s, err, program)
		}
	}
	for name, text := range map[string]string{
		"nothing": "", "no name": "7 S 41 42", "cut short": "7 (etcd) S 41 42 43 0", "words for numbers": "7 (etcd) S x 1 1 1 1 1 1 1 1 1 y z 1 1 1\n",
	} {
		if _, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestOwnAccounts(t *testing.T) {
	before, err := cpuOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ { // until the kernel charges this process
		after, err := cpuOf(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if after > before {
			break
		}
		if n > 1e7 {
			t.Fatal("ten million readings of its own account cost nothing")
		}
	}
	if rss, err := rssOf(os.Getpid()); err != nil || rss < 1<<20 {
		t.Errorf("own resident memory is %v bytes, %v; want a megabyte or more", rss, err)
	}
}

func TestParseMemory(t *testing.T) {
	if rss, err := parseRSS(strings.NewReader("Name:\tetcd\nVmHWM:\t  9 kB\nVmRSS:\t   2048 kB\n")); err != nil || rss != 2<<20 {
		t.Errorf("parseRSS = %v, %v; want 2 MiB", rss, err)
	}
	if _, err := parseRSS(strings.NewReader("Name:\tetcd\n")); err == nil {
		t.Error("no resident memory, and no error")
	}
	if heap, err := parseHeap(strings.NewReader("heap profile: 1\n# runtime.MemStats\n# Alloc = 7\n# HeapAlloc = 12345\n")); err != nil || heap != 12345 {
		t.Errorf("parseHeap = %v, %v; want 12345", heap, err)
	}
	if _, err := parseHeap(strings.NewReader("Forbidden")); err == nil {
		t.Error("no heap, and no error")
	}
}

// at so many milliseconds of a test.
func at(ms int) time.Time { return time.UnixMilli(1e12 + int64(ms)) }

func TestRowOfWhatWatchesTold(t *testing.T) {
	r := newRecorder()
	// Succeeds at once; its pod's watch is ahead of its own.
	r.pod("x-0", "a", at(3))
	r.unit("x-0", at(1), false, false)
	r.unit("x-0", at(2), false, false)
	r.pod("x-0", "a", at(5)) // its watch began again
	r.podEnded("x-0", "a", at(10), false)
	r.podEnded("x-0", "a", at(11), false)
	r.unit("x-0", at(30), true, true)
	r.unit("x-0", at(40), true, true)
	// Crashes once.
	r.unit("x-1", at(0), false, false)
	if n := r.pod("x-1", "b", at(4)); n != 0 {
		t.Errorf("%d pods before the first", n)
	}
	r.podEnded("x-1", "b", at(20), true)
	if n := r.pod("x-1", "c", at(70)); n != 1 {
		t.Errorf("%d pods before the second", n)
	}
	r.podEnded("x-1", "c", at(900), false)
	r.unit("x-1", at(1000), true, true)
	// Does not end, and another group's.
	r.unit("x-2", at(0), false, false)
	r.unit("y-0", at(0), true, false)

	var got row
	got.fill(r.group("x-"), at(0))
	if got.Finished != 2 || got.Succeeded != 2 || got.Pods != 3 || got.Seconds != 1 || got.UnitsPerSecond != 2 {
		t.Errorf("%+v; want 2 of 3 ended, 3 pods, 1 s, 2 a second", got)
	}
	if q := got.UnitToPod; q.Count != 2 || q.P50 != 2 || q.Max != 4 {
		t.Errorf("unit to pod %+v; want 2 and 4 ms", q)
	}
	if q := got.PodToEnd; q.Count != 2 || q.P50 != 20 || q.Max != 100 {
		t.Errorf("pod's end to the unit's %+v; want 20 and 100 ms", q)
	}
	if q := got.CrashToPod; q.Count != 1 || q.P50 != 50 {
		t.Errorf("crash to next pod %+v; want 50 ms", q)
	}
}

func TestChargeByFinishedUnits(t *testing.T) {
	counted := auditCount{}
	counted.of(userController).writes["create pods"] = 20
	counted.of(userController).writes["patch posejobs/status"] = 25
	counted.of(userController).writes["patch poseengines/status"] = 3
	counted.of(userKubelet).writes["patch pods/status"] = 40
	r := row{Units: 11, Finished: 10}
	r.charge(account{controller: 1, apiserver: 2, etcd: 3, bench: 4}, account{controller: 1.05, apiserver: 2.2, etcd: 3.01, bench: 4.02}, counted)
	if r.ControllerCPU != 5 || r.APIServerCPU != 20 || r.EtcdCPU != 1 || r.BenchCPU != 2 {
		t.Errorf("CPU a job %v, %v, %v, %v; want 5, 20, 1, 2 ms", r.ControllerCPU, r.APIServerCPU, r.EtcdCPU, r.BenchCPU)
	}
	if r.WritesPerJob != 4.5 || r.AllWrites != 8.8 || r.OtherWrites != 3 || r.Writes["create pods"] != 2 {
		t.Errorf("writes a job %v of %v, %v", r.WritesPerJob, r.AllWrites, r.Writes)
	}
}

func TestUntilGivesUp(t *testing.T) {
	r := newRecorder()
	r.unit("x-0", at(0), true, true)
	if n, err := r.until(t.Context(), "x-", 2, time.Millisecond, terminal); n != 1 || err != nil {
		t.Errorf("until = %d, %v; want 1 of 2 when its time is over", n, err)
	}
	if n, err := r.until(t.Context(), "x-", 1, time.Hour, terminal); n != 1 || err != nil {
		t.Errorf("until = %d, %v; want 1 of 1 at once", n, err)
	}
}
