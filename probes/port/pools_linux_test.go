package port

import (
	"os"
	"slices"
	"testing"

	"lostbeat/internal/netns"
	"lostbeat/model"
)

// reported returns what p reports.
func reported(t *testing.T, p *pools) []model.PortPool {
	t.Helper()
	var builder model.Builder
	p.report(1, &builder)
	b := builder.Take()
	if b == nil {
		return nil
	}
	var list []model.PortPool
	for i := range b.Events {
		v, ok := b.PortPool(&b.Events[i])
		if !ok {
			t.Fatalf("event %d is no pool", i)
		}
		list = append(list, v)
	}
	return list
}

func TestPoolsOfNamespaces(t *testing.T) {
	p := newPools(nil)
	host := namespace{inode: 1, low: 32768, high: 60999}
	other := namespace{inode: 2, name: "blue", low: 1000, high: 1999, reserved: "1500-1509"}
	p.update(&listing{namespaces: []namespace{host, other}})
	first := reported(t, &p)
	if len(first) != 4 || first[0].NetnsName != "" || first[2].NetnsName != "blue" || first[2].Size != 990 {
		t.Fatalf("pools of two namespaces: %+v", first)
	}
	p.update(&listing{})
	if again := reported(t, &p); len(again) != 0 {
		t.Errorf("a listing that failed took pools away: %+v", again)
	}
	p.update(&listing{namespaces: []namespace{host}})
	gone := reported(t, &p)
	if len(gone) != 2 ||
		slices.ContainsFunc(gone, func(v model.PortPool) bool { return v.Netns != 2 || v.High != 0 || v.Size != 0 }) {
		t.Errorf("after the namespace has gone: %+v", gone)
	}
	p.update(&listing{namespaces: []namespace{host}})
	if again := reported(t, &p); len(again) != 0 {
		t.Errorf("reported twice: %+v", again)
	}
}

// TestPoolsOfFirstPort meets a namespace in a record before any listing has it.
func TestPoolsOfFirstPort(t *testing.T) {
	own, err := netns.Own()
	if err != nil {
		t.Fatal(err)
	}
	p := newPools(nil)
	var b model.Builder
	p.meet(own.Inode, 5, &b, 0, int32(os.Getpid()))
	met := b.Take()
	if met == nil || len(met.Events) != 2 || met.Events[0].Time != 5 {
		t.Fatalf("got %+v", met)
	}
	p.meet(own.Inode, 6, &b, int32(os.Getpid()))
	p.update(&listing{begin: 4, namespaces: []namespace{{inode: own.Inode + 1}}})
	if more := reported(t, &p); b.Take() != nil || len(more) != 0 {
		t.Errorf("met twice, or gone with a listing that began before: %+v", more)
	}
	p.update(&listing{begin: 7, namespaces: []namespace{{inode: own.Inode + 1}}})
	if gone := reported(t, &p); len(gone) != 2 || gone[0].High != 0 {
		t.Errorf("after it has gone: %+v", gone)
	}
	p.meet(own.Inode+2, 8, &b, int32(os.Getpid()))
	if b.Take() != nil {
		t.Error("entered a namespace that the task is not in")
	}
}
