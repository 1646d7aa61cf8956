package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"
)

// store is one bucket or container. Keys are whole and literal.
type store interface {
	// open as Source.Open. The digest is in the Info only where length is negative
	// and offset 0.
	open(ctx context.Context, key string, offset, length int64, version string) (io.ReadCloser, Info, error)
	stat(ctx context.Context, key string) (Info, error)
	// put writes under key; that of the Object is for errors.
	put(ctx context.Context, key string, o Object, body io.Reader) error
	// list gives whole keys that begin with prefix, at most limit when that is
	// positive.
	list(ctx context.Context, prefix string, limit int, each func(Entry) error) error
	// remove what is under key, if it has the version; "" for any.
	remove(ctx context.Context, key, version string) error
	close()
}

// errChanged is made anew for each place, which it will name.
func errChanged() error { return &Error{Kind: Changed, Cause: "the object changed while it was read"} }

// listPage is how many entries are asked for at once; tests ask for fewer.
var listPage = 1000

func pageSize(limit int) int32 {
	if limit > 0 {
		return int32(min(limit, listPage)) //nolint:gosec // at most a page
	}
	return int32(listPage) //nolint:gosec // a page
}

func openStore(u *url.URL, o Options) (store, error) {
	var (
		s   store
		err error
	)
	switch u.Scheme {
	case "s3":
		s, err = newS3(u.Host, o)
	case "gs":
		s, err = newGCS(u.Host, o)
	case "azblob":
		s, err = newAzure(u.Host, o)
	}
	return s, classify(u.String(), err)
}

// openObject opens one object of a store to read.
func openObject(u *url.URL, o Options) (Source, error) {
	key, err := objectKey(u)
	if err != nil {
		return nil, err
	}
	s, err := openStore(u, o)
	if err != nil {
		return nil, err
	}
	if err := addressable(s, key); err != nil {
		s.close()
		return nil, classify(u.String(), err)
	}
	return &objectSource{store: s, key: key, place: u.String()}, nil
}

// pickyStore is a store that cannot hold every key.
type pickyStore interface{ badKey(key string) string }

func addressable(s store, key string) error {
	if p, ok := s.(pickyStore); ok {
		if why := p.badKey(key); why != "" {
			return &Error{Kind: Refused, Cause: "the key " + why}
		}
	}
	return nil
}

type objectSource struct {
	store store
	key   string
	place string
}

func (s *objectSource) Open(ctx context.Context, offset, length int64, version string) (io.ReadCloser, Info, error) {
	r, info, err := s.store.open(ctx, s.key, offset, length, version)
	if err == nil && version != "" && info.Version != version {
		_ = r.Close()
		err = errChanged()
	}
	if err != nil {
		return nil, Info{}, classify(s.place, err)
	}
	return &classifyingReader{r, s.place}, info, nil
}

func (s *objectSource) Stat(ctx context.Context) (Info, error) {
	info, err := s.store.stat(ctx, s.key)
	return info, classify(s.place, err)
}

func (s *objectSource) String() string { return s.place }

func (s *objectSource) Close() error {
	s.store.close()
	return nil
}

// openPrefix opens a prefix of a store to write below.
func openPrefix(u *url.URL, o Options) (Sink, error) {
	s, err := openStore(u, o)
	if err != nil {
		return nil, err
	}
	// Slashes at the end are none of a key: Join and users add and leave them out.
	return &objectSink{store: s, prefix: strings.TrimRight(strings.TrimPrefix(u.Path, "/"), "/"), place: u.String()}, nil
}

type objectSink struct {
	store  store
	prefix string // without a slash at its end
	place  string
}

// within gives the whole key of one of the sink's.
func (s *objectSink) within(key string) (string, error) {
	k, err := within(s.prefix, key)
	if err == nil && len(k) > maxKey {
		err = &Error{Kind: Refused, Cause: fmt.Sprintf("the key has %d bytes, at most %d are possible", len(k), maxKey)}
	}
	if err == nil {
		err = addressable(s.store, k)
	}
	return k, classify(s.place, err)
}

func (s *objectSink) Put(ctx context.Context, o Object, body io.Reader) error {
	place := Join(s.place, o.Key)
	key, err := s.within(o.Key)
	if err != nil {
		return err
	}
	if o.Size < 0 {
		return classify(place, errors.New("its size is not known"))
	}
	// Before the body is sent, and for servers that ignore conditions.
	if err := s.holds(ctx, key, o.If); err != nil {
		return classify(place, err)
	}
	return classify(place, s.store.put(ctx, key, o, ContextReader(ctx, body)))
}

// holds says whether the condition of a write holds now. The write itself carries
// the condition too, but some servers that are compatible with S3 do not know
// conditions and write nevertheless: with those, two that write in the same moment
// cannot see each other.
func (s *objectSink) holds(ctx context.Context, key string, c Condition) error {
	if c == (Condition{}) {
		return nil
	}
	info, err := s.store.stat(ctx, key)
	err = classify("", err)
	return conditionHolds(c, info, err)
}

// conditionHolds judges what a look gave.
func conditionHolds(c Condition, info Info, err error) error {
	absent := KindOf(err) == NotFound
	switch {
	case err != nil && !absent:
		return err
	case c.Absent && !absent:
		return &Error{Kind: Changed, Cause: "it is there already"}
	case c.Version != "" && absent:
		return &Error{Kind: Changed, Cause: "it was removed meanwhile"}
	case c.Version != "" && info.Version != c.Version:
		return &Error{Kind: Changed, Cause: "it was changed meanwhile"}
	}
	return nil
}

func (s *objectSink) Stat(ctx context.Context, key string) (Info, error) {
	k, err := s.within(key)
	if err != nil {
		return Info{}, err
	}
	info, err := s.store.stat(ctx, k)
	return info, classify(Join(s.place, key), err)
}

