#!/usr/bin/env bash
# Brings up a real Kubernetes on this machine: one control plane and three nodes, without Docker. Leaves a healthy one
# as it is; clears away what is left of any other. See README.md.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=pki.sh
. "$HERE/pki.sh"
# shellcheck source=network.sh
. "$HERE/network.sh"
# shellcheck source=control-plane.sh
. "$HERE/control-plane.sh"
# shellcheck source=node.sh
. "$HERE/node.sh"

all_ready() { [ "$(k get nodes --no-headers 2>/dev/null | grep -c ' Ready')" = "$NODES" ]; }

if "$HERE/status.sh" >/dev/null 2>&1; then
  say "already up: $("$HERE/status.sh")"
  exit 0
fi
"$HERE/preflight.sh"
"$HERE/build.sh"
"$HERE/images.sh" system
"$HERE/down.sh"

began=$SECONDS
trap '[ $? = 0 ] || say "did not come up: see $RUN/log, then down.sh"' EXIT
mkdir -p "$RUN"/{log,pid}
pki_make
network_control_plane
for node in $(node_names); do network_node "$node"; done
start_control_plane
for node in $(node_names); do node_start "$node"; done
until_true all_ready
k apply -f "$HERE/manifests/dns.yaml" >/dev/null
k -n kube-system rollout status deployment/coredns --timeout="${SHOAL_CLUSTER_PATIENCE:-120}s" >/dev/null
k get nodes >&2
say "up after $((SECONDS - began)) s; try: $HERE/kubectl get pods -A"
