package heartbeat

import (
	"bufio"
	"iter"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Timeouts that the programs have built in.
const (
	// lanSuspicion is for how long memberlist suspects a member of a small cluster before it is declared dead,
	// wanSuspicion the same between sites: the multiplier times the interval of the probes, 4 times 1 s and 6 times 5 s.
	lanSuspicion = 4 * time.Second
	wanSuspicion = 30 * time.Second
)

// program is a running program, as far as its configuration is concerned.
type program struct {
	// args is its command line, env its environment.
	args, env []string
	// read returns a file as the program sees it, empty when there is none.
	read func(name string) string
}

// flag returns the value of a flag: --name=value or --name value, with one dash or two.
func (p *program) flag(names ...string) string {
	for i, arg := range p.args {
		if !strings.HasPrefix(arg, "-") {
			continue
		}
		name, value, ok := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !slices.Contains(names, name) {
			continue
		}
		if ok {
			return value
		}
		if i+1 < len(p.args) {
			return p.args[i+1]
		}
	}
	return ""
}

// variable returns a variable of its environment, empty for none.
func (p *program) variable(name string) string {
	for _, v := range p.env {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// number reads a number of a unit as a time, 0 when it is none. More than a day is no timeout of a heartbeat.
func number(text string, unit time.Duration) time.Duration {
	n, err := strconv.ParseFloat(strings.Trim(strings.TrimSpace(text), `"';`), 64)
	if err != nil || !(n > 0) || n > float64(24*time.Hour)/float64(unit) {
		return 0
	}
	return time.Duration(n * float64(unit))
}

// lines are the lines of a configuration without comments and spaces around.
func lines(text string, comments string) iter.Seq[string] {
	return func(yield func(string) bool) {
		scanner := bufio.NewScanner(strings.NewReader(text))
		scanner.Buffer(nil, maxConfig)
		for scanner.Scan() {
			line := scanner.Text()
			if i := strings.IndexAny(line, comments); i >= 0 {
				line = line[:i]
			}
			if line = strings.TrimSpace(line); line != "" && !yield(line) {
				return
			}
		}
	}
}

// maxConfig bounds what is read of a configuration.
const maxConfig = 1 << 20

// corosyncLimits reads corosync.conf: the token timeout grows with the number of nodes. Where it is not set, it depends
// on the version and is not known.
func corosyncLimits(p *program) limits {
	file := p.flag("c")
	if file == "" {
		file = "/etc/corosync/corosync.conf"
	}
	return limits{timeout: corosyncToken(p.read(file))}
}

func corosyncToken(text string) time.Duration {
	var sections []string
	var token time.Duration
	coefficient, nodes := 650*time.Millisecond, 0
	for line := range lines(text, "#") {
		name, opens := strings.CutSuffix(line, "{")
		key, value, _ := strings.Cut(line, ":")
		switch {
		case opens:
			sections = append(sections, strings.TrimSpace(name))
			if slices.Equal(sections, []string{"nodelist", "node"}) {
				nodes++
			}
		case line == "}":
			sections = sections[:max(len(sections)-1, 0)]
		case !slices.Equal(sections, []string{"totem"}):
		case strings.TrimSpace(key) == "token":
			token = number(value, time.Millisecond)
		case strings.TrimSpace(key) == "token_coefficient":
			coefficient = number(value, time.Millisecond)
		}
	}
	if token > 0 && nodes > 2 {
		token += time.Duration(nodes-2) * coefficient
	}
	return token
}

// keepalivedLimits reads keepalived.conf: a backup takes over when it has not heard the master for three intervals and
// a skew by its priority. Instances that do not agree leave it unknown, as they share a socket.
func keepalivedLimits(p *program) limits {
	file := p.flag("f", "use-file")
	if file == "" {
		file = "/etc/keepalived/keepalived.conf"
	}
	text := p.read(file)
	if text == "" {
		return limits{}
	}
	return vrrpLimits(text)
}

func vrrpLimits(text string) limits {
	type instance struct{ interval, priority float64 }
	var all []instance
	version3, depth, inside := false, 0, -1
	for line := range lines(text, "#!") {
		fields := strings.Fields(line)
		value := func() float64 {
			if len(fields) < 2 {
				return 0
			}
			n, _ := strconv.ParseFloat(fields[1], 64)
			return n
		}
		switch {
		case fields[0] == "include": // what it has in it is not known
			return limits{}
		case fields[0] == "vrrp_instance":
			all = append(all, instance{1, 100})
			inside = depth
		case fields[0] == "vrrp_version" || inside >= 0 && fields[0] == "version":
			version3 = version3 || value() == 3
		case inside >= 0 && fields[0] == "advert_int":
			all[len(all)-1].interval = value()
		case inside >= 0 && fields[0] == "priority":
			all[len(all)-1].priority = value()
		}
		depth += strings.Count(line, "{") - strings.Count(line, "}")
		if inside >= 0 && depth <= inside && strings.Contains(line, "}") {
			inside = -1
		}
	}
	if len(all) == 0 || slices.ContainsFunc(all, func(i instance) bool { return i != all[0] }) {
		return limits{}
	}
	first := all[0]
	if first.interval <= 0 || first.interval > 255 || first.priority < 1 || first.priority > 255 {
		return limits{}
	}
	skew := (256 - first.priority) / 256
	if version3 {
		skew *= first.interval
	}
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	return limits{timeout: seconds(3*first.interval + skew), period: seconds(first.interval)}
}

// etcdLimits reads the flags of etcd, its environment, or its configuration file, which makes it ignore both.
func etcdLimits(p *program) limits {
	file := p.flag("config-file")
	if file == "" {
		file = p.variable("ETCD_CONFIG_FILE")
	}
	value := func(name, variable string) string {
		if text := p.flag(name); text != "" {
			return text
		}
		return p.variable(variable)
	}
	if file != "" {
		text := p.read(file)
		if text == "" {
			return limits{}
		}
		value = func(name, _ string) string { return setting(text, "#", ":", name) }
	}
	known := func(text string, otherwise time.Duration) time.Duration {
		if text == "" {
			return otherwise
		}
		return number(text, time.Millisecond)
	}
	return limits{
		timeout: known(value("election-timeout", "ETCD_ELECTION_TIMEOUT"), time.Second),
		period:  known(value("heartbeat-interval", "ETCD_HEARTBEAT_INTERVAL"), 100*time.Millisecond),
	}
}

// setting returns the last value of a key in a file with a line for each, empty for none.
func setting(text, comments, separator string, keys ...string) (value string) {
	for line := range lines(text, comments) {
		key, rest, ok := strings.Cut(line, separator)
		if ok && slices.Contains(keys, strings.Trim(strings.TrimSpace(key), `"'`)) {
			value = strings.TrimSpace(rest)
		}
	}
	return value
}

// zookeeperLimits reads zoo.cfg, which the command line names last: a follower that is behind by syncLimit ticks is
// given up; the leader sends two pings in a tick.
func zookeeperLimits(p *program) limits {
	if len(p.args) == 0 {
		return limits{}
	}
	text := p.read(p.args[len(p.args)-1])
	tick := number(setting(text, "#", "=", "tickTime"), time.Millisecond)
	if setting(text, "#", "=", "tickTime") == "" {
		tick = 3 * time.Second // what the server has built in
	}
	syncLimit, err := strconv.Atoi(setting(text, "#", "=", "syncLimit"))
	if err != nil || syncLimit < 1 || syncLimit > 10_000 {
		return limits{}
	}
	return limits{timeout: time.Duration(syncLimit) * tick, period: tick / 2}
}

// rabbitLimits reads net_ticktime: of four ticks, a node that was silent for three may be given up.
func rabbitLimits(p *program) limits {
	ticktime := time.Minute
	conf := p.variable("RABBITMQ_CONFIG_FILE")
	if conf == "" {
		conf = "/etc/rabbitmq/rabbitmq"
	}
	conf = strings.TrimSuffix(strings.TrimSuffix(conf, ".conf"), ".config")
	advanced := path.Join(path.Dir(conf), "advanced.config")
	if text := setting(p.read(conf+".conf"), "#", "=", "net_ticktime"); text != "" {
		ticktime = number(text, time.Second)
	}
	for _, file := range []string{advanced, conf + ".config"} {
		if text := erlang(p.read(file), "net_ticktime"); text != "" {
			ticktime = number(text, time.Second)
		}
	}
	for i := 0; i+2 < len(p.args); i++ { // -kernel net_ticktime 30
		if p.args[i] == "-kernel" && p.args[i+1] == "net_ticktime" {
			ticktime = number(p.args[i+2], time.Second)
		}
	}
	return limits{timeout: ticktime * 3 / 4, period: ticktime / 4}
}

// erlang returns the value of {key, value} in a list of Erlang terms, empty for none.
func erlang(text, key string) string {
	var all strings.Builder
	for line := range lines(text, "%") {
		all.WriteString(line)
	}
	compact := strings.ReplaceAll(all.String(), " ", "")
	_, rest, ok := strings.Cut(compact, "{"+key+",")
	if !ok {
		return ""
	}
	value, _, _ := strings.Cut(rest, "}")
	return value
}

// bfdLimits reads the sessions of FRR, which send and receive every 300 ms unless told otherwise and give a peer up
// after three; sessions that do not agree, and those of BIRD, leave it unknown.
func bfdLimits(p *program) limits {
	text := p.read("/etc/frr/frr.conf")
	if text == "" {
		text = p.read("/etc/frr/bfdd.conf")
	}
	if text == "" || len(p.args) > 0 && path.Base(p.args[0]) == "bird" {
		return limits{}
	}
	value := func(key, otherwise string) (string, bool) {
		found := ""
		for line := range lines(text, "#!") {
			fields := strings.Fields(line)
			if len(fields) != 2 || fields[0] != key {
				continue
			}
			if found != "" && found != fields[1] {
				return "", false
			}
			found = fields[1]
		}
		if found == "" {
			return otherwise, true
		}
		return found, true
	}
	multiplier, ok := value("detect-multiplier", "3")
	interval, same := value("receive-interval", "300")
	n, err := strconv.Atoi(multiplier)
	period := number(interval, time.Millisecond)
	if !ok || !same || err != nil || n < 1 || n > 255 {
		return limits{}
	}
	return limits{timeout: time.Duration(n) * period, period: period}
}

// cephLimits reads ceph.conf: an OSD that has not answered its peers for the grace is reported.
func cephLimits(p *program) limits {
	file := p.flag("c", "conf")
	if file == "" {
		file = "/etc/ceph/ceph.conf"
	}
	text := p.read(file)
	value := func(name string, otherwise time.Duration) time.Duration {
		if found := setting(text, "#;", "=", name, strings.ReplaceAll(name, "_", " ")); found != "" {
			return number(found, time.Second)
		}
		return otherwise
	}
	return limits{
		timeout: value("osd_heartbeat_grace", 20*time.Second), period: value("osd_heartbeat_interval", 6*time.Second),
	}
}
