# The pose operator. `make demo` and `make test` do all their own set-up on a
# fresh Debian machine with Go, as root. `make help` lists the rest.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

include hack/tools/tools.mk

VERSION ?= 0.1.0-dev
comma := ,
LDFLAGS := -s -w -X github.com/pose-dev/pose-operator/internal/version.Version=$(VERSION)
# gRPC comes with a client library and is not used: without its tracing page the linker
# drops what nobody calls.
GO_BUILD := CGO_ENABLED=0 go build -trimpath -tags grpcnotrace -ldflags "$(LDFLAGS)"
PAGE := cmd/pose-gateway/page
PAGE_SOURCES := $(shell find $(PAGE) -type f -not -path '*/node_modules/*' -not -path '*/dist/*' -not -path '*/tests/*' -not -name '*.go')
GO_SOURCES := $(shell find api cmd config controllers internal hack/e2e -name '*.go' -not -name '*_test.go') go.mod go.sum

# An existing cluster is used when KUBECONFIG names one; else the clone's own,
# also when KUBECONFIG names that.
ifeq ($(abspath $(KUBECONFIG)),$(CURDIR)/.cluster/kubeconfig)
override KUBECONFIG :=
unexport KUBECONFIG
endif
ifneq ($(KUBECONFIG),)
CLUSTER_UP :=
else
CLUSTER_UP := cluster-up
endif

.PHONY: help
help: ## List the targets.
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | column -t -s "$$(printf '\t')"

## Building

bin/manager: $(GO_SOURCES)
	$(GO_BUILD) -o $@ ./cmd/manager

bin/pose-runner: $(GO_SOURCES)
	$(GO_BUILD) -o $@ ./cmd/pose-runner

bin/staged-engine: $(GO_SOURCES)
	$(GO_BUILD) -o $@ ./hack/e2e/staged

