package testutil

import (
	"net"
	"os"
	"testing"
	"time"
)

func TestVethPair(t *testing.T) {
	first, second := VethPair(t)
	if first.Inode == second.Inode {
		t.Fatalf("both namespaces have inode %d", first.Inode)
	}
	for _, addr := range []string{VethAddr2, VethAddr2v6} {
		var server, client net.PacketConn
		second.Do(t, func() (err error) {
			server, err = net.ListenPacket("udp", net.JoinHostPort(addr, "0"))
			return err
		})
		defer server.Close()
		first.Do(t, func() (err error) {
			client, err = net.ListenPacket("udp", ":0")
			return err
		})
		defer client.Close()
		if _, err := client.WriteTo([]byte("beat"), server.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if err := server.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		var got [8]byte
		n, _, err := server.ReadFrom(got[:])
		if err != nil || string(got[:n]) != "beat" {
			t.Errorf("over %s: got %q, %v", addr, got[:n], err)
		}
	}
}

func TestNetnsIsRemoved(t *testing.T) {
	var name string
	t.Run("inside", func(t *testing.T) { name = NewNetns(t).Name })
	if name == "" {
		t.Skip("no namespace was created")
	}
	if _, err := os.Stat("/run/netns/" + name); !os.IsNotExist(err) {
		t.Errorf("/run/netns/%s after the test: %v", name, err)
	}
}
