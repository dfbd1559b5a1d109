package unit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lostbeat/internal/testutil/fuzztest"
)

const (
	id  = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	pod = "1b2c3d4e-0000-4111-8222-0123456789ab"
)

func TestOf(t *testing.T) {
	escaped := strings.ReplaceAll(pod, "-", "_")
	for _, tt := range []struct{ group, want string }{
		{"", ""},
		{"/", ""},
		{"/init.scope", "init.scope"},
		{"/system.slice", ""},
		{"/system.slice/nginx.service", "nginx.service"},
		{"/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"},
		{`/system.slice/my\x2dapp.service`, "my-app.service"},
		{"/user.slice/user-1000.slice/session-3.scope", "session-3.scope"},
		{"/user.slice/user-1000.slice/user@1000.service/app.slice/redis.service", "redis.service"},
		{"/system.slice/nginx.service/workers", "nginx.service"},
		{"/docker/" + id, "docker 0123456789ab"},
		{"/system.slice/docker-" + id + ".scope", "docker 0123456789ab"},
		{"/machine.slice/libpod-" + id + ".scope/container", "podman 0123456789ab"},
		{"/kubepods/burstable/pod" + pod + "/" + id, "pod " + pod + ", container 0123456789ab"},
		{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + escaped + ".slice/cri-containerd-" + id +
			".scope",
			"pod " + pod + ", container 0123456789ab"},
		{"/kubepods.slice/kubepods-pod" + escaped + ".slice/crio-" + id + ".scope",
			"pod " + pod + ", container 0123456789ab"},
		{"/system.slice/containerd.service/kubepods-burstable-pod" + escaped + ".slice:cri-containerd:" + id,
			"pod " + pod + ", container 0123456789ab"},
		{"/lxc.payload.web/system.slice/nginx.service", "lxc web"},
		{"/lxc/web/init.scope", "lxc web"},
		{`/machine.slice/machine-qemu\x2d1\x2dvm.scope`, "machine qemu-1-vm"},
		{"/my-own/group", ""},
	} {
		if got := Of(tt.group).String(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.group, got, tt.want)
		}
	}
}

func TestNames(t *testing.T) {
	root := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	damaged := strings.Repeat("f", 64)
	write("var/log/containers/web-0_shop_nginx-"+id+".log", "")
	write("var/lib/docker/containers/"+id+"/config.v2.json", `{"ID":"`+id+`","Name":"/web"}`)
	write("var/lib/docker/containers/"+damaged+"/config.v2.json", `{"Name":`)
	write("var/lib/containers/storage/overlay-containers/containers.json", `[{"id":"`+id+`","names":["db"]}]`)
	names := Names{Root: root}
	for _, tt := range []struct {
		unit Unit
		want string
	}{
		{Unit{Name: "nginx.service"}, "nginx.service"},
		{Unit{Pod: pod, Container: id}, "pod shop/web-0/nginx"},
		{Unit{Pod: pod, Container: damaged}, "pod " + pod + ", container ffffffffffff"},
		{Unit{Runtime: "docker", Container: id}, "docker web"},
		{Unit{Runtime: "docker", Container: damaged}, "docker ffffffffffff"},
		{Unit{Runtime: "podman", Container: id}, "podman db"},
		{Unit{Runtime: "podman", Container: damaged}, "podman ffffffffffff"},
		{Unit{Runtime: "lxc", Container: "../../etc"}, "lxc ../../etc"}, // never part of a path
		{Unit{}, ""},
	} {
		if got := names.Of(tt.unit); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.unit, got, tt.want)
		}
	}
}

func FuzzOf(f *testing.F) {
	fuzztest.Quick(f)
	f.Add("/kubepods/burstable/pod" + pod + "/" + id)
	f.Add("/system.slice/docker-" + id + ".scope")
	f.Fuzz(func(t *testing.T, group string) {
		u := Of(group)
		if u.Name != "" && u.Container != "" {
			t.Errorf("%q is of the unit %q and of the container %q", group, u.Name, u.Container)
		}
	})
}
