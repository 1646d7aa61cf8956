package term

import (
	"fmt"
	"sync"
	"time"
)

// Transfer is a row of a Board whose bytes are counted.
type Transfer struct {
	mu          sync.Mutex
	board       Board
	name, doing string
	size, done  int64
	before      int64 // of done, what this transfer did not move
	began, told time.Time
	now         func() time.Time
}

// NewTransfer of size bytes.
func NewTransfer(b Board, name, doing string, size int64, now func() time.Time) *Transfer {
	return &Transfer{board: b, name: name, doing: doing, size: size, began: now(), now: now}
}

// quiet is how long a transfer may take without a word: a short one says nothing.
const quiet = time.Second

// Had bytes before it began: they are done, and say nothing of its pace.
func (t *Transfer) Had(n int64) {
	t.mu.Lock()
	t.before += n
	t.mu.Unlock()
	t.Add(n)
}

// Add bytes that went; less than none where some go again.
func (t *Transfer) Add(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done += n
	t.before = min(t.before, t.done) // it may begin anew
	now := t.now()
	took := now.Sub(t.began)
	if took < quiet || now.Sub(t.told) < 100*time.Millisecond {
		return
	}
	t.told = now
	r := Row{Name: t.name, Doing: t.doing, Percent: -1, Facts: fmt.Sprintf("%s of %s", Bytes(t.done), Bytes(t.size))}
	if t.size > 0 {
		r.Percent = int(100 * t.done / t.size)
	}
	if pace := float64(t.done-t.before) / took.Seconds(); pace > 0 {
		r.Facts += ", " + Bytes(int64(pace)) + "/s"
		r.Ends = new(now.Add(time.Duration(float64(t.size-t.done) / pace * float64(time.Second))))
	}
	t.board.Set(t.name, r)
}

// Bytes for a person, in powers of 1024.
func Bytes(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, 0
	for v >= 1024 && unit < len(units)-1 {
		v /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", v, units[unit])
}
