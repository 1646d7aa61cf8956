package clips

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxListBytes bounds a file that lists URIs: MaxClips of them, with other columns.
const MaxListBytes = 64 << 20

// ParseList reads a file with one URI on a line, or with comma-separated columns:
// the one that the first row calls uri, else the first. An error names its line.
func ParseList(raw []byte, commaSeparated bool) ([]Found, error) {
	if len(raw) > MaxListBytes {
		return nil, fmt.Errorf("the list has more than %d bytes", MaxListBytes)
	}
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(raw) {
		return nil, errors.New("the list is not UTF-8 text")
	}
	if commaSeparated {
		return parseCSV(raw)
	}
	var l lines
	n := 0
	for line := range bytes.Lines(raw) {
		n++
		text := strings.TrimSpace(string(line[:min(len(line), 2*MaxURIBytes)]))
		if text == "" || text[0] == '#' {
			continue
		}
		if err := l.add(n, text); err != nil {
			return nil, err
		}
	}
	return l.found, nil
}

// lines of a list that are read.
type lines struct{ found []Found }

func (l *lines) add(line int, uri string) error {
	f, err := ParseURI(uri)
	if err != nil {
		return fmt.Errorf("line %d: %.80q: %w", line, uri, err)
	}
	// A list that is too long is told apart from one that is not by one more.
	if len(l.found) > MaxClips {
		return fmt.Errorf("line %d: the list has more than %d URIs", line, MaxClips)
	}
	l.found = append(l.found, f)
	return nil
}

func parseCSV(raw []byte) ([]Found, error) {
	r := csv.NewReader(bytes.NewReader(raw))
	r.FieldsPerRecord, r.ReuseRecord, r.Comment = -1, true, '#'
	var l lines
	column := -1
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return l.found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("the list is not comma-separated text: %w", err)
		}
		line, _ := r.FieldPos(0)
		if column < 0 {
			column = max(0, slices.IndexFunc(row, func(s string) bool { return strings.EqualFold(strings.TrimSpace(s), "uri") }))
			if strings.EqualFold(strings.TrimSpace(row[column]), "uri") {
				continue
			}
		}
		if column >= len(row) {
			return nil, fmt.Errorf("line %d has no column %d", line, column+1)
		}
		if err := l.add(line, strings.TrimSpace(row[column])); err != nil {
			return nil, err
		}
	}
}
