package exec

import (
	"path"
	"strconv"
	"strings"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
)

const (
	// maxFatal bounds CrashReport.FatalError, maxLibrary NativeLibrary, in bytes.
	maxFatal   = 240
	maxLibrary = 80
	// maxDump bounds the lines that one dump may keep out of the log's tail: a
	// hundred threads of a hundred frames.
	maxDump = 12_000
	// maxStray is how many other lines in a row end a dump. Threads that still
	// run print between its lines.
	maxStray = 20
)

const (
	fatalMark     = "Fatal Python error: "
	terminateMark = "terminate called"
	whatMark      = "what():"
)

// section of a dump.
type section int

const (
	outside section = iota
	heading         // after the fatal line
	current         // frames of the thread that crashed
	other           // frames of another thread
	native          // C stack
)

// crash reads what an engine's last words tell of a crash: the dump that
// Python's faulthandler writes, and what C++ says before it aborts. The newest
// crash counts: an engine outlives the crash of a worker.
//
// All of it is the engine's text. A forged dump can hide the engine's own lines
// and nothing else, and at most maxDump of them.
type crash struct {
	found     bool
	fatal     string
	thrown    bool // fatal holds what C++ threw
	stack     []string
	library   string
	in        section
	lines     int     // of this dump
	stray     int     // other lines since its last
	python    string  // binary that dumps the native stack
	unwinding unwound // how far the native stack was read
}

// unwound is how far a native stack was read: the dump's own frames come first,
// then the C library's signal frame, then what crashed.
type unwound int

const (
	inDumper unwound = iota
	inLibc
	atCulprit
)

// Line takes one clean line and says whether it belongs to a dump, and is kept
// here instead of in the log's tail.
func (c *crash) Line(line string) bool {
	if i := strings.Index(line, fatalMark); i >= 0 {
		c.begin(line[i:])
		return false
	}
	if i := strings.Index(line, terminateMark); i >= 0 {
		*c = crash{found: true, thrown: true, in: heading, fatal: clean.Head(line[i:], maxFatal)}
		return false
	}
	if c.in == outside {
		return false
	}
	if c.thrown && c.what(line) {
		return false
	}
	if c.lines < maxDump && c.part(line) {
		c.lines++
		c.stray = 0
		return true
	}
	if c.stray++; c.stray > maxStray || c.lines >= maxDump {
		c.in = outside
	}
	return false
}

// begin starts a dump. An abort that follows what C++ threw belongs to it.
func (c *crash) begin(fatal string) {
	if c.in != outside && c.thrown {
		c.in, c.stack, c.stray = heading, nil, 0
		return
	}
	*c = crash{found: true, in: heading, fatal: clean.Head(fatal, maxFatal)}
}

// what adds the text of what C++ threw.
func (c *crash) what(line string) bool {
	text := strings.TrimSpace(line)
	if !strings.HasPrefix(text, whatMark) || strings.Contains(c.fatal, whatMark) {
		return false
	}
	c.fatal = clean.Head(c.fatal+"; "+text, maxFatal)
	return true
}

// part reads one line of a dump; false when it is none.
func (c *crash) part(line string) bool {
	if c.header(line) {
		return true
	}
	switch c.in {
	case current, other:
		if f, ok := pythonFrame(line); ok {
			if c.in == current && len(c.stack) < report.MaxStackDepth {
				c.stack = append(c.stack, f)
			}
			return true
		}
	case native:
		if lib, ok := nativeFrame(line); ok {
			c.unwind(lib)
			return true
		}
	}
	if sym, lib, ok := c10Frame(line); ok && c.thrown {
		if c.library == "" && !strings.Contains(sym, "c10::Error") && !strings.Contains(sym, "c10::detail::") {
			c.library = lib
		}
		return true
	}
	return remark(line)
}

// header reads the lines that open a section.
func (c *crash) header(line string) bool {
	const tail = "(most recent call first):"
	switch {
	case !strings.HasSuffix(line, tail):
		return false
	case line == "Current thread's C stack trace "+tail:
		c.in, c.unwinding, c.python = native, inDumper, ""
	case strings.HasPrefix(line, "Current thread 0x"), line == "Stack "+tail:
		c.in, c.stack = current, nil
	case strings.HasPrefix(line, "Thread 0x"):
		c.in = other
	default:
		// "Exception raised from ... (most recent call first):" of C++.
		return c.thrown
	}
	return true
}

