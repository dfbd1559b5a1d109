// Package unit says what a process belongs to, from the path of its control group: a unit of systemd, a container or
// a pod.
//
// The forms are those of systemd (systemd.slice(5), NAME.service, NAME.scope), of the runtimes' cgroup drivers
// (docker-ID.scope, libpod-ID.scope, cri-containerd-ID.scope, crio-ID.scope, or a folder named ID), and of the
// kubelet (kubepods[-QOS]-podUID.slice, kubepods/QOS/podUID).
package unit

import (
	"strings"

	"lostbeat/internal/lazyregexp"
)

// Unit is what a control group is of. The zero value is of nothing that is known.
type Unit struct {
	// Name is the unit of systemd: nginx.service, session-3.scope. Empty in a container.
	Name string
	// Runtime is docker, podman, containerd, crio, lxc or machine; empty where the path does not say it.
	Runtime string
	// Container is the container's identity: 64 hexadecimal digits, or the name of an LXC container or of a machine.
	Container string
	// Pod is the UID of the Kubernetes pod, with its dashes.
	Pod string
}

var (
	// scopes are systemd's scopes that runtimes make.
	scopes = lazyregexp.New(`^(docker|libpod|cri-containerd|crio)-([0-9a-f]{64})\.scope$`)
	// bare is a folder that is named as a container.
	bare = lazyregexp.New(`^[0-9a-f]{64}$`)
	// pods are the folders and slices of pods.
	pods = lazyregexp.New(
		`^(?:kubepods.*-)?pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?$`)
	// lxc are the folders of LXC and Incus.
	lxc = lazyregexp.New(`^lxc\.payload\.(.+)$`)
)

// runtimes are the names of runtimes by the beginning of their scopes.
var runtimes = map[string]string{
	"docker": "docker", "libpod": "podman", "cri-containerd": "containerd", "crio": "crio",
}

// Of returns what a control group is of, by its path in the unified hierarchy or in systemd's.
func Of(group string) Unit {
	var u Unit
	parts := strings.Split(strings.Trim(group, "/"), "/")
	for i := 0; i < len(parts); i++ {
		part := parts[i]
		if fields := strings.Split(part, ":"); len(fields) == 3 && bare.MatchString(fields[2]) {
			// a runtime without systemd's driver: SLICE:RUNTIME:ID in one name
			parts = append(parts[:i:i], fields[0], fields[1]+"-"+fields[2]+".scope")
			part = parts[i]
		}
		if m := scopes.FindStringSubmatch(part); m != nil {
			u.Runtime, u.Container = runtimes[m[1]], m[2]
			continue
		}
		if m := pods.FindStringSubmatch(part); m != nil {
			u.Pod = strings.ReplaceAll(m[1], "_", "-")
			continue
		}
		if m := lxc.FindStringSubmatch(part); m != nil {
			u.Runtime, u.Container = "lxc", m[1]
			continue
		}
		switch {
		case bare.MatchString(part):
			u.Container = part
			if i > 0 && (parts[i-1] == "docker" || parts[i-1] == "podman") {
				u.Runtime = parts[i-1]
			}
		case i > 0 && parts[i-1] == "lxc":
			u.Runtime, u.Container = "lxc", part
		case i > 0 && parts[i-1] == "machine.slice" && strings.HasPrefix(part, "machine-"):
			u.Runtime, u.Container = "machine", unescape(strings.TrimSuffix(strings.TrimPrefix(part, "machine-"), ".scope"))
		case strings.HasSuffix(part, ".service"), strings.HasSuffix(part, ".scope"):
			u.Name = unescape(part)
		}
	}
	if u.Container != "" || u.Pod != "" {
		u.Name = "" // the service that runs the containers
	}
	return u
}

// unescape undoes systemd's escaping of characters as \xHH, of dashes above all.
func unescape(name string) string {
	return strings.ReplaceAll(name, `\x2d`, "-")
}

// short is how much of a container's identity people write.
const short = 12

// String is the unit as people name it: "nginx.service", "docker 0123456789ab", "pod UID, container 0123456789ab";
// empty for nothing.
func (u Unit) String() string {
	id := u.Container
	if bare.MatchString(id) {
		id = id[:short]
	}
	runtime := u.Runtime
	if runtime == "" {
		runtime = "container"
	}
	switch {
	case u.Pod != "" && id != "":
		return "pod " + u.Pod + ", container " + id
	case u.Pod != "":
		return "pod " + u.Pod
	case id != "":
		return runtime + " " + id
	}
	return u.Name
}
