#!/usr/bin/env bash
# The first process of a node's mount namespace, started by node_start: puts the node's own folders where containerd,
# the kubelet and CNI look by default, starts containerd, and runs the kubelet, anew whenever that ends, as systemd does.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
node=$1 at=$RUN/$1

mount --make-rprivate /
bind() { mkdir -p "$2"; mount --bind "$at/$1" "$2"; }
bind kubelet /var/lib/kubelet
bind containerd /var/lib/containerd
bind run /run/containerd
bind pods /var/log/pods
bind containers /var/log/containers
bind cni /etc/cni/net.d
bind cnistate /var/lib/cni
bind disks /opt/local-path-provisioner
bind extra-disks /mnt/disks
mount --make-rshared / # mounts made for pods must reach them

containerd -c "$at/containerd.toml" >> "$RUN/log/containerd-$node.log" 2>&1 &
echo $! > "$RUN/pid/containerd-$node"
until_true ctr version
for archive in "$IMAGES"/*.tar; do ctr -n k8s.io images import "$archive" >/dev/null; done
while true; do
  "$BIN/kubelet" --config "$at/kubelet.yaml" --kubeconfig "$RUN/$node.kubeconfig" --hostname-override "$node" \
    --node-ip "198.18.0.1${node#node}" --node-labels "topology.kubernetes.io/zone=zone${node#node}" &
  echo $! > "$RUN/pid/kubelet-process-$node"
  wait $! || true
  sleep 1
done
