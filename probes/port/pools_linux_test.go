package port

import (
	"slices"
	"testing"

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
	if len(gone) != 2 || slices.ContainsFunc(gone, func(v model.PortPool) bool { return v.Netns != 2 || v.High != 0 || v.Size != 0 }) {
		t.Errorf("after the namespace has gone: %+v", gone)
	}
	p.update(&listing{namespaces: []namespace{host}})
	if again := reported(t, &p); len(again) != 0 {
		t.Errorf("reported twice: %+v", again)
	}
}
