package clips

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Bounds of an index that anybody may have written, in bytes: of what comes before
// its clips, and of one clip, each with what is read ahead.
const (
	maxHeadBytes  = 256 << 10
	maxEntryBytes = 256 << 10
	maxMembers    = 64
)

// ErrNoIndex says that a file is no index of a batch.
var ErrNoIndex = errors.New("it is no index of a batch")

// ReadIndexHead reads the beginning of what may be an index: up to its clips.
func ReadIndexHead(r io.Reader) (*IndexHead, error) {
	head, _, err := readHead(json.NewDecoder(&rationed{r: r, left: maxHeadBytes}))
	return head, err
}

// readHead says also whether the clips follow.
func readHead(d *json.Decoder) (head *IndexHead, clips bool, err error) {
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, false, ErrNoIndex
	}
	members := map[string]json.RawMessage{}
	for !clips && d.More() && len(members) < maxMembers {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, false, ErrNoIndex
		}
		if clips = name == "clips"; clips {
			break
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, false, ErrNoIndex
		}
		members[name] = value
	}
	b, err := json.Marshal(members)
	if err != nil {
		return nil, false, ErrNoIndex
	}
	head = &IndexHead{}
	if json.Unmarshal(b, head) != nil || head.APIVersion != APIVersion || head.Kind != KindIndex {
		return nil, false, ErrNoIndex
	}
	return head, clips, nil
}

// ReadIndex reads an index that anybody may have written, and gives each its clips in
// their order, at most MaxClips. ErrNoIndex is a file of somebody else; any other error
// that is not the reader's or each's own says what is wrong with the index.
func ReadIndex(r io.Reader, each func(IndexEntry) error) (*IndexHead, error) {
	ration := &rationed{r: r, left: maxHeadBytes}
	d := json.NewDecoder(ration)
	head, ok, err := readHead(d)
	if err != nil {
		return nil, errors.Join(ration.err, err)
	}
	if head.Version != IndexVersion {
		return head, fmt.Errorf("it has version %d of its format, and %d is known", head.Version, IndexVersion)
	}
	if !ok {
		return head, errors.New("it has no clips")
	}
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return head, ration.cause("its clips are no list")
	}
	for n := 0; ; n++ {
		if ration.left = maxEntryBytes; !d.More() {
			break
		}
		if n == MaxClips {
			return head, fmt.Errorf("it has more than %d clips", MaxClips)
		}
		var e IndexEntry
		if err := d.Decode(&e); err != nil {
			return head, ration.cause("clip %d cannot be read: %v", n, err)
		}
		if err := each(e); err != nil {
			return head, err
		}
	}
	for _, want := range []json.Delim{']', '}'} {
		if t, err := d.Token(); err != nil || t != want {
			return head, ration.cause("it breaks off after its last clip")
		}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return head, ration.cause("something follows its end")
	}
	return head, nil
}

// rationed reads no more than is left, which the caller fills up, and keeps the
// reader's own error.
type rationed struct {
	r    io.Reader
	left int
	err  error
}

func (r *rationed) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, errors.New("it is too large")
	}
	n, err := r.r.Read(p[:min(len(p), r.left)])
	r.left -= n
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// cause gives what was wrong: the reader's own error where there is one.
func (r *rationed) cause(format string, args ...any) error {
	if r.err != nil {
		return r.err
	}
	return fmt.Errorf(format, args...)
}