bin/kubectl-pose: $(GO_SOURCES) $(wildcard config/engines/*.yaml)
	$(GO_BUILD) -o $@ ./cmd/kubectl-pose

$(PAGE)/dist/index.html: $(NODE) $(PAGE_SOURCES)
	PATH=$(dir $(NODE)):$$PATH $(MAKE) -C $(PAGE) build
	touch $@

bin/pose-gateway: $(GO_SOURCES) $(PAGE)/dist/index.html cmd/pose-gateway/internal/openapi/openapi.yaml
	$(subst grpcnotrace,grpcnotrace$(comma)page,$(GO_BUILD)) -o $@ ./cmd/pose-gateway

.PHONY: build
build: bin/manager bin/pose-runner bin/staged-engine bin/kubectl-pose bin/pose-gateway ## Build the operator's binaries into bin/.

.PHONY: generate
generate: $(CONTROLLER_GEN) $(CRD_REF_DOCS) $(HELM) ## Regenerate everything that is generated.
	hack/update-all.sh

.PHONY: images
images: debian-packages build ## Build all container images into .cluster/images.
	hack/image/build-all.sh

## The local cluster

.PHONY: cluster-up
cluster-up: debian-packages cluster ## Start the two-node cluster; kubeconfig in .cluster/kubeconfig.
	$(CLUSTER) up $(if $(CI),--replace)

.PHONY: cluster-down
cluster-down: ## End the cluster and the demo's S3 server, and leave nothing behind.
	if [ -x $(CLUSTER) ]; then $(CLUSTER) down; fi
	if [ -e .demo/store.json ]; then go run ./hack/demo end-store; fi

.PHONY: load
load: $(CLUSTER_UP) images ## Load the images into the cluster's nodes.
	$(if $(KUBECONFIG),@echo "KUBECONFIG is set: load the images of .cluster/images into your cluster yourself",$(CLUSTER) load manager pose-runner pose-gateway media mediapipe staged-engine phalp-adapter staged-phalp onnx-pose)

.PHONY: demo
demo: load $(HELM) $(KUBECTL) $(VERSITYGW) ## Two real pose jobs on a real cluster, one of them after a staged GPU crash.
	go run ./hack/demo

## Checks

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Vet and lint; keeps the pure packages pure.
	go vet ./...
	$(GOLANGCI_LINT) run ./...
	cd hack/cluster && go vet ./... && $(GOLANGCI_LINT) run --config ../../.golangci.yml ./...

.PHONY: verify
verify: $(CONTROLLER_GEN) $(CRD_REF_DOCS) $(HELM) ## Check that generated files are up to date, the chart, and the scripts.
	hack/verify-all.sh

# Packages without goroutines of their own: lint keeps context and clocks out of
# them. The race detector finds nothing there and takes ten times as long.
PURE := ./api/... ./controllers/internal/... ./internal/boxes/... ./internal/export/... ./internal/report/... ./internal/result/...

.PHONY: test-unit
test-unit: kube $(HELM) $(VERSITYGW) $(FAKE_GCS) $(AZURITE) ## Unit tests, and tests against a real API server, a real S3 server, and emulators of Google's and Azure's stores.
	go test -parallel 4 $(PURE)
	POSE_TEST_VERSITYGW=$(VERSITYGW) POSE_TEST_FAKE_GCS=$(FAKE_GCS) POSE_TEST_AZURITE=$(AZURITE) \
		go test -race -parallel 4 -timeout 20m $$(go list ./... | grep -vxFf <(go list $(PURE) ./controllers/faults))
	go test -timeout 20m ./controllers/faults
	cd hack/cluster && go test ./...

.PHONY: faults
faults: kube ## Kill, refuse, delay and cut at every write of the manager: all that docs/reliability.md names.
	POSE_FAULTS=all go test -count=1 -timeout 30m ./controllers/faults

.PHONY: mutants
mutants: kube ## Build faults into the manager, one at a time: the tests of faults must notice each.
	go test -tags mutants -count=1 -timeout 60m -run TestMutants -v ./controllers/faults

.PHONY: fuzz
fuzz: ## Fuzz every reader of outside input, each for FUZZ_TIME (10s).
	hack/fuzz.sh

.PHONY: test-engine
test-engine: debian-packages bin/kubectl-pose ## Tests of the engines and adapters (Python), and of the exports by readers that are not ours.
	$(MAKE) -C images/mediapipe test
	$(MAKE) -C images/phalp test
	$(MAKE) -C images/onnx-pose test
	$(MAKE) -C images/openpose test
	$(MAKE) -C hack/export-check test

.PHONY: test-gateway
test-gateway: debian-packages kube $(VERSITYGW) $(PAGE)/dist/index.html ## Tests of the gateway by its own document, and of its page in a browser.
	$(MAKE) -C hack/gateway-check test
	PATH=$(dir $(NODE)):$$PATH $(MAKE) -C $(PAGE) test

# Random weights in the real architectures: STAGED, as no weights can be had here.
.demo/models/yolov8n-pose.onnx: images/onnx-pose/tests/make_models.py
	$(MAKE) -C images/onnx-pose models TO=$(CURDIR)/.demo/models

.PHONY: test-e2e
test-e2e: load .demo/models/yolov8n-pose.onnx $(HELM) $(KUBECTL) $(VERSITYGW) ## End-to-end tests on the two-node cluster.
	go test -tags e2e -count=1 -parallel 4 -timeout 30m -v ./hack/e2e

.PHONY: test
test: debian-packages lint verify test-unit test-engine test-gateway test-e2e ## All of it.

.PHONY: figures
figures: ## Print the figures that the README names (sizes, times), measured here.
	go run ./hack/figures

# The manager as it is shipped, and pprof beside: hack/bench weighs its heap.
.demo/bench/manager: $(GO_SOURCES) hack/bench/pprof.go.tmpl
	mkdir -p $(@D)
	echo '{"Replace": {"$(CURDIR)/cmd/manager/pprof.go": "$(CURDIR)/hack/bench/pprof.go.tmpl"}}' > $(@D)/overlay.json
	$(GO_BUILD) -overlay $(@D)/overlay.json -o $@ ./cmd/manager

.demo/bench/bench: $(GO_SOURCES) $(wildcard hack/bench/*.go hack/bench/*.yaml hack/bench/*.tmpl)
	go build -o $@ ./hack/bench

.PHONY: bench
bench: bench-controllers bench-transfer ## All benchmarks, each side by side with others in one run. Leave the machine alone meanwhile.

.PHONY: bench-controllers
bench-controllers: kube .demo/bench/manager .demo/bench/bench ## Compare the manager with batch/v1 Job and a bare client; 20 to 30 minutes; writes docs/benchmarks.
	.demo/bench/bench

.PHONY: bench-quick
bench-quick: kube .demo/bench/manager .demo/bench/bench ## The same in two minutes, to see that it works and that counts hold.
	.demo/bench/bench -quick

.PHONY: bench-transfer
bench-transfer: $(VERSITYGW) ## Compare downloads and uploads with other clients, side by side in one run.
	$(MAKE) -C hack/transfer bench

.PHONY: fleet
fleet: kube $(KWOK) ## Simulate what a GPU whose detector always crashes costs a hundred jobs.
	go run ./hack/fleet

.PHONY: clean
clean: cluster-down ## Remove what was built in this clone.
	rm -rf bin .demo .cluster .tools
