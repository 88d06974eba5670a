# Thin on purpose: what is longer than a few lines is a script in .ci/ or a Go program.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS   += --no-builtin-rules --no-print-directory

FUZZTIME ?= 5m
BIN      := $(CURDIR)/bin
CACHE    := $(CURDIR)/.cache

# The linter is pinned here and built from source into .cache/bin.
LINTER_VERSION := v2.15.0
LINTER         := $(CACHE)/bin/golangci-lint-$(LINTER_VERSION)

# So are what looks for known vulnerabilities and for misspelled words.
VULNCHECK_VERSION := v1.8.0
VULNCHECK         := $(CACHE)/bin/govulncheck-$(VULNCHECK_VERSION)
SPELLER_VERSION   := v0.8.0
SPELLER           := $(CACHE)/bin/misspell-$(SPELLER_VERSION)

# So is nfpm, which writes deb and rpm without the tools of either; the last one that Go 1.24
# compiles.
NFPM_VERSION := v2.43.4
NFPM         := $(CACHE)/bin/nfpm-$(NFPM_VERSION)

# What a build says about itself. All of it comes from the commit, so that the same
# commit makes the same bytes.
VERSION := $(shell git describe --tags --always --match 'v*' 2>/dev/null || echo devel)
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)$(shell git diff --quiet HEAD 2>/dev/null || echo -dirty)
DATE    := $(shell TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null || echo unknown)
LDFLAGS := -s -w \
	-X one-clvm/internal/version.Version=$(VERSION) \
	-X one-clvm/internal/version.Commit=$(COMMIT) \
	-X one-clvm/internal/version.Date=$(DATE)

# Asked for outside the module and without switching, so that it is the Go in PATH that
# answers, whatever its age.
GO_VERSION := $(shell cd / && GOTOOLCHAIN=local go version 2>/dev/null | sed -n 's/.*go\([0-9][0-9]*\.[0-9][0-9]*\).*/\1/p')
GO_OLD     := $(shell printf '%s\n' '1.24' '$(or $(GO_VERSION),0)' | sort -CV || echo yes)
GO_MISSING := Go 1.24 or newer must be in PATH ($(if $(GO_VERSION),found $(GO_VERSION),found none)): get it from https://go.dev/dl/ and put its bin directory into PATH
ifneq ($(GO_OLD),)
ifneq ($(filter-out help clean,$(MAKECMDGOALS)),)
$(error $(GO_MISSING))
endif
endif

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@$(if $(GO_OLD),echo; echo '$(GO_MISSING)',true)

.PHONY: build
build: ## Build the static programs into bin/
	@mkdir -p $(BIN)
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/...

.PHONY: deps
deps: ## Install the distribution's packages and fetch the Go modules that the rest needs
	@.ci/deps
	go mod download

.PHONY: test
test: deps build $(NFPM) ## Run the unit tests with the race detector, then the embedded ones (needs root)
	@.ci/go-test unit -race ./...
	@.ci/go-test failpoint -tags failpoint ./internal/failpoint
	@$(MAKE) $(if $(findstring -j,$(MAKEFLAGS)),,-j 2) -O test-embedded test-kill-matrix

# Two rungs of a machine each: neither keeps two cores busy.
.PHONY: test-embedded test-kill-matrix
test-embedded:
	@.ci/go-test embedded -tags embedded -p 1 -count 1 -timeout 30m -skip '^TestKillMatrix$$' ./...
test-kill-matrix:
	@.ci/go-test embedded -tags embedded -count 1 -timeout 30m -run '^TestKillMatrix$$' ./test/embedded

.PHONY: kill-matrix-full
kill-matrix-full: deps ## Kill every process of every verb at every instant (needs root; KILLFLAGS=--lab: also on emulated nodes)
	@.ci/kill-matrix $(KILLFLAGS)

.PHONY: demo
demo: deps build ## Deploy and save a real Debian through the installed programs (needs root)
	@go build -trimpath -o $(CACHE)/bin/demo ./test/demo
	@$(CACHE)/bin/demo

.PHONY: bench
bench: deps build ## Measure against plain ssh pipes and full copies, and write docs/benchmarks.md (needs root)
	@go build -trimpath -o $(CACHE)/bin/bench ./test/bench
	@$(CACHE)/bin/bench $(BENCHFLAGS) | tee $(CACHE)/bench.log
	@$(CACHE)/bin/bench page $(CACHE)/bench.log docs

