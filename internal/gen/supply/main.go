// Command supply documents what is in a release: -licences writes the licences of every module that is built into the
// program on any system, -sbom a list of components (CycloneDX 1.6). The same modules give the same files.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// standard is the path of the standard library among the modules.
const standard = "std"

// systems are those for which the program is released.
var systems = []string{"linux", "windows", "darwin"}

func main() {
	licences := flag.String("licences", "", "write the texts of all licences to this `FILE`")
	sbom := flag.String("sbom", "", "write the list of components to this `FILE`")
	version := flag.String("version", "unknown", "the program's `VERSION`, for the list of components")
	flag.Parse()
	if err := run(*licences, *sbom, *version); err != nil {
		fmt.Fprintln(os.Stderr, "supply:", err)
		os.Exit(1)
	}
}

func run(licences, sbom, version string) error {
	modules, err := modules(".")
	if err != nil {
		return err
	}
	if licences != "" {
		if err := os.WriteFile(licences, bundle(modules), 0o644); err != nil {
			return err
		}
	}
	if sbom == "" {
		return nil
	}
	text, err := components(modules, version)
	if err != nil {
		return err
	}
	return os.WriteFile(sbom, text, 0o644)
}

// module is a module that is built in, with the texts of its licence.
type module struct {
	Path, Version, Dir string
	Main               bool
	// sum is that of go.sum.
	sum string
	// licence is its SPDX identifier, texts are the files by name.
	licence string
	texts   map[string]string
}

