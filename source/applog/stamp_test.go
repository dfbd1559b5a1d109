package applog

import (
	"strings"
	"testing"
	"time"
)

// forms of lines, each of a real program or of the form that its documentation gives.
var stampTests = []struct {
	name, line string
	form       form
	// want is the moment, the zone of zone-less times being +02:00 and the year of year-less ones 2013.
	want string
}{
	{"CVP", "Mar 30 2013 19:36:46.531 -0500: %CVP_8_5_IVR-7-CALL:", formMonth, "2013-03-31T00:36:46.531Z"},
	{"WSFC", "00000fe4.00001620::2022/12/15-14:26:02.050 INFO  [IM]", formISO, "2022-12-15T12:26:02.05Z"},
	{"log4j", "2015-07-29 19:13:24,282 - WARN  [RecvWorker]", formISO, "2015-07-29T17:13:24.282Z"},
	{"corosync", "Oct 05 17:37:23 [102327] host corosync notice  [TOTEM ]", formMonth, "2013-10-05T15:37:23Z"},
	{"syslog, one digit", "Oct  5 17:37:23 host corosync[1]: x", formMonth, "2013-10-05T15:37:23Z"},
	{"rsyslog", "2019-03-22T10:57:21.913754+08:00 host x: y", formISO, "2019-03-22T02:57:21.913754Z"},
	{"journal short-iso", "2019-03-22T10:57:21+0800 host x: y", formISO, "2019-03-22T02:57:21Z"},
	{"etcd capnslog", "2016-08-26 22:30:47.181660 W | etcdserver:", formISO, "2016-08-26T20:30:47.18166Z"},
	{"etcd JSON", `{"level":"warn","ts":"2021-03-04T05:06:07.891Z","caller":"x"}`, formISO, "2021-03-04T05:06:07.891Z"},
	{"zap", `{"level":"warn","ts":1614834367.891,"caller":"x"}`, formEpoch, "2021-03-04T05:06:07.891Z"},
	{"RabbitMQ", "2017-09-26 08:04:53.596 [warning] <0.2375.628>", formISO, "2017-09-26T06:04:53.596Z"},
	{"RabbitMQ 3.6", "=ERROR REPORT==== 14-May-2015::14:52:07 ===", formDay, "2015-05-14T12:52:07Z"},
	{"RabbitMQ 3.12", "2025-10-31 13:07:21.838581+00:00 [error] <0.679.0> x", formISO, "2025-10-31T13:07:21.838581Z"},
	{"SQL Server", "2023-03-10 09:38:46.73 spid9s      x", formISO, "2023-03-10T07:38:46.73Z"},
	{"SQL lease", "1/4/2023 15:35:57.0, 98.068572, 509227008.0", formSlash, "2023-01-04T13:35:57Z"},
	{"12 hours", "03/30/2013 07:36:46 PM x", formSlash, "2013-03-30T17:36:46Z"},
	{"midnight", "03/30/2013 12:00:01 AM x", formSlash, "2013-03-29T22:00:01Z"},
	{"day first", "30/03/2013 19:36:46 x", formSlash, "2013-03-30T17:36:46Z"},
	{"German", "30.03.2013 19:36:46,531 x", formDots, "2013-03-30T17:36:46.531Z"},
	{"keepalived", "Thu Jun  1 12:00:00 2023: (V) Entering MASTER STATE", formMonth, "2023-06-01T10:00:00Z"},
	{"ctime with zone", "Thu Jun  1 12:00:00 CEST 2023", formMonth, "2023-06-01T10:00:00Z"},
	{"apache", `10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET /"`, formDay, "2000-10-10T20:55:36Z"},
	{"klog", "I0330 19:36:46.531000       1 leaderelection.go:258] x", formKlog, "2013-03-30T17:36:46.531Z"},
	{"Oracle 10g", "[    CSSD]2007-02-02 14:41:06.867 [1199618400] >WARNING:", formISO, "2007-02-02T12:41:06.867Z"},
	{"Oracle 11g", "2013-03-17 05:25:09.724: [ CSSD][56]", formISO, "2013-03-17T03:25:09.724Z"},
	{"milliseconds since 1970", "1614834367891 x", formEpoch, "2021-03-04T05:06:07.891Z"},
	{"German month", "14. Mai 2015 14:52:07 x", formDay, "2015-05-14T12:52:07Z"},
	{"French month", "14-août-2015 14:52:07 x", formDay, "2015-08-14T12:52:07Z"},
	{"Russian month", "мар 30 2013 19:36:46 x", formMonth, "2013-03-30T17:36:46Z"},
	{"German syslog", "Mai 30 19:36:46 host x", formMonth, "2013-05-30T17:36:46Z"},
	{"leap second", "2016-12-31T23:59:60Z x", formISO, "2017-01-01T00:00:00Z"},
	{"leap day", "2024-02-29 00:00:00Z x", formISO, "2024-02-29T00:00:00Z"},
	{"name of a zone", "2023-03-10 09:38:46 UTC x", formISO, "2023-03-10T09:38:46Z"},
	{"date in one word", "20150729 19:13:24.282 x", formISO, "2015-07-29T17:13:24.282Z"},
	{"columns", "2015-07-29|19:13:24.282|INFO|x", formISO, "2015-07-29T17:13:24.282Z"},
	{"dashes, month first", "07-29-2015 19:13:24.282 x", formSlash, "2015-07-29T17:13:24.282Z"},
	{"short year", "29 Jul 15 19:13:24 x", formDay, "2015-07-29T17:13:24Z"},
	{"sorted keys", `{"level":"info","msg":"` + strings.Repeat("a long message ", 7) +
		`","time":"2015-07-29T19:13:24.282Z"}`, formISO, "2015-07-29T19:13:24.282Z"},
	{"minus behind", "2015-07-29 19:13:24 -5 items", formISO, "2015-07-29T17:13:24Z"},
}

