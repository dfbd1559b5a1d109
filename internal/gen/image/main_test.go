package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// unpack returns the files of a tar archive by their names.
func unpack(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for a := tar.NewReader(r); ; {
		header, err := a.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(a); err != nil {
			t.Fatal(err)
		}
	}
}

// Each descriptor has the digest and the size of its blob, from the index down to the program, and the same input gives
// the same bytes.
func TestImage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := bytes.Repeat([]byte("program "), 100)
	for name, text := range map[string]string{
		"lostbeat": string(program), "LICENSE": "its licence", "LICENSES/THIRD-PARTY.txt": "other licences",
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	o := options{
		program: filepath.Join(dir, "lostbeat"), licences: filepath.Join(dir, "LICENSES"),
		arch: "arm64", version: "v1.2.0", created: time.Unix(1_800_000_000, 0).UTC(),
	}
	var first, second bytes.Buffer
	if err := errors.Join(write(&first, o), write(&second, o)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the second image differs from the first")
	}
	files := unpack(t, &first)
	read := func(name string, to any) {
		t.Helper()
		if err := json.Unmarshal(files[name], to); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	blob := func(d v1.Descriptor) string {
		t.Helper()
		name := "blobs/sha256/" + d.Digest.Encoded()
		if got := digest.FromBytes(files[name]); got != d.Digest || int64(len(files[name])) != d.Size {
			t.Errorf("%s: digest %s of %d bytes, want %s of %d", d.MediaType, got, len(files[name]), d.Digest, d.Size)
		}
		return name
	}
	var index v1.Index
	var manifest v1.Manifest
	var config v1.Image
	read("index.json", &index)
	read(blob(index.Manifests[0]), &manifest)
	read(blob(manifest.Config), &config)
	if config.Architecture != "arm64" || config.OS != "linux" {
		t.Errorf("the image is for %s/%s", config.OS, config.Architecture)
	}
	layer := blob(manifest.Layers[0])
	packed, err := gzip.NewReader(bytes.NewReader(files[layer]))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(packed)
	if err != nil {
		t.Fatal(err)
	}
	if got := digest.FromBytes(plain); got != config.RootFS.DiffIDs[0] {
		t.Errorf("the layer has the digest %s, the configuration says %s", got, config.RootFS.DiffIDs[0])
	}
	content := unpack(t, bytes.NewReader(plain))
	if got := content[config.Config.Entrypoint[0][1:]]; !bytes.Equal(got, program) {
		t.Errorf("the entry point is a file of %d bytes, want the program's %d", len(got), len(program))
	}
	for name, want := range map[string]string{"LICENSE": "its licence", "THIRD-PARTY.txt": "other licences"} {
		if got := string(content["licenses/"+name]); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	var docker []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	read("manifest.json", &docker)
	if docker[0].Layers[0] != layer || docker[0].RepoTags[0] != "localhost/lostbeat:v1.2.0" {
		t.Errorf("manifest.json: %+v", docker[0])
	}
}
