# Everything one does with this repository. `make help` lists it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

HOST := $(shell rustc --print host-tuple 2>/dev/null)
RELEASE := target/$(HOST)/release
CLUSTER := e2e/cluster
CACHE := $(or $(SHOAL_CLUSTER_DIR),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/shoal/cluster)
IMAGES := target/images
TAG := dev

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## --- build and run
.PHONY: build run generate manifests clean
build: ## compile everything (debug)
	cargo build --workspace --locked

run: ## build the server, start it on 127.0.0.1:6333, load the sample, search it, go on serving
	cargo build --release --locked -p shoal-node
	$(RELEASE)/shoal serve --data data --listen 127.0.0.1:6333 --sample config/samples/wordnet

generate: ## write crds/*.yaml, docs/api.md and what is made from them
	cargo run --locked -p shoal-crds --bin crdgen

manifests: ## render the chart to config/install/shoal.yaml, for who does not use Helm
	$(CLUSTER)/build.sh helm
	config/install/render.sh > config/install/shoal.yaml.new
	mv config/install/shoal.yaml.new config/install/shoal.yaml

clean: ## remove what was built here (not the cluster's cache)
	cargo clean

## --- tests
.PHONY: test lint unit fuzz model sim crash chaos schema clients chart-test e2e
test: ## run every test there is; say what this machine cannot run (CI=true: fail then)
	@e2e/suite.sh lint unit fuzz crash schema clients chart e2e

lint: ## formatting, clippy as errors, licences of dependencies, shell scripts
	@e2e/suite.sh lint

unit: ## unit, property and process tests of every crate
	@e2e/suite.sh unit

fuzz: ## what reads bytes from disks and sockets, under libFuzzer: TARGET, SECS each (10), SEED (1)
	@SECS=$(or $(SECS),10) SEED=$(or $(SEED),1) dataplane/shard/fuzz/run.sh $(TARGET)

model: ## random ops, restarts and crashes at every fail point against a plain model: SEED is the first, SEEDS how many
	SHOAL_SEED=$(or $(SEED),0) SHOAL_SEEDS=$(or $(SEEDS),$(if $(SEED),1,1000)) \
	  cargo test --locked -p shoal-shard --test model -- --nocapture

sim: ## replicas, their disks and network, the register and clients from one seed: SEED is the first, SEEDS how many, MISTAKE a rule to break; WHOLE=1 with whole shards on real disks, ROUTED=1 with routers
	@cargo run --release --locked -q -p shoal-sim -- $(if $(WHOLE),whole)$(if $(ROUTED),routed) $(or $(SEED),0) $(or $(SEEDS),$(if $(SEED),1,1000)) $(MISTAKE)

crash: ## kill -9 loop on `shoal serve` under writes
	@e2e/suite.sh crash

chaos: ## replicas as real processes that are killed, paused, cut off and out of disk, and a history that is checked: ROUNDS (50), SEED; WIPES=1 wipes disks too, ONLY=KillPrimary does nothing else
	@mkdir -p target/test-logs
	@code=0; SHOAL_CHAOS_ROUNDS=$(or $(ROUNDS),50) SHOAL_CHAOS_SEED=$(SEED) SHOAL_CHAOS_WIPES=$(WIPES) SHOAL_CHAOS_ONLY=$(ONLY) \
	  cargo test --locked -p shoal-node --test chaos -- --nocapture three_replicas 2>&1 | tee target/test-logs/chaos.log || code=$$?; \
	  grep '^chaos: faults' target/test-logs/chaos.log | tail -1; exit $$code

schema: ## CRDs and the operator on an API server alone
	@e2e/suite.sh schema

clients: ## the unmodified qdrant-client from PyPI against a server
	@e2e/suite.sh clients

chart-test: ## helm lint, rendered manifests, values
	@e2e/suite.sh chart

e2e: ## end to end on a cluster: three nodes here, or the one that KUBECONFIG names
	@e2e/suite.sh e2e

## --- benchmarks
.PHONY: bench
bench: ## search, also over HTTP, filters, ingest and memory beside peers, codes beside vectors, replicas beside a lone shard, on DATA or the sample scaled up; pages go to OUT or target/bench
	@dataplane/bench/run.sh "$(DATA)" "$(OUT)"

## --- images
.PHONY: image image-load
image: ## pack both images as OCI archives into target/images
	cargo build --release --locked -p shoal-node -p shoal-operator
	@mkdir -p $(IMAGES)
	@for program in shoal shoal-operator; do \
	  strip --strip-debug -o $(IMAGES)/$$program $(RELEASE)/$$program; \
	  $(CLUSTER)/image.py $(IMAGES)/$$program.tar localhost/$$program:$(TAG) --user 65532:65532 \
	    --entrypoint /$$program $(IMAGES)/$$program=/$$program; \
	  rm $(IMAGES)/$$program; \
	done

image-load: ## import the packed images into every node of the test cluster
	$(CLUSTER)/images.sh load $(IMAGES)/shoal.tar $(IMAGES)/shoal-operator.tar

## --- a cluster on this machine (Linux, root)
.PHONY: cluster-up cluster-down deploy demo
cluster-up: ## start a real three-node Kubernetes on this machine, without Docker
	@$(CLUSTER)/up.sh

cluster-down: ## remove it and every trace of it
	@$(CLUSTER)/down.sh

deploy: ## install or upgrade Shoal on the test cluster, or on the one KUBECONFIG names
	@e2e/deploy.sh

demo: ## cluster, images, deploy, sample, two searches: all of Shoal in one command
	@e2e/demo.sh
