package unit

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"

	"lostbeat/internal/lazyregexp"
)

// Names finds the names of containers and pods where their runtimes note them: of pods in the kubelet's
// /var/log/containers, of Docker's containers in their config.v2.json, of Podman's in containers.json. The zero value
// looks on this host.
type Names struct {
	// Root is put in front of all paths; empty for this host.
	Root string
}

// maxNote is how much of a runtime's note is read, in bytes.
const maxNote = 4 << 20

// logLink is a link of the kubelet: POD_NAMESPACE_CONTAINER-ID.log.
var logLink = lazyregexp.New(`^([^_]+)_([^_]+)_(.+)-([0-9a-f]{64})\.log$`)

// Of returns the unit as people name it: with the names of its container and pod where they can be read, as
// [Unit.String] does elsewhere.
func (n Names) Of(u Unit) string {
	if !bare.MatchString(u.Container) {
		return u.String()
	}
	if u.Pod != "" || u.Runtime == "" || u.Runtime == "containerd" || u.Runtime == "crio" {
		if name := n.pod(u.Container); name != "" {
			return "pod " + name
		}
	}
	switch u.Runtime {
	case "docker":
		if name := n.docker(u.Container); name != "" {
			return "docker " + name
		}
	case "podman":
		if name := n.podman(u.Container); name != "" {
			return "podman " + name
		}
	}
	return u.String()
}

// pod returns NAMESPACE/POD/CONTAINER of a container of the kubelet.
func (n Names) pod(id string) string {
	links, _ := filepath.Glob(filepath.Join(n.Root, "/var/log/containers/*-"+id+".log"))
	for _, link := range links {
		if m := logLink.FindStringSubmatch(filepath.Base(link)); m != nil {
			return m[2] + "/" + m[1] + "/" + m[3]
		}
	}
	return ""
}

// docker returns the name of a container of Docker.
func (n Names) docker(id string) string {
	var note struct{ Name string }
	if !n.read("/var/lib/docker/containers/"+id+"/config.v2.json", &note) {
		return ""
	}
	return strings.TrimPrefix(note.Name, "/")
}

// podman returns the name of a container of Podman that runs as root.
func (n Names) podman(id string) string {
	var notes []struct {
		ID    string   `json:"id"`
		Names []string `json:"names"`
	}
	if !n.read("/var/lib/containers/storage/overlay-containers/containers.json", &notes) {
		return ""
	}
	for _, c := range notes {
		if c.ID == id && len(c.Names) > 0 {
			return c.Names[0]
		}
	}
	return ""
}

// read reads a note in JSON; false when it is not there, is too large or damaged.
func (n Names) read(path string, note any) bool {
	f, err := os.Open(filepath.Join(n.Root, path))
	if err != nil {
		return false
	}
	defer f.Close()
	return json.NewDecoder(io.LimitReader(f, maxNote)).Decode(note) == nil
}
