# lostbeat: see README.md for what the targets are for.
GO      ?= go
BIN     ?= bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  = -s -w -X main.version=$(VERSION)
TOOLS    = $(CURDIR)/$(BIN)/tools
LINTER   = $(TOOLS)/golangci-lint
LINTER_VERSION = v2.15.0
DEADCODE = $(TOOLS)/deadcode
DEADCODE_VERSION = v0.52.0
RUNNER   = $(TOOLS)/gotestsum
VULNCHECK_VERSION = v1.9.0
NFPM     = $(TOOLS)/nfpm
NFPM_VERSION = v2.45.2
RUNNER_VERSION = v1.13.0

.PHONY: help build man run test test-all long nightly setup unit privileged race soak lint deadcode flip generate check-generated licences sbom release reproducible vulncheck cross fuzz lab kernels bench clean
.DEFAULT_GOAL := build

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## the binary, in bin/
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $(BIN)/lostbeat ./cmd/lostbeat

man: build ## the manual pages, in bin/man
	$(BIN)/lostbeat man $(BIN)/man

run: build ## build and open the live terminal UI (asks for root)
	$(if $(filter 0,$(shell id -u)),,sudo) $(BIN)/lostbeat

test: setup privileged ## install what the tests need and run them, without the long faults: 8 to 9 minutes

test-all: test long ## what CI runs: the fault lab and other kernels, too

nightly: test ## what takes longer than CI allows: all long tests, fuzzing for a minute each, 1 GiB recordings, budgets
	LOSTBEAT_LARGE=1 sh .ci/test long
	SOAK=30m sh .ci/soak
	FUZZTIME=60s sh .ci/fuzz
	sh .ci/cross all
	sh .ci/race all
	sh .ci/reproducible
	bash scripts/bench
	$(MAKE) kernels

setup: ## install the packages that tests, lint and code generation use
	sh .ci/setup

unit: ## tests that need no privileges
	LOSTBEAT_ALONE_LATER=1 $(GO) test -skip '^TestLong' ./...

privileged: $(RUNNER) ## all tests but the long ones; as root on Linux those that load BPF programs run too
	sh .ci/test

long: setup $(RUNNER) ## the long tests alone (TestLong...): the fault lab, other kernels under QEMU
	sh .ci/test long

soak: setup ## what a recorder takes while devices, containers, processes and ports come and go: 5 minutes, or SOAK=30m (root)
	sh .ci/soak

race: ## the race detector over the packages that run things at once, with tests that need no privileges
	sh .ci/race

lint: $(LINTER) deadcode ## gofmt, vet, golangci-lint, shellcheck, deadcode
	test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(LINTER) run ./...
	shellcheck .ci/run .ci/setup .ci/test .ci/race .ci/fuzz .ci/cross .ci/deadcode .ci/reproducible scripts/bench scripts/picture scripts/release contrib/packages/deb.* contrib/pacemaker/lostbeat-alert.sh contrib/node-problem-detector/check.sh contrib/supportconfig/lostbeat
	shellcheck --shell=sh contrib/packages/rpm.*

$(RUNNER):
	GOBIN=$(TOOLS) $(GO) install gotest.tools/gotestsum@$(RUNNER_VERSION)

deadcode: $(DEADCODE) ## functions that nothing uses, neither the product nor a test
	sh .ci/deadcode $(DEADCODE)

$(DEADCODE):
	GOBIN=$(TOOLS) $(GO) install golang.org/x/tools/cmd/deadcode@$(DEADCODE_VERSION)

$(LINTER):
	GOBIN=$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINTER_VERSION)

generate: ## BPF objects, protobuf code, typed views, docs/EVENTS.md, the journal's catalog
	PATH="$(TOOLS):$$PATH" GOBIN=$(TOOLS) $(GO) install google.golang.org/protobuf/cmd/protoc-gen-go
	PATH="$(TOOLS):$$PATH" $(GO) generate ./...

check-generated: generate ## fails when committed generated files are stale
	git diff --exit-code --stat -- '*_bpfel.go' '*_bpfel.o' '*.pb.go' '*_gen.go' etw/fields.txt docs/EVENTS.md docs/DETECTORS.md docs/REASONS.md docs/DRIVERS.md contrib/lostbeat.catalog ebpf/include/kinds.h contrib/grafana/lostbeat.json

licences: ## the licences of all modules that are built in, LICENSES/THIRD-PARTY.txt
	$(GO) run ./internal/gen/supply -licences LICENSES/THIRD-PARTY.txt

sbom: ## the list of components (CycloneDX 1.6), bin/lostbeat.cdx.json
	mkdir -p $(BIN)
	$(GO) run ./internal/gen/supply -sbom $(BIN)/lostbeat.cdx.json -version $(VERSION)

release: $(NFPM) ## binaries, .deb, .rpm, container images, list of components and checksums, in bin/release
	VERSION=$(VERSION) NFPM=$(NFPM) sh scripts/release $(BIN)/release

$(NFPM):
	GOBIN=$(TOOLS) $(GO) install github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM_VERSION)

reproducible: $(NFPM) ## builds a release twice, in different places: the bytes are the same
	sh .ci/reproducible

vulncheck: ## known vulnerabilities in what is built in (asks vuln.go.dev)
	GOBIN=$(TOOLS) $(GO) install golang.org/x/vuln/cmd/govulncheck@$(VULNCHECK_VERSION)
	$(TOOLS)/govulncheck ./...

cross: ## the portable packages and the binary for other systems
	sh .ci/cross

fuzz: ## a short fuzz of every parser
	sh .ci/fuzz

flip: ## turns each comparison of a detector with a setting around; says which ones no test notices
	$(GO) run ./internal/gen/flip

lab: build ## run every fault scenario for real and print the table of verdicts
	$(BIN)/lostbeat lab

kernels: ## probes, privileged tests and faults on Debian's kernels under QEMU (amd64, arm64); writes docs/KERNELS.md
	LOSTBEAT_SETUP_ARM=1 sh .ci/setup
	rm -rf $(BIN)/kernels
	LOSTBEAT_KERNELS=$(CURDIR)/docs/KERNELS.md $(GO) test ./internal/kernels -count 1 -timeout 4h -v -run '^TestLongGuestKernels$$'

bench: ## budgets, side by side in one run; writes the table of docs/PERFORMANCE.md to standard output
	bash scripts/bench

clean:
	rm -rf $(BIN)
