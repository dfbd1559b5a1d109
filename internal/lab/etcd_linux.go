package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// etcds starts three etcd, joined by a bridge, and returns one that is not the leader.
func (e *Env) etcds(ctx context.Context) (*victim, error) {
	bridge, err := e.Namespace(ctx, "bridge")
	if err != nil {
		return nil, err
	}
	dir, err := e.folder()
	if err != nil {
		return nil, err
	}
	if err := e.command(ctx, "", nil, "ip", "-n", bridge, "link", "add", "lbbr", "type", "bridge"); err != nil {
		return nil, err
	}
	if err := e.command(ctx, "", nil, "ip", "-n", bridge, "link", "set", "lbbr", "up"); err != nil {
		return nil, err
	}
	var nodes []*victim
	for i := 1; i <= 3; i++ {
		node, err := e.etcd(ctx, bridge, dir, i)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, node)
	}
	for _, node := range nodes {
		if err := node.awaitLog(ctx, "elected leader"); err != nil {
			return nil, err
		}
	}
	var followers []*victim
	for _, node := range nodes {
		text, err := os.ReadFile(node.log)
		if err != nil {
			return nil, err
		}
		if !strings.Contains(string(text), "became leader at term") {
			followers = append(followers, node)
		}
	}
	if len(followers) != 2 {
		return nil, errors.New("the three etcd have no leader, or several")
	}
	wait(ctx, victimSeen)
	return followers[0], e.adopt()
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
	follower, err := e.etcds(ctx)
	if err != nil {
		return err
	}
	return e.leaves(ctx, follower)
}