.PHONY: man
man: build ## Write the manual pages into man/, from the same source as --help
	@mkdir -p man
	@for program in $(filter-out one-migrate-hook-commands,$(notdir $(wildcard cmd/*))); do $(BIN)/$$program man > man/$$program.1; done

PACKAGING = go run ./packaging --version '$(VERSION)' --date '$(DATE)'

.PHONY: package
package: deps build $(NFPM) ## Make the packages, deb and rpm for amd64 and arm64, with a bill of materials, in dist/
	@for arch in amd64 arm64; do \
		CGO_ENABLED=0 GOARCH=$$arch go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $(CACHE)/package/$$arch/ ./cmd/...; \
	done
	@rm -rf dist
	@$(PACKAGING) --nfpm $(NFPM) --programs $(CACHE)/package package
	@cd dist && sha256sum * > SHA256SUMS

.PHONY: install
install: build ## Install without packages, below DESTDIR (ONE_LOCATION=… of OpenNebula, WHAT=frontend or node: both)
	@$(PACKAGING) --destdir '$(DESTDIR)' --one-location '$(ONE_LOCATION)' install $(WHAT)

$(NFPM):
	@echo 'building nfpm $(NFPM_VERSION) from source (a minute, once)'
	GOBIN=$(CACHE)/bin/build-nfpm go install github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM_VERSION)
	@mv $(CACHE)/bin/build-nfpm/nfpm $@ && rmdir $(CACHE)/bin/build-nfpm

PROFILE ?= cluster

# The packages that have tests for the lab; the one with most of them begins.
LAB_PACKAGES = ./test/lab/ $(filter-out ./test/lab/,$(addprefix ./,$(sort $(dir $(shell git ls-files '*_lab_test.go')))))

# Tests wait for room for their nodes (lab/labtest), not for each other.
.PHONY: test-lab
test-lab: deps $(NFPM) ## Run the tests on emulated nodes that share a SAN (LABFLAGS=-short: a part)
	@.ci/go-test lab -tags lab -p 4 -parallel 8 -count 1 -timeout 60m $(LABFLAGS) $(LAB_PACKAGES)

.PHONY: lab
lab: deps ## Start such nodes to work on (PROFILE=cluster) and say how to use them
	@go run ./lab up $(PROFILE)

.PHONY: lab-down
lab-down: ## End them
	@go run ./lab down

.PHONY: lint
lint: $(LINTER) $(SPELLER) ## Check formatting, vet and lint, the floors of the design included
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'not formatted by gofmt:'; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	go vet -tags embedded,failpoint ./...
	go vet -tags lab ./...
	$(LINTER) run
	$(LINTER) run --build-tags embedded,failpoint
	$(LINTER) run --build-tags lab ./lab/... $(LAB_PACKAGES)
	$(SPELLER) -error $$(git ls-files '*.md' '*.example')

$(LINTER):
	@echo 'building golangci-lint $(LINTER_VERSION) from source (a few minutes, once)'
	$(call tool,github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINTER_VERSION))

$(SPELLER):
	$(call tool,github.com/golangci/misspell/cmd/misspell@$(SPELLER_VERSION))

$(VULNCHECK):
	$(call tool,golang.org/x/vuln/cmd/govulncheck@$(VULNCHECK_VERSION))

# Builds a tool from source, PACKAGE@VERSION, as the target.
define tool
GOBIN=$@.build go install $(1)
@mv $@.build/* $@ && rmdir $@.build
endef

VULNDB ?= https://vuln.go.dev
.PHONY: vulncheck
vulncheck: $(VULNCHECK) ## Compare the programs with the list of known vulnerabilities (VULNDB=file:///DIR: a copy of it)
	$(VULNCHECK) -db $(VULNDB) ./cmd/...

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (5m), one after the other
	@.ci/fuzz $(FUZZTIME)

.PHONY: cover
cover: deps build $(NFPM) ## Coverage of unit and embedded tests together, by package (needs root)
	@.ci/cover lvm tarmode cxmrc agent tm

.PHONY: clean
clean: ## Remove everything that was built or cached
	rm -rf $(BIN) $(CACHE) dist man coverage*
