// Package confine takes from this process, for good, the rights that it does not need any more: from all its threads,
// and from what they start.
//
// A process that reads files which others have made ([Reader]) keeps its open descriptors, the named files, and the
// system calls that reading takes: no network, no program, no other file. One that traces this host ([Tracer]) keeps
// the capabilities and the system calls that its features still take. SECURITY.md says what is confined, and why not
// more.
package confine

// Layers of confinement, as they are called in messages.
const (
	LayerCapabilities = "capabilities"
	LayerPrivileges   = "no_new_privs"
	LayerLandlock     = "Landlock"
	LayerSeccomp      = "seccomp"
)

// Files are what a confined process may open.
type Files struct {
	// Read are files, and folders with all that is in them, that may be read.
	Read []string
	// List are folders of which the names may be read.
	List []string
	// Write are files, and folders with all that is in them, that may be read, made, written, renamed and removed.
	Write []string
	// Empty are folders of which empty folders may be removed.
	Empty []string
	// Execute are files and folders whose programs may be run, and read.
	Execute []string
}

// Result says what became of each layer.
type Result struct {
	// On are the layers that are in force, Off says of each other one why it is not.
	On  []string
	Off []string
}

func (r *Result) add(layer string, err error) {
	if err != nil {
		r.Off = append(r.Off, layer+": "+err.Error())
		return
	}
	r.On = append(r.On, layer)
}

// Tracing says what a process that traces this host goes on to do.
type Tracing struct {
	// Keep are the capabilities to keep, of those that the process has: see Kept.
	Keep []string
	// Loads says that programs are loaded and attached later, on request.
	Loads bool
	// Accepts says that connections are taken from sockets that listen, SetsModes that files are made for others.
	Accepts, SetsModes bool
	// Files are what may be opened, nil everything: Landlock also refuses what /proc says only to tracers of a process.
	Files *Files
	// Ports are TCP ports that may be connected to; it counts with Files only.
	Ports []uint16
}
