package prepare

import (
	"bufio"
	"io"
	"slices"
	"strconv"
	"strings"
)

// coded is a stream as its file keeps it: what a decoder would be given.
type coded struct {
	width, height int64
	setup         string   // digest of the decoder's set-up
	digests       []string // of each coded frame, in the order of decoding
	times         []int64
	// changes says that the set-up changes on the way, which MP4 keeps nowhere.
	changes bool
	// unfit says that a frame has no time, or is hidden by an edit list.
	unfit bool
	most  int64
}

func (c *coded) frames() int64 { return int64(len(c.digests)) }

// read takes ffprobe's lines "packet|pts=0|flags=K_|data_hash=CRC32:89abcdef",
// until there are more than most. Side data break a line: the rest follows on
// lines of its own, as "|data_hash=CRC32:89abcdef".
func (c *coded) read(r io.Reader) (enough bool, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		kind, rest, _ := strings.Cut(lines.Text(), "|")
		values := map[string]string{}
		for field := range strings.SplitSeq(rest, "|") {
			name, value, _ := strings.Cut(field, "=")
			values[name] = value
		}
		c.changes = c.changes || strings.Contains(rest, "New Extradata")
		switch kind {
		default:
			if digest := values["data_hash"]; digest != "" && len(c.digests) > 0 {
				c.digests[len(c.digests)-1] = digest
			}
		case "packet":
			at, err := strconv.ParseInt(values["pts"], 10, 64)
			c.unfit = c.unfit || err != nil || strings.Contains(values["flags"], "D")
			c.times, c.digests = append(c.times, at), append(c.digests, values["data_hash"])
			if c.frames() > c.most {
				return true, nil
			}
		case "stream":
			c.setup = values["extradata_hash"]
			c.width, _ = strconv.ParseInt(values["width"], 10, 64)
			c.height, _ = strconv.ParseInt(values["height"], 10, 64)
		}
	}
	return false, lines.Err()
}

// same says that a decoder makes the same pictures of both, in the same order.
func (c *coded) same(o *coded) bool {
	return !c.unfit && !o.unfit && !slices.Contains(c.digests, "") && c.width == o.width && c.height == o.height && c.setup == o.setup &&
		slices.Equal(c.digests, o.digests) && slices.Equal(c.order(), o.order())
}

// order lists the frames in the order in which they are shown.
func (c *coded) order() []int {
	order := make([]int, len(c.times))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case c.times[a] < c.times[b]:
			return -1
		case c.times[a] > c.times[b]:
			return 1
		}
		return 0
	})
	return order
}
