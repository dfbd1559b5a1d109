package otlp

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"lostbeat/model"
)

// stormVariable says to a process of TestLongStorm which agents it has: the receiver's URL, a folder, the first one's
// number and how many.
const stormVariable = "LOSTBEAT_STORM"

// stormPart is how many agents share a process, which each take five descriptors.
const stormPart = 2000

// TestLongStorm has 500 agents, or as many as LOSTBEAT_AGENTS says, find the same within 10 s. The receiver takes a
// tenth of them in a second and refuses the others. It takes 30 s.
func TestLongStorm(t *testing.T) {
	if part := os.Getenv(stormVariable); part != "" {
		stormAgents(t, part)
		return
	}
	agents := 500
	if text := os.Getenv("LOSTBEAT_AGENTS"); text != "" {
		var err error
		if agents, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	r := newReceiver(t)
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
	for from := 0; from < agents; from += stormPart {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestLongStorm$")
		part := fmt.Sprintf("%s=%s %s %d %d", stormVariable, r.URL, folder, from, min(stormPart, agents-from))
		cmd.Env = append(os.Environ(), part)
		all.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("agents from %d on: %v: %s", from, err, out)
			}
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

// stormAgents runs some of the agents, each of which finds something at a random moment of 10 s.
func stormAgents(t *testing.T, part string) {
	var url, folder string
	var from, count int
	if _, err := fmt.Sscan(part, &url, &folder, &from, &count); err != nil {
		t.Fatal(err)
	}
	to := &said{}
	var all sync.WaitGroup
	for n := range count {
		n += from
		wait := rand.N(10 * time.Second)
		all.Go(func() {
			time.Sleep(wait)
			o := options(t, url, fmt.Sprintf("%s/%d", folder, n), to)
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
}