func TestStamps(t *testing.T) {
	for _, tt := range stampTests {
		s, _, _, ok := find([]byte(tt.line), tt.form, 0)
		if !ok {
			t.Errorf("%s: no stamp in %q", tt.name, tt.line)
			continue
		}
		c := clock{shape: shape{form: tt.form}, zone: time.FixedZone("", 7200), year: 2013, month: s.month}
		if got := c.time(&s).Std().Format(time.RFC3339Nano); got != tt.want {
			t.Errorf("%s: %q is at %s, want %s", tt.name, tt.line, got, tt.want)
		}
		for f := range forms {
			if _, _, _, ok := find([]byte(tt.line), f, 0); ok && f < tt.form {
				t.Errorf("%s: %q has the form %q, too", tt.name, tt.line, f)
			}
		}
	}
}

func TestNoStamps(t *testing.T) {
	for _, line := range []string{
		"", "at com.example.Main(Main.java:231)", "version 2015-07-29", "10.0.0.1:8080 up", "2013-13-30 19:36:46",
		"2013-03-32 19:36:46", "2013-03-30 24:36:46", "2013-03-30 19:61:46", "0123-03-30 19:36:46", "Foo 30 2013 19:36:46",
		"Mar 99 2013 19:36:46", "99/99/2013 19:36:46", "may 3 apples", "12345678901 x", "99.99.2013 19:36:46",
		"::1 2001:db8:10:20::30", "E9930 19:36:46.531", "2013-03-30 19:36", "2013-03-30 19:36:4",
		"20151329 19:13:24", "20150729a19:13:24", "12345678 19:13:24", `{"time":"soon","x":"y"}`,
	} {
		for f := range forms {
			if s, _, _, ok := find([]byte(line), f, 0); ok {
				t.Errorf("%q has a stamp of the form %q: %+v", line, f, s)
			}
		}
	}
}

func TestDays(t *testing.T) {
	for d := time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC); d.Year() < 2200; d = d.AddDate(0, 0, 13) {
		if got, want := days(d.Year(), int(d.Month()), d.Day()), d.Unix()/86400; got != want {
			t.Fatalf("%v is day %d, want %d", d, got, want)
		}
	}
}

func TestClock(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zones on this machine: ", err)
	}
	read := func(c *clock, line string) string {
		s, _, _, ok := find([]byte(line), c.form, 0)
		if !ok {
			t.Fatalf("no stamp in %q", line)
		}
		return c.time(&s).Std().Format(time.RFC3339)
	}
	for _, tt := range []struct {
		name  string
		clock clock
		lines [][2]string
	}{
		{"summer time", clock{shape: shape{form: formISO}, zone: berlin}, [][2]string{
			{"2013-03-31 01:59:59 x", "2013-03-31T00:59:59Z"}, {"2013-03-31 03:00:00 x", "2013-03-31T01:00:00Z"}}},
		{"New Year", clock{shape: shape{form: formMonth}, zone: time.UTC, year: 2013, month: 12}, [][2]string{
			{"Dec 31 23:59:59 x", "2013-12-31T23:59:59Z"}, {"Jan  1 00:00:00 x", "2014-01-01T00:00:00Z"},
			{"Dec 31 23:59:59 x", "2013-12-31T23:59:59Z"}, {"Jan  1 00:00:01 x", "2014-01-01T00:00:01Z"}}},
		{"single lines without a year", clock{shape: shape{form: formMonth}, zone: time.UTC, year: 2013}, [][2]string{
			{"Dec 31 23:59:58 x", "2013-12-31T23:59:58Z"}, {"Dec 31 2014 23:59:59 x", "2014-12-31T23:59:59Z"},
			{"Jan  1 00:00:00 x", "2015-01-01T00:00:00Z"}}},
		{"before 1970", clock{shape: shape{form: formMonth}, zone: time.UTC}, [][2]string{
			{"Mar 30 00:00:00 x", "1970-01-01T00:00:00Z"}}},
		{"midnight", clock{shape: shape{form: formClock}, zone: time.UTC, day: 15794}, [][2]string{
			{"23:59:59:999 pg-ProcA x", "2013-03-30T23:59:59Z"}, {"00:00:00:001 pg-ProcA x", "2013-03-31T00:00:00Z"}}},
		{"day first", clock{shape: shape{form: formSlash, dayFirst: true}, zone: time.UTC}, [][2]string{
			{"03/04/2013 00:00:00 x", "2013-04-03T00:00:00Z"}, {"30/03/2013 00:00:00 x", "2013-03-30T00:00:00Z"}}},
		{"month first", clock{shape: shape{form: formSlash}, zone: time.UTC}, [][2]string{
			{"03/04/2013 00:00:00 x", "2013-03-04T00:00:00Z"}}},
	} {
		for _, l := range tt.lines {
			if got := read(&tt.clock, l[0]); got != l[1] {
				t.Errorf("%s: %q is at %s, want %s", tt.name, l[0], got, l[1])
			}
		}
	}
}

// TestMonthNames checks the table against what English readers know.
func TestMonthNames(t *testing.T) {
	for name, want := range map[string]uint8{"mai": 5, "märz": 3, "août": 8, "декабря": 12, "listopad": 0, "": 0} {
		if got := monthNames[name]; got != want {
			t.Errorf("%q is month %d, want %d", name, got, want)
		}
	}
	for m := time.January; m <= time.December; m++ {
		if n, _ := month([]byte(m.String()+" 1"), 0); n != int(m) {
			t.Errorf("%v is month %d", m, n)
		}
	}
}
