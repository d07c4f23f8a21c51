#!/usr/bin/env bash
# Installs or upgrades Shoal by Helm into the namespace shoal-system: on the test cluster, or on the one KUBECONFIG
# names. That cluster must have, or be able to pull, the images named by SHOAL_IMAGE_PREFIX (default localhost) and
# SHOAL_IMAGE_TAG (default dev): `kind load image-archive target/images/shoal.tar`, for example.
set -euo pipefail
cd "$(dirname "$0")/.."
SHOAL_CLUSTER_DIR=${SHOAL_CLUSTER_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/shoal/cluster}
prefix=${SHOAL_IMAGE_PREFIX:-localhost} tag=${SHOAL_IMAGE_TAG:-dev}

inside=()
if [ -z "${KUBECONFIG:-}" ]; then inside=(e2e/cluster/run); else PATH=$SHOAL_CLUSTER_DIR/bin:$PATH; fi
for program in helm kubectl; do
  "${inside[@]}" bash -c "command -v $program" >/dev/null ||
    { echo "$program is missing: install it, or run e2e/cluster/build.sh" >&2; exit 1; }
done

# What a person would ask next, for the log of a run that nobody can look into any more.
explain() {
  {
    echo; echo "did not become ready; nodes, pods, events, logs:"
    "${inside[@]}" kubectl get nodes -o 'custom-columns=NODE:.metadata.name,CONDITIONS:.status.conditions[?(@.status!="False")].type,TAINTS:.spec.taints[*].key'
    "${inside[@]}" kubectl get pods --all-namespaces -o wide
    "${inside[@]}" kubectl --namespace shoal-system get events --sort-by=.lastTimestamp | tail -15
    "${inside[@]}" kubectl --namespace shoal-system logs deployment/shoal-operator --tail=20
  } >&2 || true
}
trap '[ $? = 0 ] || explain' EXIT

# The tag stays the same from build to build: a pod that is there already has to start from what was loaded last.
restart=
if "${inside[@]}" helm status shoal --namespace shoal-system >/dev/null 2>&1; then restart=yes; fi
"${inside[@]}" helm upgrade --install shoal charts/shoal --namespace shoal-system --create-namespace \
  --set "image.repository=$prefix/shoal-operator,image.tag=$tag" \
  --set "dataPlaneImage.repository=$prefix/shoal,dataPlaneImage.tag=$tag" \
  --wait --timeout 3m "$@"
[ -z "$restart" ] || "${inside[@]}" kubectl --namespace shoal-system rollout restart deployment/shoal-operator
"${inside[@]}" kubectl --namespace shoal-system rollout status deployment/shoal-operator --timeout=3m
