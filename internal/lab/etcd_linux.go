package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// etcds starts three etcd, joined by a bridge, and returns the leader, which is the first culprit, and the others.
func (e *Env) etcds(ctx context.Context) (leader *victim, followers []*victim, err error) {
	bridge, err := e.Namespace(ctx, "bridge")
	if err != nil {
		return nil, nil, err
	}
	dir, err := e.folder()
	if err != nil {
		return nil, nil, err
	}
	if err := e.command(ctx, "", nil, "ip", "-n", bridge, "link", "add", "lbbr", "type", "bridge"); err != nil {
		return nil, nil, err
	}
	if err := e.command(ctx, "", nil, "ip", "-n", bridge, "link", "set", "lbbr", "up"); err != nil {
		return nil, nil, err
	}
	var nodes []*victim
	for i := 1; i <= 3; i++ {
		node, err := e.etcd(ctx, bridge, dir, i)
		if err != nil {
			return nil, nil, err
		}
		nodes = append(nodes, node)
	}
	for _, node := range nodes {
		if err := node.awaitLog(ctx, "elected leader"); err != nil {
			return nil, nil, err
		}
	}
	for _, node := range nodes {
		text, err := os.ReadFile(node.log)
		if err != nil {
			return nil, nil, err
		}
		if strings.Contains(string(text), "became leader at term") {
			leader = node
		} else {
			followers = append(followers, node)
		}
	}
	if leader == nil || len(followers) != 2 {
		return nil, nil, errors.New("the three etcd have no leader, or several")
	}
	for i, node := range []*victim{leader, followers[0], followers[1]} {
		e.pids[int32(node.pid())] = i + 1
	}
	e.victims["leader"], e.victims["follower"] = leader, followers[0]
	wait(ctx, victimSeen)
	return leader, followers, e.adopt()
}

// etcd starts one of three.
func (e *Env) etcd(ctx context.Context, bridge, dir string, i int) (*victim, error) {
	name := fmt.Sprintf("n%d", i)
	ns, err := e.Namespace(ctx, name)
	if err != nil {
		return nil, err
	}
	device := fmt.Sprintf("%s-%d", e.sendDev, i)
	e.devices = append(e.devices, device)
	for _, args := range [][]string{
		{"-n", ns, "link", "add", device, "type", "veth", "peer", "name", device, "netns", bridge},
		{"-n", bridge, "link", "set", device, "master", "lbbr", "up"},
		{"-n", ns, "addr", "add", e.addr(i) + "/24", "dev", device},
		{"-n", ns, "link", "set", device, "up"},
	} {
		if err := e.command(ctx, "", nil, append([]string{"ip"}, args...)...); err != nil {
			return nil, err
		}
	}
	if err := e.awaitLink(ctx, ns, device); err != nil {
		return nil, err
	}
	if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
		return nil, err
	}
	url := "http://" + e.addr(i) + ":2380"
	return e.run(name, ns, dir, "exec etcd --name "+name+" --data-dir $DIR/"+name+"/data --listen-peer-urls "+url+
		" --initial-advertise-peer-urls "+url+" --listen-client-urls http://"+etcdClients+
		" --advertise-client-urls http://"+etcdClients+" --initial-cluster n1=http://"+e.addr(1)+":2380,n2=http://"+
		e.addr(2)+":2380,n3=http://"+e.addr(3)+":2380 --logger zap --log-outputs $LOG")
}

// etcdClients is where an etcd serves its clients, in its own namespace.
const etcdClients = "127.0.0.1:2379"

func etcdLeaves(ctx context.Context, e *Env) error {
	_, followers, err := e.etcds(ctx)
	if err != nil {
		return err
	}
	return e.leaves(ctx, followers[0])
}

// etcdStruck has a fault befall three etcd for a while.
func etcdStruck(fault func(leader, follower *victim) (begin, end func() error)) func(context.Context, *Env) error {
	return func(ctx context.Context, e *Env) error {
		leader, followers, err := e.etcds(ctx)
		if err != nil {
			return err
		}
		begin, end := fault(leader, followers[0])
		return e.strike(ctx, victimFault, begin, end)
	}
}

func leaderStopped(leader, _ *victim) (begin, end func() error) { return leader.halt, leader.cont }
func leaderFrozen(leader, _ *victim) (begin, end func() error)  { return leader.freeze, leader.thaw }
func followerStopped(_, follower *victim) (begin, end func() error) {
	return follower.halt, follower.cont
}

// cutFor is how long an etcd is cut off: its leader goes on for an election timeout or two.
const cutFor = 4 * time.Second

func etcdLeaderCut(ctx context.Context, e *Env) error {
	leader, _, err := e.etcds(ctx)
	if err != nil {
		return err
	}
	return e.dropped(ctx, leader.ns, cutFor, "-p", "tcp")
}

func etcdLeaderThrottled(ctx context.Context, e *Env) error {
	leader, _, err := e.etcds(ctx)
	if err != nil {
		return err
	}
	if err := e.quota(leader.pid(), 90*time.Millisecond); err != nil {
		return err
	}
	wait(ctx, time.Second)
	return e.strike(ctx, cutFor, // an etcd at rest takes a hundredth of a CPU
		func() error { return e.setQuotaIn(time.Millisecond, time.Second) },
		func() error { return e.setQuota(90 * time.Millisecond) })
}

// etcdMoves has an operator make another one the leader.
func etcdMoves(ctx context.Context, e *Env) error {
	leader, followers, err := e.etcds(ctx)
	if err != nil {
		return err
	}
	ask := func(node *victim, path, body string, answer any) error {
		out, err := exec.CommandContext(ctx, "ip", "netns", "exec", node.ns, "curl", "--silent", "--fail", "--max-time", "5",
			"--data", body, "http://"+etcdClients+path).Output()
		if err != nil {
			return fmt.Errorf("ask etcd for %s: %w", path, err)
		}
		return json.Unmarshal(out, answer)
	}
	var status struct {
		Header struct {
			MemberID string `json:"member_id"`
		} `json:"header"`
	}
	if err := ask(followers[1], "/v3/maintenance/status", "{}", &status); err != nil {
		return err
	}
	e.MarkFault()
	if err := ask(leader, "/v3/maintenance/transfer-leadership", `{"targetID":"`+status.Header.MemberID+`"}`,
		&status); err != nil {
		return err
	}
	if err := followers[1].awaitLog(ctx, "became leader at term"); err != nil {
		return err
	}
	wait(ctx, 15*time.Second)
	return nil
}
