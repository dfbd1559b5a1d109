package otlp

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"lostbeat/model"
)

// TestLongStorm has 500 agents, or as many as LOSTBEAT_AGENTS says, find the same within 10 s. The receiver takes a
// tenth of them in a second and refuses the others. It takes 30 s.
func TestLongStorm(t *testing.T) {
	agents := 500
	if text := os.Getenv("LOSTBEAT_AGENTS"); text != "" {
		var err error
		if agents, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	r, to := newReceiver(t), &said{}
	perSecond := map[int64]int{}
	began := time.Now()
	r.set(func(w http.ResponseWriter, _ int) bool {
		now := int64(time.Since(began) / time.Second)
		perSecond[now]++
		if perSecond[now] > agents/10 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return false
		}
		return true
	})
	folder := t.TempDir()
	var all sync.WaitGroup
	for n := range agents {
		wait := rand.N(10 * time.Second)
		all.Go(func() {
			time.Sleep(wait)
			o := options(t, r.URL, fmt.Sprintf("%s/%d", folder, n), to)
			o.Gzip, o.pace, o.disk = true, Pace{}, lazyDisk{}
			o.Host = Host{Name: fmt.Sprintf("web-%d", n), BootID: fmt.Sprintf("boot-%d", n)}
			e, err := Start(o)
			if err != nil {
				t.Error(err)
				return
			}
			if err := e.Write(one(1, model.SeverityCritical, true)); err != nil {
				t.Error(err)
			}
			for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
				if at, _, _ := e.journal.State(); at.delivered == 1 {
					break
				}
			}
			e.client.http.CloseIdleConnections()
			e.Close(time.Second)
		})
	}
	all.Wait()
	took := time.Since(began)
	if got := r.found(); got != agents || r.lost() != 0 {
		t.Errorf("%d of %d findings, %d records, %d lost", got, agents, r.records, r.lost())
	}
	peak := 0
	for _, n := range perSecond {
		peak = max(peak, n)
	}
	t.Logf("%d agents: all delivered after %.1f s; %d requests, %d a second at most; %d bytes a request",
		agents, took.Seconds(), r.requests, peak, r.bodyBytes/int64(r.requests))
}
