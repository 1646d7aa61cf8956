package clips

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// MaxPatterns of one kind, and MaxPatternBytes of each.
const (
	MaxPatterns     = 32
	MaxPatternBytes = 256
)

// Filter keeps some of the things found.
type Filter struct {
	include, exclude []pattern
	// videos keeps files that end as videos do where include says nothing.
	videos bool
}

type pattern struct {
	re    *regexp.Regexp
	whole bool // held against the whole path
}

// NewFilter makes a Filter of patterns. Without include it keeps everything, or,
// with videosOnly, the files that end as videos do.
func NewFilter(include, exclude []string, videosOnly bool) (*Filter, error) {
	f := &Filter{videos: videosOnly && len(include) == 0}
	var err error
	if f.include, err = patterns("include", include); err != nil {
		return nil, err
	}
	if f.exclude, err = patterns("exclude", exclude); err != nil {
		return nil, err
	}
	return f, nil
}

func patterns(what string, list []string) ([]pattern, error) {
	if len(list) > MaxPatterns {
		return nil, fmt.Errorf("%s has %d patterns, at most %d are possible", what, len(list), MaxPatterns)
	}
	var out []pattern
	for _, glob := range list {
		if glob == "" || len(glob) > MaxPatternBytes {
			return nil, fmt.Errorf("%s: a pattern has %d bytes, 1 to %d are possible", what, len(glob), MaxPatternBytes)
		}
		re, err := regexp.Compile(expression(glob))
		if err != nil {
			return nil, fmt.Errorf("%s: the pattern %q cannot be read", what, glob)
		}
		out = append(out, pattern{re: re, whole: strings.Contains(glob, "/")})
	}
	return out, nil
}

// expression of a glob. It runs in linear time, whatever the pattern.
func expression(glob string) string {
	var b strings.Builder
	b.WriteString(`\A(?s:`)
	for rest := glob; rest != ""; {
		switch {
		case strings.HasPrefix(rest, "**/"):
			b.WriteString(`(?:.*/)?`)
			rest = rest[3:]
		case strings.HasPrefix(rest, "**"):
			b.WriteString(`.*`)
			rest = rest[2:]
		case rest[0] == '*':
			b.WriteString(`[^/]*`)
			rest = rest[1:]
		case rest[0] == '?':
			b.WriteString(`[^/]`)
			rest = rest[1:]
		default:
			n := strings.IndexAny(rest, "*?")
			if n < 0 {
				n = len(rest)
			}
			b.WriteString(regexp.QuoteMeta(rest[:n]))
			rest = rest[n:]
		}
	}
	b.WriteString(`)\z`)
	return b.String()
}

// Keeps says whether the thing at path p is meant.
func (f *Filter) Keeps(p string) bool {
	switch {
	case f.videos && !isVideo(p), len(f.include) > 0 && !fits(f.include, p):
		return false
	}
	return !fits(f.exclude, p)
}

func fits(list []pattern, p string) bool {
	for _, x := range list {
		if x.whole && x.re.MatchString(p) || !x.whole && x.re.MatchString(path.Base(p)) {
			return true
		}
	}
	return false
}