// remark knows the lines of a dump that hold nothing for us.
func remark(line string) bool {
	text := strings.TrimSpace(line)
	return strings.HasPrefix(line, "Extension modules: ") || strings.HasPrefix(line, "Python runtime state: ") ||
		text == "..." || text == "Garbage-collecting" || strings.HasPrefix(text, "<") && strings.HasSuffix(text, ">")
}

// pythonFrame reads `  File "x.py", line 7 in load`. A traceback's frame has a
// comma more, and is none of these.
func pythonFrame(line string) (string, bool) {
	rest, ok := strings.CutPrefix(line, "  File ")
	if !ok {
		return "", false
	}
	// From the right: a file's name may hold anything.
	i := strings.LastIndex(rest, ", line ")
	if i < 0 {
		return "", false
	}
	file, where := strings.Trim(rest[:i], `"`), rest[i+len(", line "):]
	number, function, ok := strings.Cut(where, " in ")
	if _, err := strconv.ParseUint(number, 10, 32); !ok || err != nil && number != "???" {
		return "", false
	}
	return frame(packaged(file), ":"+number+" "+function), true
}

// frame cuts a frame to its bound. The end of the file's name says more than its
// beginning.
func frame(file, rest string) string {
	rest = clean.Head(rest, report.MaxFrameBytes/2)
	if room := report.MaxFrameBytes - len(rest); len(file) > room {
		file = file[len(file)-room:]
		file = strings.ToValidUTF8(file, "")
	}
	return file + rest
}

// packaged gives the path of an installed package's file from the package on.
func packaged(file string) string {
	for _, dir := range siteDirs {
		if i := strings.LastIndex(file, dir); i >= 0 {
			return file[i+len(dir):]
		}
	}
	return file
}

// nativeFrame reads `  Binary file "/usr/lib/libc.so.6", at strlen+0x1 [0x7f]`.
func nativeFrame(line string) (string, bool) {
	rest, ok := strings.CutPrefix(line, `  Binary file "`)
	if !ok {
		return "", false
	}
	file, _, ok := strings.Cut(rest, `"`)
	return file, ok
}

// unwind finds the first frame that is neither the dump's own nor the C
// library's, which delivers the signal and in which many a bad pointer ends.
func (c *crash) unwind(file string) {
	if c.python == "" {
		c.python = file
	}
	if c.unwinding == inDumper && file != c.python {
		c.unwinding = inLibc
	}
	if c.unwinding == inLibc && !isLibc(path.Base(file)) {
		c.unwinding = atCulprit
		if c.library == "" {
			c.library = clean.Head(path.Base(file), maxLibrary)
		}
	}
}

// isLibc says whether a library is the C or C++ runtime's: signals and aborts
// pass through it.
func isLibc(name string) bool {
	for _, p := range []string{"libc.so", "libc-", "libpthread", "libstdc++", "libgcc_s", "ld-linux", "ld-musl", "linux-vdso", "[vdso]"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// c10Frame reads PyTorch's `frame #3: at::foo(int) + 0x57 (0x7f0 in /x/libtorch.so)`.
func c10Frame(line string) (symbol, library string, ok bool) {
	rest, ok := strings.CutPrefix(line, "frame #")
	if !ok || !strings.HasSuffix(rest, ")") {
		return "", "", false
	}
	i := strings.LastIndex(rest, " in ")
	if i < 0 {
		return "", "", false
	}
	return rest[:i], clean.Head(path.Base(strings.TrimSuffix(rest[i+4:], ")")), maxLibrary), true
}

// Report is what was found, nil for nothing.
func (c *crash) Report() *report.CrashReport {
	if !c.found {
		return nil
	}
	r := &report.CrashReport{NativeLibrary: clean.Redact(c.library), FatalError: clean.Redact(c.fatal)}
	for _, f := range c.stack {
		r.PythonStack = append(r.PythonStack, clean.Redact(f))
	}
	return r
}
