# Pinned tools, each built once from its own Go module into $(TOOLS_BIN).
# Include this file from the root Makefile; targets are file targets, so
# "depend on $(TOOLS_BIN)/helm" is all that a rule needs to say.

TOOLS_ROOT := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))/../..)
TOOLS_BIN ?= $(TOOLS_ROOT)/.tools/bin
# envtest finds etcd, kube-apiserver and kubectl here.
KUBE_ASSETS := $(TOOLS_BIN)/kube-assets
export KUBEBUILDER_ASSETS ?= $(KUBE_ASSETS)

CONTROLLER_GEN := $(TOOLS_BIN)/controller-gen
CRD_REF_DOCS := $(TOOLS_BIN)/crd-ref-docs
GOLANGCI_LINT := $(TOOLS_BIN)/golangci-lint
HELM := $(TOOLS_BIN)/helm
VERSITYGW := $(TOOLS_BIN)/versitygw
FAKE_GCS := $(TOOLS_BIN)/fake-gcs-server
AZURITE := $(TOOLS_BIN)/azurite/node_modules/.bin/azurite-blob
COREDNS := $(TOOLS_BIN)/coredns
KWOK := $(TOOLS_BIN)/kwok
KUBE := $(TOOLS_BIN)/kube
KUBECTL := $(KUBE_ASSETS)/kubectl
CLUSTER := $(TOOLS_BIN)/cluster
NODE := $(TOOLS_ROOT)/.tools/venv-node/bin/node

KUBE_VERSION := 1.37.2
kube_components := etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl
# kubelet and API server compare each other's version, which "go build" does
# not know.
kube_version_flags := $(foreach v,gitVersion=v$(KUBE_VERSION) \
	gitMajor=$(word 1,$(subst ., ,$(KUBE_VERSION))) gitMinor=$(word 2,$(subst ., ,$(KUBE_VERSION))) \
	gitTreeState=clean,-X k8s.io/component-base/version.$(v))

# Static binaries: coredns and pause go into images made from scratch. The
# rename lets a running test or cluster keep the binary that it began with.
tool_build = CGO_ENABLED=0 nice go build -C $(1) -trimpath -ldflags "-s -w $(3)" -o $@.new $(2) && mv -f $@.new $@

# $(call tool,NAME,PACKAGE): NAME from hack/tools/NAME.
define tool
$(TOOLS_BIN)/$(1): $(TOOLS_ROOT)/hack/tools/$(1)/go.mod $(TOOLS_ROOT)/hack/tools/$(1)/go.sum
	@echo "building $(1) (once)"
	@$$(call tool_build,$(TOOLS_ROOT)/hack/tools/$(1),$(2),)
endef

$(eval $(call tool,controller-gen,sigs.k8s.io/controller-tools/cmd/controller-gen))
$(eval $(call tool,crd-ref-docs,github.com/elastic/crd-ref-docs))
$(eval $(call tool,golangci-lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint))
$(eval $(call tool,helm,helm.sh/helm/v4/cmd/helm))
$(eval $(call tool,versitygw,github.com/versity/versitygw/cmd/versitygw))
$(eval $(call tool,fake-gcs-server,github.com/fsouza/fake-gcs-server))
$(eval $(call tool,coredns,github.com/coredns/coredns))
$(eval $(call tool,kwok,sigs.k8s.io/kwok/cmd/kwok))

$(NODE): $(TOOLS_ROOT)/hack/tools/node/requirements.txt
	@echo "installing Node.js (once)"
	@python3 -m venv $(TOOLS_ROOT)/.tools/venv-node && $(TOOLS_ROOT)/.tools/venv-node/bin/pip --quiet --disable-pip-version-check install -r $< && touch $@

# Azure's own emulator of Blob Storage. It is JavaScript: without node the tests
# that need it are skipped, and say so.
$(AZURITE): $(TOOLS_ROOT)/hack/tools/azurite/package.json $(TOOLS_ROOT)/hack/tools/azurite/package-lock.json
	@if command -v npm >/dev/null; then \
		echo "installing azurite (once)"; \
		rm -rf $(TOOLS_BIN)/azurite && mkdir -p $(TOOLS_BIN)/azurite && cp $^ $(TOOLS_BIN)/azurite && \
		nice npm ci --prefix $(TOOLS_BIN)/azurite --ignore-scripts --no-audit --no-fund --loglevel=error && touch $@; \
	else \
		echo "WARNING: npm is missing (apt-get install npm), so the tests of azblob:// will be SKIPPED" >&2; \
	fi

$(KUBE): $(TOOLS_ROOT)/hack/kube/main.go $(TOOLS_ROOT)/hack/kube/dispatch/dispatch.go $(TOOLS_ROOT)/hack/kube/go.mod $(TOOLS_ROOT)/hack/kube/go.sum
	@echo "building Kubernetes $(KUBE_VERSION) (once; 6-10 minutes on 2 cores when Go's cache is empty)"
	@$(call tool_build,$(TOOLS_ROOT)/hack/kube,.,$(kube_version_flags))

$(KUBE_ASSETS)/.stamp: $(KUBE)
	@mkdir -p $(@D)
	@for component in $(kube_components); do ln -sfn ../kube $(@D)/$$component || exit; done
	@touch $@

$(foreach component,$(kube_components),$(KUBE_ASSETS)/$(component)): $(KUBE_ASSETS)/.stamp ;

cluster_sources := $(shell find $(TOOLS_ROOT)/hack/cluster -type f -not -name '*_test.go' -not -name '*.md' -not -path '*/testdata/*')

$(CLUSTER) $(TOOLS_BIN)/pause: $(TOOLS_BIN)/%: $(cluster_sources)
	@echo "building $*"
	@$(call tool_build,$(TOOLS_ROOT)/hack/cluster,$(if $(filter pause,$*),./pause,.),)

.PHONY: tools kube cluster debian-packages

tools: $(CONTROLLER_GEN) $(GOLANGCI_LINT) $(HELM) $(VERSITYGW) $(FAKE_GCS) ## Build the pinned tools.

kube: $(KUBE_ASSETS)/.stamp ## Build Kubernetes' components; their folder is KUBEBUILDER_ASSETS.

cluster: kube $(COREDNS) $(TOOLS_BIN)/pause $(CLUSTER) ## Build all that "cluster up" needs.

debian-packages: ## Install the Debian packages that the local cluster and the images need.
	@$(TOOLS_ROOT)/hack/tools/debian-packages.sh