// modules returns the modules of the program in the folder, the standard library among them, by path.
func modules(folder string) ([]*module, error) {
	found := make(map[string]*module)
	for _, system := range systems {
		cmd := exec.Command("go", "list", "-deps", "-f",
			`{{with .Module}}{"Path":{{printf "%q" .Path}},"Version":{{printf "%q" .Version}},"Dir":{{printf "%q" .Dir}},`+
				`"Main":{{.Main}}}{{end}}`, "./cmd/lostbeat")
		cmd.Dir, cmd.Env = folder, append(os.Environ(), "GOOS="+system, "GOARCH=amd64", "CGO_ENABLED=0")
		out, err := cmd.Output()
		if err != nil {
			var failed *exec.ExitError
			if errors.As(err, &failed) {
				err = fmt.Errorf("%w: %s", err, failed.Stderr)
			}
			return nil, fmt.Errorf("list the modules for %s: %w", system, err)
		}
		for line := range bytes.Lines(out) {
			var m module
			if err := json.Unmarshal(line, &m); err != nil {
				return nil, err
			}
			if !m.Main {
				found[m.Path] = &m
			}
		}
	}
	root, err := exec.Command("go", "env", "GOROOT", "GOVERSION").Output()
	if err != nil {
		return nil, fmt.Errorf("find the standard library: %w", err)
	}
	dir, version, _ := strings.Cut(strings.TrimSpace(string(root)), "\n")
	found[standard] = &module{Path: standard, Version: strings.TrimPrefix(version, "go"), Dir: dir}
	sums, err := os.ReadFile(filepath.Join(folder, "go.sum"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(sums)) {
		fields := strings.Fields(line)
		if m := found[fields[0]]; m != nil && fields[1] == m.Version {
			m.sum = fields[2]
		}
	}
	list := make([]*module, 0, len(found))
	for _, path := range slices.Sorted(maps.Keys(found)) {
		m := found[path]
		if err := m.read(); err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

// read finds the files of the licence: they are at the top of a module.
func (m *module) read() error {
	m.texts = make(map[string]string)
	entries, err := fs.ReadDir(os.DirFS(m.Dir), ".")
	if err != nil {
		return fmt.Errorf("licence of %s: %w", m.Path, err)
	}
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		if e.IsDir() || !strings.HasPrefix(name, "LICEN") && !strings.HasPrefix(name, "COPYING") &&
			!strings.HasPrefix(name, "NOTICE") && !strings.HasPrefix(name, "PATENTS") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(m.Dir, e.Name()))
		if err != nil {
			return fmt.Errorf("licence of %s: %w", m.Path, err)
		}
		m.texts[e.Name()] = strings.ReplaceAll(string(text), "\r\n", "\n")
		if m.licence == "" {
			m.licence = identify(m.texts[e.Name()])
		}
	}
	if m.licence == "" {
		return fmt.Errorf("%s %s: no licence that this program knows is in %s", m.Path, m.Version, m.Dir)
	}
	return nil
}

// known are parts of the licences that modules may have, the more special ones first.
var known = []struct{ id, has string }{
	{"BSD-3-Clause", "spdx-license-identifier: bsd-3-clause or gpl-2.0-only"}, // the first of the two is chosen
	{"Apache-2.0", "apache license version 2.0"},
	{"MIT", "permission is hereby granted, free of charge, to any person obtaining a copy"},
	{"ISC", "permission to use, copy, modify, and/or distribute this software for any purpose"},
	{"BSD-3-Clause", "be used to endorse or promote products derived from"},
	{"BSD-2-Clause", "redistributions in binary form must reproduce the above copyright notice"},
}

// identify returns the SPDX identifier of a licence, "" for one that is not known.
func identify(text string) string {
	text = strings.ToLower(strings.Join(strings.Fields(text), " "))
	text = strings.ReplaceAll(text, "license, version", "license version")
	for _, k := range known {
		if strings.Contains(text, k.has) {
			return k.id
		}
	}
	return ""
}

// bundle returns the licences of all modules as one text.
func bundle(modules []*module) []byte {
	var b bytes.Buffer
	b.WriteString("Licences of what is built into lostbeat on any system. `make licences` writes this file.\n\n")
	title := func(m *module) string {
		if m.Path == standard { // whatever release of Go builds it
			return "Go and its standard library"
		}
		return m.Path + " " + m.Version
	}
	for _, m := range modules {
		fmt.Fprintf(&b, "%s: %s\n", title(m), m.licence)
	}
	for _, m := range modules {
		for _, name := range slices.Sorted(maps.Keys(m.texts)) {
			fmt.Fprintf(&b, "\n%s\n%s: %s\n\n%s\n", strings.Repeat("=", 72), title(m), name,
				strings.TrimSpace(m.texts[name]))
		}
	}
	return b.Bytes()
}

// component is one of the list of components, as CycloneDX has it.
type component struct {
	Type     string    `json:"type"`
	Ref      string    `json:"bom-ref"`
	Name     string    `json:"name"`
	Version  string    `json:"version"`
	Licences []licence `json:"licenses"`
	PURL     string    `json:"purl"`
	// Properties has the checksum as go.sum has it: it is of a module's files, not of one file.
	Properties []property `json:"properties,omitempty"`
}

type (
	licence struct {
		Licence struct {
			ID string `json:"id"`
		} `json:"license"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
)

func newComponent(kind, path, version, id, sum string) component {
	purl := "pkg:golang/" + path + "@" + version
	c := component{Type: kind, Ref: purl, Name: path, Version: version, PURL: purl, Licences: make([]licence, 1)}
	c.Licences[0].Licence.ID = id
	if sum != "" {
		c.Properties = []property{{"go:sum", sum}}
	}
	return c
}

// components returns the list of components as CycloneDX 1.6 in JSON, without a time or a random number.
func components(modules []*module, version string) ([]byte, error) {
	type metadata struct {
		Component component `json:"component"`
	}
	list := struct {
		Format      string      `json:"bomFormat"`
		SpecVersion string      `json:"specVersion"`
		Version     int         `json:"version"`
		Metadata    metadata    `json:"metadata"`
		Components  []component `json:"components"`
	}{"CycloneDX", "1.6", 1, metadata{newComponent("application", "lostbeat", version, "Apache-2.0", "")}, nil}
	for _, m := range modules {
		list.Components = append(list.Components, newComponent("library", m.Path, m.Version, m.licence, m.sum))
	}
	text, err := json.MarshalIndent(list, "", "  ")
	return append(text, '\n'), err
}
