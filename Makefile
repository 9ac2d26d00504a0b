# What there is to do with QueueScaler. `make` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The image that docker-build makes and deploy runs.
IMG ?= queuescaler/queuescaler:latest
# The kubectl of install, deploy, uninstall and undeploy: it talks to your cluster.
KUBECTL ?= kubectl
DOCKER ?= docker
# What the local cluster is built from: where it can have a real node, with one.
CLUSTER := $(if $(filter Linux-0,$(shell uname)-$(shell id -u)),node-binary,cluster-binary)
# How many QueueScalers bench-reaction runs.
SCALERS ?= 100

# Tools have versions of their own, in hack/tools/go.mod.
TOOL := go tool -modfile=hack/tools/go.mod
CONTROLLER_GEN := $(TOOL) controller-gen
CRD_REF_DOCS := $(TOOL) crd-ref-docs
EXTERNALSCALER := internal/queue/external/externalscaler

##@ Try it

.PHONY: demo
demo: build cluster-binary ## Play the main job on a local cluster (KEEP=1 leaves it up)
	go build -C hack/demo -o ../../bin/demo .
	bin/demo

.PHONY: cluster-up
cluster-up: cluster-binary ## Start a local Kubernetes in the background
	bin/localcluster up --detach

.PHONY: cluster-down
cluster-down: cluster-binary ## Stop the local Kubernetes; its data stays
	bin/localcluster down

##@ Build

# With default flags, as tests have, so that both use one build cache. The Dockerfile builds what ships.
.PHONY: build
build: ## Build the operator, bin/manager
	go build -o bin/manager .

.PHONY: plugin
plugin: ## Build bin/kubectl-queuescaler; in the PATH it is kubectl queuescaler
	go build -o bin/kubectl-queuescaler ./cmd/kubectl-queuescaler

.PHONY: cluster-binary
cluster-binary: ## Build the local cluster (the first time about 8 minutes)
	hack/localcluster/build.sh

.PHONY: node-binary
node-binary: cluster-binary ## Build and install what a real node takes (Linux, root)
	hack/localcluster/needs.sh
	hack/node/build.sh

.PHONY: docker-build
docker-build: ## Build the image IMG
	$(DOCKER) build -t $(IMG) .

##@ Test

.PHONY: test
test: test-unit test-integration ## Everything that is tested

.PHONY: test-unit
test-unit: test-needs ## Tests that need no cluster
	go test -timeout 20m $$(go list ./... | grep -v /test/)

# One package at a time (-p 1): most start a cluster.
.PHONY: test-integration
test-integration: test-needs build $(CLUSTER) ## Tests on the local cluster
	go test -tags integration -count=1 -p 1 -timeout 20m ./test/...
	cd hack/demo && go test -count=1 -timeout 20m ./...
	cd hack/e2e && go test -count=1 -p 1 -timeout 20m ./...
	cd hack/localcluster && CGO_ENABLED=0 go test -trimpath -count=1 -timeout 20m \
		./internal/... ./test

.PHONY: e2e
e2e: test-needs node-binary ## The product on a real node, measured (Linux, root)
	hack/e2e/run.sh -test.skip='^TestFaults$$'

.PHONY: e2e-faults
e2e-faults: test-needs node-binary ## The product on a real node while everything fails: ROUNDS=25 SEED=1, about 4 minutes each (Linux, root)
	hack/e2e/run.sh -test.run='^TestFaults$$' -test.timeout=6h -faults.rounds=$(or $(ROUNDS),25) -faults.seed=$(or $(SEED),1) $(FAULTS)

.PHONY: test-needs
test-needs: ## Install what the tests need (Redis, PostgreSQL, RabbitMQ, Prometheus, Node.js, Celery)
	hack/test-needs.sh

.PHONY: fuzz
fuzz: ## Every fuzz target, one on each core (FUZZTIME=30s)
	hack/fuzz.sh

.PHONY: replay-incident
replay-incident: ## The incident by each policy, simulated; writes out/replay-incident.html
	go run ./hack/replay-incident

.PHONY: bench-reaction
bench-reaction: test-needs build cluster-binary ## From a backlog to added replicas (SCALERS=100)
	go run ./hack/bench-reaction -scalers $(SCALERS) -manager bin/manager

.PHONY: bench-readers
bench-readers: test-needs ## What it costs to read 1,000 queues of a server each second
	go run ./hack/bench-readers

.PHONY: bench-verdict
bench-verdict: ## False alarms and power of the verdict on a revision
	go run ./hack/bench-verdict

##@ Change the code

.PHONY: generate
generate: ## Generate the API's deep-copy functions, and Go of KEDA's external-scaler protocol
	$(CONTROLLER_GEN) object:headerFile=hack/boilerplate.go.txt paths=./api/...
	cd hack/tools && go run ./protogen ../../$(EXTERNALSCALER) externalscaler.proto \
		github.com/queuescaler/queuescaler/$(EXTERNALSCALER)

.PHONY: manifests
manifests: ## Generate the CRD and the operator's role from markers
	$(CONTROLLER_GEN) crd paths=./api/... output:crd:dir=config/crd/bases
	$(CONTROLLER_GEN) rbac:roleName=queuescaler paths=./controllers/... \
		output:rbac:dir=config/rbac

.PHONY: docs-api
docs-api: ## Generate docs/reference/api.md
	$(CRD_REF_DOCS) --source-path api --config hack/api-docs/config.yaml \
		--templates-dir hack/api-docs --renderer markdown \
		--output-path docs/reference/api.md --log-level ERROR

.PHONY: fmt
fmt: ## Format the Go code
	gofmt -w $$(git ls-files -co --exclude-standard '*.go')

.PHONY: lint
lint: ## Lint the code, and the API with kube-api-linter
	hack/lint.sh

.PHONY: verify
verify: ## Generated files, go.mod, format, vet and lint are in order
	hack/verify.sh

##@ Your own cluster

.PHONY: install
install: ## Apply the CRD
	$(KUBECTL) apply --server-side -k config/crd

.PHONY: uninstall
uninstall: ## Delete the CRD, and with it every QueueScaler
	$(KUBECTL) delete --ignore-not-found -k config/crd

.PHONY: deploy
deploy: ## Apply CRD, RBAC and the operator with the image IMG
	$(KUBECTL) kustomize config/default \
		| sed 's|: queuescaler/queuescaler:latest$$|: $(IMG)|' \
		| $(KUBECTL) apply --server-side -f -

# The CRD goes first: a QueueScaler with lent slots needs the operator to let go of them.
.PHONY: undeploy
undeploy: uninstall ## Delete all that deploy applied, every QueueScaler too
	$(KUBECTL) delete --ignore-not-found -k config/default

##@ Help

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## "; print "make TARGET" } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' Makefile
