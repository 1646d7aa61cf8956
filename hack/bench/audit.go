package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// auditEvent is what is read of one line of the API server's audit log.
type auditEvent struct {
	Stage      string `json:"stage"`
	Verb       string `json:"verb"`
	RequestURI string `json:"requestURI"`
	User       struct {
		Username string `json:"username"`
	} `json:"user"`
	ObjectRef *struct {
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
	} `json:"objectRef"`
	ResponseStatus *struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
}

// requests are a user's, counted.
type requests struct {
	// writes by verb and resource, as "patch posejobs/status", the refused ones too.
	writes map[string]int
	// refused writes: those that were answered by 400 or more.
	refused int
	// reads are gets and lists.
	reads int
	// tokenChecks are requests about tokens and rights: reviews, the cluster's keys.
	tokenChecks int
}

func (r *requests) written() int {
	n := 0
	for _, count := range r.writes {
		n += count
	}
	return n
}

// auditCount counts requests by user.
type auditCount map[string]*requests

// all users' writes.
func (c auditCount) written() int {
	n := 0
	for _, r := range c {
		n += r.written()
	}
	return n
}

func (c auditCount) of(user string) *requests {
	if c[user] == nil {
		c[user] = &requests{writes: map[string]int{}}
	}
	return c[user]
}

// countAudit counts what a log says, whole lines only: the last one may still be
// written. It gives the bytes that it has read.
func countAudit(log io.Reader) (auditCount, int64, error) {
	out := auditCount{}
	lines := bufio.NewReaderSize(log, 1<<16)
	var read int64
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return out, read, nil
		}
		if err != nil {
			return nil, read, fmt.Errorf("read the audit log: %w", err)
		}
		read += int64(len(line))
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		var e auditEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, read, fmt.Errorf("read the audit log: line %.200q: %w", line, err)
		}
		out.add(&e)
	}
}

func (c auditCount) add(e *auditEvent) {
	// A watch is told of when it begins too; all else once, when it is answered.
	if e.Stage != "ResponseComplete" && e.Stage != "Panic" {
		return
	}
	r := c.of(e.User.Username)
	what := ""
	if e.ObjectRef != nil {
		what = e.ObjectRef.Resource
		if e.ObjectRef.Subresource != "" {
			what += "/" + e.ObjectRef.Subresource
		}
	}
	if isTokenCheck(what, e.RequestURI) {
		r.tokenChecks++
		return
	}
	switch e.Verb {
	case "create", "update", "patch", "delete", "deletecollection":
		r.writes[e.Verb+" "+what]++
		if e.ResponseStatus != nil && e.ResponseStatus.Code >= 400 {
			r.refused++
		}
	case "get", "list":
		r.reads++
	}
}

// isTokenCheck knows requests that write nothing although some are creates.
func isTokenCheck(resource, uri string) bool {
	switch resource {
	case "tokenreviews", "subjectaccessreviews", "selfsubjectaccessreviews":
		return true
	}
	return strings.HasPrefix(uri, "/openid/") || strings.HasPrefix(uri, "/.well-known/")
}

// auditLog is the log of one API server, read on from where it was read last.
type auditLog struct {
	path   string
	offset int64
}

// next counts what came since the last time.
func (a *auditLog) next() (auditCount, error) {
	f, err := os.Open(a.path)
	if err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	defer f.Close()
	if _, err := f.Seek(a.offset, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read on in the audit log: %w", err)
	}
	counted, read, err := countAudit(f)
	a.offset += read
	return counted, err
}