func (s *objectSink) Get(ctx context.Context, key string, limit int64) ([]byte, Info, error) {
	r, info, err := s.Open(ctx, key)
	if err != nil {
		return nil, Info{}, err
	}
	defer func() { _ = r.Close() }()
	b, err := readAll(r, limit)
	return b, info, classify(Join(s.place, key), err)
}

func (s *objectSink) Open(ctx context.Context, key string) (io.ReadCloser, Info, error) {
	k, err := s.within(key)
	if err != nil {
		return nil, Info{}, err
	}
	place := Join(s.place, key)
	r, info, err := s.store.open(ctx, k, 0, -1, "")
	if err != nil {
		return nil, Info{}, classify(place, err)
	}
	return &classifyingReader{r, place}, info, nil
}

func (s *objectSink) List(ctx context.Context, prefix string, each func(Entry) error) error {
	prefix, err := folder(prefix)
	if err != nil {
		return classify(s.place, err)
	}
	own := ""
	if s.prefix != "" {
		own = s.prefix + "/"
	}
	below := own
	if prefix != "" {
		below += prefix + "/"
	}
	var failed error // each's own, which is given back as it is
	err = s.store.list(ctx, below, 0, func(e Entry) error {
		key, ok := strings.CutPrefix(e.Key, own)
		if !ok || !strings.HasPrefix(e.Key, below) {
			return &Error{Cause: "the server listed another folder than asked for"}
		}
		if key == "" || e.Size == 0 && strings.HasSuffix(key, "/") {
			return nil
		}
		e.Key = key
		failed = each(e)
		return failed
	})
	if failed != nil {
		return failed
	}
	return classify(Join(s.place, prefix), err)
}

func (s *objectSink) Delete(ctx context.Context, key string) error { return s.remove(ctx, key, "") }

// DeleteVersion removes one object of sink if it has the version that a look or a
// listing gave ("" for any); an error of kind Changed says that it has another. One that
// is not there is no error.
// Google's and Azure's stores compare while they remove, and S3's where the server knows
// If-Match on deletes; else, and on a claim, the look is right before.
func DeleteVersion(ctx context.Context, sink Sink, key, version string) error {
	info, err := sink.Stat(ctx, key)
	if KindOf(err) == NotFound {
		return nil
	}
	if err == nil {
		err = conditionHolds(Condition{Version: version}, info, nil)
	}
	if err != nil {
		return classify(Join(sink.String(), key), err)
	}
	if s, ok := sink.(*objectSink); ok {
		return s.remove(ctx, key, version)
	}
	return sink.Delete(ctx, key)
}

func (s *objectSink) remove(ctx context.Context, key, version string) error {
	k, err := s.within(key)
	if err != nil {
		return err
	}
	err = classify(Join(s.place, key), s.store.remove(ctx, k, version))
	if KindOf(err) != NotFound {
		return err
	}
	// A missing bucket is no error of a missing object either: nothing is left.
	return nil
}

// Check asks for one key: a bucket that is missing says so, also to a user who may
// not list it.
func (s *objectSink) Check(ctx context.Context) error {
	err := s.store.list(ctx, s.prefix, 1, func(Entry) error { return nil })
	if err = classify(s.place, err); KindOf(err) == NotFound {
		return err
	}
	return nil
}

func (s *objectSink) String() string { return s.place }

func (s *objectSink) Close() error {
	s.store.close()
	return nil
}

// fromOffset makes an answer of a store begin at offset, also that of a server that
// ignores ranges, and takes the whole object's size from its Content-Range.
func fromOffset(ctx context.Context, body io.ReadCloser, header string, offset, length int64, info *Info) (io.ReadCloser, error) {
	if header == "" {
		err := skip(ctx, body, offset)
		if offset > 0 || length >= 0 {
			body = everything{body}
		}
		return body, err
	}
	span, err := parseContentRange(header)
	if err != nil || span.first != offset || length >= 0 && span.last >= offset+length {
		return body, &Error{Cause: "the server answered with another range than asked for"}
	}
	info.Size = span.size
	return body, nil
}

// everything is the body of a server that was asked for a range and gives all.
type everything struct{ io.ReadCloser }

func (everything) whole() bool { return true }

// classifyingReader gives the errors of a body a kind.
type classifyingReader struct {
	io.ReadCloser
	place string
}

func (c *classifyingReader) whole() bool {
	w, ok := c.ReadCloser.(interface{ whole() bool })
	return ok && w.whole()
}

func (c *classifyingReader) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = classify(c.place, err)
	}
	return n, err
}

// uploadAborter is a store that keeps the parts of broken-off uploads for ever.
type uploadAborter interface {
	abortUploads(ctx context.Context, prefix string, before time.Time) (int, error)
}

// AbortUploads removes the parts of uploads that were never completed, as a pod
// leaves them that was killed, and says of how many: those of keys of sink that
// begin with prefix ("" for all), begun before a time (the zero time for any). No
// listing shows them, and they cost as much as objects. Stores that drop them by
// themselves (Google's and Azure's, after a week) have none.
func AbortUploads(ctx context.Context, sink Sink, prefix string, before time.Time) (int, error) {
	s, ok := sink.(*objectSink)
	if !ok {
		return 0, nil
	}
	a, ok := s.store.(uploadAborter)
	if !ok {
		return 0, nil
	}
	if why := badKey(prefix); why != "" {
		return 0, classify(s.place, &Error{Cause: "the prefix " + why})
	}
	n, err := a.abortUploads(ctx, strings.TrimPrefix(s.prefix+"/"+prefix, "/"), before)
	return n, classify(s.place, err)
}
