#!/usr/bin/env bash
# One line about the running cluster; exits non-zero unless it is wholly healthy.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
if ! [ -f "$KUBECONFIG_ADMIN" ] || ! [ -e "/run/netns/$CONTROL_PLANE" ]; then echo "not up"; exit 1; fi
for name in etcd kube-apiserver kube-controller-manager kube-scheduler local-path-provisioner; do
  [ -d "/proc/$(cat "$RUN/pid/$name" 2>/dev/null || echo none)" ] || { echo "$name has died: see $RUN/log/$name.log"; exit 1; }
done
timeout 5 nsenter "--net=/run/netns/$CONTROL_PLANE" "$BIN/kubectl" --kubeconfig "$KUBECONFIG_ADMIN" get --raw /readyz \
  >/dev/null 2>&1 || { echo "the API server does not answer"; exit 1; }
ready=$(k get nodes --no-headers 2>/dev/null | grep -c ' Ready' || true)
dns=$(k -n kube-system get deployment coredns -o 'jsonpath={.status.readyReplicas}' 2>/dev/null || true)
echo "$ready of $NODES nodes ready, DNS ${dns:-0} of 2, kubeconfig $KUBECONFIG_ADMIN"
[ "$ready" = "$NODES" ] && [ "${dns:-0}" -gt 0 ]
