// Command image writes a container image with the program and its licences, and nothing else, as one tar file: the
// layout of OCI images (image-spec 1.1), with the manifest.json that `docker load` of older versions reads. The same
// program, version and time give the same bytes.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// options are what an image is made of.
type options struct {
	program, licences, arch, version string
	// created is the time of the image and of all files in it.
	created time.Time
}

func main() {
	var o options
	flag.StringVar(&o.program, "program", "bin/lostbeat", "the program, a static binary for Linux: `FILE`")
	flag.StringVar(&o.licences, "licences", "LICENSES", "the `DIRECTORY` with the texts of the licences")
	flag.StringVar(&o.arch, "arch", "amd64", "the program's `ARCHITECTURE` as Go names it")
	flag.StringVar(&o.version, "version", "unknown", "the program's `VERSION`, which is the image's tag")
	epoch := flag.Int64("epoch", 0, "the time of the image, in `SECONDS` since 1970")
	out := flag.String("o", "lostbeat.oci.tar", "write the image to this `FILE`")
	flag.Parse()
	o.created = time.Unix(*epoch, 0).UTC()
	if err := run(o, *out); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(o options, out string) error {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	if err := write(f, o); err != nil {
		f.Close()
		return fmt.Errorf("write %s: %w", out, err)
	}
	return f.Close()
}

// archive writes files with the time of the image.
type archive struct {
	*tar.Writer
	created time.Time
}

func newArchive(w io.Writer, created time.Time) archive { return archive{tar.NewWriter(w), created} }

func (a archive) folder(name string, mode int64) error {
	return a.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, ModTime: a.created})
}

func (a archive) file(name string, mode int64, data []byte) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data)), ModTime: a.created}
	if err := a.WriteHeader(header); err != nil {
		return err
	}
	_, err := a.Write(data)
	return err
}

// layer returns the only layer of the image, compressed, and the digest of what was compressed.
func layer(o options) (compressed []byte, plain digest.Digest, err error) {
	program, err := os.ReadFile(o.program)
	if err != nil {
		return nil, "", err
	}
	texts, err := filepath.Glob(filepath.Join(o.licences, "*"))
	if err != nil {
		return nil, "", err
	}
	var buffer bytes.Buffer
	packed := gzip.NewWriter(&buffer)
	sum := sha256.New()
	a := newArchive(io.MultiWriter(packed, sum), o.created)
	for _, f := range []struct {
		name string
		mode int64
	}{
		{"licenses", 0o755},
		{"tmp", 0o1777}, {"usr", 0o755}, {"usr/bin", 0o755},
		{"var", 0o755}, {"var/lib", 0o755}, {"var/lib/lostbeat", 0o700},
	} {
		if err := a.folder(f.name, f.mode); err != nil {
			return nil, "", err
		}
	}
	for _, text := range append(texts, filepath.Join(o.licences, "..", "LICENSE")) {
		data, err := os.ReadFile(text)
		if err != nil {
			return nil, "", err
		}
		if err := a.file(path.Join("licenses", filepath.Base(text)), 0o644, data); err != nil {
			return nil, "", err
		}
	}
	if err := a.file("usr/bin/lostbeat", 0o755, program); err != nil {
		return nil, "", err
	}
	if err := a.Close(); err != nil {
		return nil, "", err
	}
	if err := packed.Close(); err != nil {
		return nil, "", err
	}
	return buffer.Bytes(), digest.NewDigest(digest.SHA256, sum), nil
}

// write writes the image.
func write(w io.Writer, o options) error {
	content, plain, err := layer(o)
	if err != nil {
		return err
	}
	platform := v1.Platform{OS: "linux", Architecture: o.arch}
	labels := map[string]string{
		v1.AnnotationTitle:    "lostbeat",
		v1.AnnotationVersion:  o.version,
		v1.AnnotationLicenses: "Apache-2.0 AND (GPL-2.0-only OR BSD-2-Clause)",
	}
	blobs := map[digest.Digest][]byte{}
	add := func(kind string, data []byte) v1.Descriptor {
		sum := digest.FromBytes(data)
		blobs[sum] = data
		return v1.Descriptor{MediaType: kind, Digest: sum, Size: int64(len(data))}
	}
	addJSON := func(kind string, value any) (v1.Descriptor, error) {
		data, err := json.Marshal(value)
		return add(kind, data), err
	}
	config, err := addJSON(v1.MediaTypeImageConfig, v1.Image{
		Created: &o.created, Platform: platform,
		Config: v1.ImageConfig{
			Env:        []string{"PATH=/usr/bin"},
			Entrypoint: []string{"/usr/bin/lostbeat"},
			Cmd: []string{
				"record", "--flight", "5m", "--total-cap", "1GiB", "-o", "/var/lib/lostbeat/fault.lostbeat",
			},
			Volumes:    map[string]struct{}{"/var/lib/lostbeat": {}},
			WorkingDir: "/var/lib/lostbeat",
			Labels:     labels,
			StopSignal: "SIGTERM",
		},
		RootFS:  v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{plain}},
		History: []v1.History{{Created: &o.created, CreatedBy: "internal/gen/image"}},
	})
	if err != nil {
		return err
	}
	packed := add(v1.MediaTypeImageLayerGzip, content)
	manifest, err := addJSON(v1.MediaTypeImageManifest, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: config, Layers: []v1.Descriptor{packed}, Annotations: labels,
	})
	if err != nil {
		return err
	}
	name := "localhost/lostbeat:" + o.version
	manifest.Platform = &platform
	manifest.Annotations = map[string]string{
		v1.AnnotationRefName:       o.version,
		"io.containerd.image.name": name,
	}
	index := v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex,
		Manifests: []v1.Descriptor{manifest},
	}
	type saved struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	blob := func(d v1.Descriptor) string { return path.Join(v1.ImageBlobsDir, "sha256", d.Digest.Encoded()) }

	a := newArchive(w, o.created)
	for _, f := range []struct {
		name  string
		value any
	}{
		{v1.ImageLayoutFile, v1.ImageLayout{Version: v1.ImageLayoutVersion}},
		{v1.ImageIndexFile, index},
		{"manifest.json", []saved{{blob(config), []string{name}, []string{blob(packed)}}}},
	} {
		data, err := json.Marshal(f.value)
		if err != nil {
			return err
		}
		if err := a.file(f.name, 0o644, data); err != nil {
			return err
		}
	}
	for _, folder := range []string{v1.ImageBlobsDir, v1.ImageBlobsDir + "/sha256"} {
		if err := a.folder(folder, 0o755); err != nil {
			return err
		}
	}
	for _, d := range []v1.Descriptor{manifest, config, packed} {
		if err := a.file(blob(d), 0o644, blobs[d.Digest]); err != nil {
			return err
		}
	}
	return a.Close()
}
