package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"lostbeat/internal/testutil"
)

// The kept bundle has the licences of exactly the modules that are built in.
func TestLicences(t *testing.T) {
	root := testutil.Root(t)
	list, err := modules(root)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(filepath.Join(root, "LICENSES", "THIRD-PARTY.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if string(bundle(list)) != string(kept) {
		t.Error("LICENSES/THIRD-PARTY.txt is stale: make licences")
	}
	text, err := components(list, "v1")
	if err != nil {
		t.Fatal(err)
	}
	var sbom struct {
		Components []struct{ Name, PURL string }
	}
	if err := json.Unmarshal(text, &sbom); err != nil || len(sbom.Components) != len(list) {
		t.Errorf("%d components of %d modules: %v", len(sbom.Components), len(list), err)
	}
}

func TestIdentify(t *testing.T) {
	for text, want := range map[string]string{
		"Apache License\n   Version 2.0, January 2004":                                  "Apache-2.0",
		"Permission is hereby granted, free of\ncharge, to any person obtaining a copy": "MIT",
		"Redistributions in binary form must reproduce the above copyright notice":      "BSD-2-Clause",
		"in binary form must reproduce the above copyright notice; may not be used to endorse or promote products\n" +
			"derived from": "BSD-3-Clause",
		"GNU GENERAL PUBLIC LICENSE": "",
	} {
		if got := identify(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
