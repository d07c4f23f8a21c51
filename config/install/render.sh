#!/usr/bin/env bash
# Prints the chart as plain manifests, for who installs without Helm. `make manifests` writes them to shoal.yaml here; a
# test compares the two.
set -euo pipefail
cd "$(dirname "$0")/../.."
# The pinned one first, so that everybody renders the same.
helm=${HELM:-${SHOAL_CLUSTER_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/shoal/cluster}/bin/helm}
[ -x "$helm" ] || helm=$(command -v helm) || { echo "helm is missing: install it, or run e2e/cluster/build.sh" >&2; exit 1; }

cat <<'HEAD'
# Shoal's operator as plain manifests: kubectl apply --server-side -f config/install/shoal.yaml
# Made from charts/shoal by `make manifests`; edits here are lost. The images are those that `make image` builds: put
# your own names in place of localhost/shoal-operator:dev and localhost/shoal:dev, by hand or with kustomize.
apiVersion: v1
kind: Namespace
metadata:
  name: shoal-system
  labels:
    pod-security.kubernetes.io/enforce: restricted
HEAD
# The version is only what the chart's own demand is compared with.
rendered=$("$helm" template shoal charts/shoal --namespace shoal-system --no-hooks --kube-version 1.34.0 \
  --set image.tag=dev,dataPlaneImage.tag=dev)
sed -e 's|app.kubernetes.io/managed-by: Helm|app.kubernetes.io/managed-by: kubectl|' -e '/helm.sh\/chart: /d' <<< "$rendered"
