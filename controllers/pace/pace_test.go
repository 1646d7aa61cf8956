package pace_test

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pose-dev/pose-operator/controllers/pace"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func key(i int) pace.Key {
	return pace.Key{Kind: "PoseJob", NamespacedName: types.NamespacedName{Namespace: "n", Name: fmt.Sprint(i)}}
}

// play lets objects tell something new all the time, and gives how often each was
// written and the most writes in any one second.
func play(p *pace.Pacer, objects int, interval, length time.Duration) (least, most, busiest int) {
	ready := make([]time.Time, objects)
	writes := make([]int, objects)
	for i := range ready {
		ready[i] = start
	}
	perSecond := map[int64]int{}
	for now := start; now.Before(start.Add(length)); now = now.Add(10 * time.Millisecond) {
		for i := range ready {
			if now.Before(ready[i]) {
				continue
			}
			if wait := p.Wait(key(i), interval, now); wait > 0 {
				ready[i] = now.Add(wait)
				continue
			}
			p.Wrote(key(i), now)
			writes[i]++
			perSecond[now.Unix()]++
		}
	}
	least = writes[0]
	for _, n := range writes {
		least, most = min(least, n), max(most, n)
	}
	for _, n := range perSecond {
		busiest = max(busiest, n)
	}
	return least, most, busiest
}

func TestFewObjectsAreWrittenAsOftenAsTheyAsk(t *testing.T) {
	least, most, _ := play(&pace.Pacer{Budget: 20}, 5, 2*time.Second, time.Minute)
	if least < 29 || most > 31 {
		t.Errorf("in a minute with an interval of two seconds: %d to %d writes", least, most)
	}
}

func TestManyObjectsKeepToTheBudgetAndAllGetTheirTurn(t *testing.T) {
	const objects, budget = 1000, 20.0
	least, most, busiest := play(&pace.Pacer{Budget: budget}, objects, 2*time.Second, 10*time.Minute)
	if busiest > budget+1 {
		t.Errorf("%d writes in one second, the budget is %v", busiest, budget)
	}
	// 600 s x 20 a second / 1000 objects.
	if least < 11 || most > 13 {
		t.Errorf("want 12 writes of each, have %d to %d", least, most)
	}
}

func TestAnotherWriteGivesTheSlotBack(t *testing.T) {
	p := &pace.Pacer{Budget: 1}
	p.Wrote(key(0), start)
	if wait := p.Wait(key(0), 2*time.Second, start.Add(time.Second)); wait != time.Second {
		t.Errorf("a second after a write: wait %s", wait)
	}
	if wait := p.Wait(key(1), 2*time.Second, start); wait != 0 {
		t.Errorf("the first of an object waits %s", wait)
	}
	if wait := p.Wait(key(2), 2*time.Second, start); wait != time.Second {
		t.Errorf("the next slot is a second later, have %s", wait)
	}
	if h := p.Horizon(start); h != 2*time.Second {
		t.Errorf("horizon %s", h)
	}
	// What was written for another reason begins anew.
	p.Wrote(key(2), start)
	if wait := p.Wait(key(2), 2*time.Second, start.Add(time.Second)); wait != time.Second {
		t.Errorf("after a hard write: wait %s", wait)
	}
	p.Forget(key(2))
	if wait := p.Wait(key(2), 2*time.Second, start.Add(10*time.Second)); wait != 0 {
		t.Errorf("a forgotten object waits %s", wait)
	}
}

func TestKindsDoNotMeet(t *testing.T) {
	p := &pace.Pacer{}
	p.Wrote(key(0), start)
	other := key(0)
	other.Kind = "PoseBatch"
	if wait := p.Wait(other, time.Hour, start); wait != 0 {
		t.Errorf("a PoseBatch waits for a PoseJob of its name: %s", wait)
	}
}
