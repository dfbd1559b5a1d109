package run

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lostbeat/detect/all"
	"lostbeat/model"
	"lostbeat/model/state"
	"lostbeat/record"

	"github.com/google/go-cmp/cmp"
)

// leaky writes a recording of a minute in which a process takes five ports a second, after it has taken ten before, and
// a device, a followed log and a loss are mentioned only at the start.
func leaky(t *testing.T) string {
	t.Helper()
	start := model.TimeOf(time.Date(2026, 11, 22, 14, 3, 0, 0, time.UTC))
	var b model.Builder
	for key, value := range map[string]string{"host": "web-07", "os": "linux", "cpus": "2"} {
		b.AddMeta(model.Meta{Time: start, Key: key, Value: value})
	}
	b.AddProbe(model.Probe{Time: start, State: model.ProbeOn, Name: "port", Part: "bind"})
	b.AddDeviceConfig(model.DeviceConfig{Time: start, Ifindex: 2, Device: "eth0"})
	b.AddLogState(model.LogState{Time: start, Log: "app.log", Lines: 7})
	b.AddPortPool(model.PortPool{
		Time: start, Protocol: model.ProtocolUDP, Low: 5000, High: 5999, Size: 1000, Source: model.PoolConfigured,
		Name: "rpc",
	})
	b.AddProcess(model.Process{Time: start, PID: 4312, TID: 4312, Name: "rpcd"})
	b.AddLoss(model.Loss{Time: start + second, CPU: -1, Lost: 12, Origin: "ringbuf"})
	for i := range 60 {
		at := start + model.Time(i)*second
		for j := range 5 {
			port := uint16(5000 + 5*i + j)
			b.AddPortAcquire(model.PortAcquire{
				Time: at + model.Time(j), PID: 4312, TID: 4312, Cookie: uint64(port), Protocol: model.ProtocolUDP,
				LocalPort: port, How: model.HowBindPort, LocalAddr: "0.0.0.0", Process: "rpcd",
			})
		}
		b.AddCPUTime(model.CPUTime{Time: at + second/2, Dur: time.Second, CPU: 0, Idle: time.Second})
	}
	b.SortByTime()
	path := filepath.Join(t.TempDir(), "leak.lostbeat")
	w, err := record.Create(path, record.Options{})
	if err == nil {
		err = w.Write(b.Take())
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// cutOf cuts a time out of files and returns the slice.
func cutOf(t *testing.T, since, until time.Duration, paths ...string) (path string, done CutDone) {
	t.Helper()
	var captures []*Capture
	for _, p := range paths {
		captures = append(captures, opened(t, p, OpenOptions{}))
	}
	start, _ := captures[0].Span()
	path = filepath.Join(t.TempDir(), "part.lostbeat")
	done, err := Cut{
		Captures: captures, Names: paths, Settings: all.Settings(), Since: start.Add(since), Until: start.Add(until),
	}.Write(t.Context(), path, record.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return path, done
}

// A slice begins with what held then, has the findings of the whole, says what lay before, and can be cut again.
func TestCut(t *testing.T) {
	whole := leaky(t)
	want := judgementOf(t, opened(t, whole, OpenOptions{})).Findings
	path, done := cutOf(t, 40*time.Second, 50*time.Second, whole)
	if len(want) == 0 || len(done.Findings) != len(want) || done.Earlier == 0 || done.Bytes == 0 {
		t.Fatalf("%d findings of %d, %+v", len(done.Findings), len(want), done.Stats)
	}
	c := opened(t, path, OpenOptions{})
	start, end := c.Span()
	if end.Sub(start) != 10*time.Second {
		t.Errorf("the slice runs from %s to %s", start, end)
	}
	var check model.Validator
	st, atStart, logs := state.New(), 0, 0
	err := c.Run(t.Context(), func(b *model.Batch) error {
		for i := range b.Events {
			e := &b.Events[i]
			st.ApplyEvent(b, e)
			if v, ok := b.LogState(e); ok && v.Log == "app.log" && v.Lines == 7 {
				logs++
			}
			if e.Time == start {
				atStart = st.Ports.Len()
			}
		}
		return check.Check(b)
	})
	if err != nil || check.Finish() != nil {
		t.Error(err, check.Finish())
	}
	// Ports of the seconds 0 to 39, and the first of second 40, which is taken at the slice's first moment.
	if atStart != 201 || len(st.Devices) != 1 || len(st.Processes) != 1 || len(st.Pools) != 1 || logs != 1 ||
		st.Meta["host"] != "web-07" || !strings.HasPrefix(st.Meta[MetaCutFrom], "leak.lostbeat (2026-11-22T14:03:00Z") ||
		!strings.HasPrefix(st.Meta[MetaCutLost], "12 events") {
		t.Errorf("at the start: %d ports, %d devices, %d processes, %d pools, %d logs, %v",
			atStart, len(st.Devices), len(st.Processes), len(st.Pools), logs, st.Meta)
	}
	j := judgementOf(t, opened(t, path, OpenOptions{}))
	if diff := cmp.Diff(want, j.Findings); diff != "" {
		t.Errorf("-whole +slice:\n%s", diff)
	}
	if !strings.Contains(j.Slice, "began before this part") {
		t.Errorf("%q", j.Slice)
	}
	again, _ := cutOf(t, 3*time.Second, 5*time.Second, path)
	j = judgementOf(t, opened(t, again, OpenOptions{}))
	if diff := cmp.Diff(want, j.Findings); diff != "" || !strings.Contains(j.Slice, "itself cut from leak.lostbeat") {
		t.Errorf("%q -whole +slice:\n%s", j.Slice, diff)
	}
	var shown judged
	settings := all.Settings()
	if err := shown.scan(t.Context(), c, settings, func(model.Time) {}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(want, shown.findings()); diff != "" {
		t.Errorf("on the screen -whole +slice:\n%s", diff)
	}
}

// A slice with other thresholds is judged by itself, and one of a time before a finding has none.
func TestCutOtherwise(t *testing.T) {
	whole := leaky(t)
	if _, done := cutOf(t, 0, time.Second, whole); len(done.Findings) != 0 && done.Earlier != 0 {
		t.Errorf("%+v", done)
	}
	path, _ := cutOf(t, 40*time.Second, 42*time.Second, whole)
	c := opened(t, path, OpenOptions{})
	settings := all.Settings()
	for _, f := range settings.Fields() {
		if f.Name == "leak.min_ports" || f.Name == "leak.min_ports_fast" {
			if err := f.Set("5000"); err != nil {
				t.Fatal(err)
			}
		}
	}
	j, err := Findings(t.Context(), c, settings, nil)
	if err != nil || len(j.Findings) != 0 || !strings.Contains(j.Slice, "judged by itself") {
		t.Errorf("%v, %q, %v", j.Findings, j.Slice, err)
	}
}

// Several captures of one host become one recording in the order of time; those of two hosts are refused.
func TestCutSeveral(t *testing.T) {
	whole := leaky(t)
	text := "2026-11-22T14:03:20.000000000Z meta key=host value=" // the same host, or another
	other := func(host string) string {
		return writeFile(t, host+".txt", []byte(text+host+"\n"+
			"2026-11-22T14:03:45.500000000Z counter cpu=0 value=1 mode=gauge name=Udp.NoPorts\n"))
	}
	path, _ := cutOf(t, 40*time.Second, 50*time.Second, whole, other("web-07"))
	c := opened(t, path, OpenOptions{})
	var check model.Validator
	counters, ports := 0, 0
	st := state.New()
	if err := c.Run(t.Context(), func(b *model.Batch) error {
		st.Apply(b)
		for i := range b.Events {
			if b.Events[i].Kind == model.KindCounter {
				counters, ports = counters+1, st.Ports.Len()
			}
		}
		return check.Check(b)
	}); err != nil || check.Finish() != nil {
		t.Error(err, check.Finish())
	}
	if counters != 1 || ports < 200 {
		t.Errorf("%d counters, %d ports", counters, ports)
	}
	var captures []*Capture
	for _, p := range []string{whole, other("db-1")} {
		captures = append(captures, opened(t, p, OpenOptions{}))
	}
	refused := filepath.Join(t.TempDir(), "x.lostbeat")
	_, err := Cut{Captures: captures, Names: []string{"a", "b"}, Settings: all.Settings()}.Write(
		context.Background(), refused, record.Options{})
	if err == nil || !strings.Contains(err.Error(), "several hosts: web-07 and db-1") {
		t.Error(err)
	}
}
