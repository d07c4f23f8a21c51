#!/usr/bin/env bash
# Builds Kubernetes, etcd, CoreDNS, helm and the disk provisioner from their Go modules, pinned by tools/*/go.{mod,sum},
# into $SHOAL_CLUSTER_DIR/bin. A binary is built again only when its pins changed. First build: 20 minutes on two cores.
#   build.sh            all of them
#   build.sh helm ...   only these
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
"$HERE/preflight.sh" build
ONLY=" $* "

# Builds one binary of a tool module. Several of these mains cannot be `go install`ed by version (they need replace
# directives), hence a module of our own for each that names them as tools.
build() { # BINARY MODULE PACKAGE LDFLAGS
  local binary=$1 module=$HERE/tools/$2 package=$3 ldflags="-s -w $4" pins
  [ "$ONLY" = "  " ] || [[ $ONLY == *" $binary "* ]] || return 0
  pins=$(cat "$module/go.mod" "$module/go.sum" <(echo "$package $ldflags") <(go env GOVERSION) | sha256sum)
  if [ -x "$BIN/$binary" ] && [ "$(cat "$BIN/.$binary.pins" 2>/dev/null)" = "$pins" ]; then return 0; fi
  say "building $binary"
  CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off \
    go build -C "$module" -buildvcs=false -trimpath -gcflags=all=-dwarf=false -ldflags "$ldflags" -o "$BIN/$binary.new" "$package"
  mv "$BIN/$binary.new" "$BIN/$binary" # a running cluster keeps the file it started from
  echo "$pins" > "$BIN/.$binary.pins"
}

# The version of a module that a tool module pins.
pinned() { sed -n "s#^\(require \)\?[[:space:]]*$2 \(v[^ ]*\).*#\2#p" "$HERE/tools/$1/go.mod" | head -1; }

mkdir -p "$BIN"
if [ "${CI:-false}" = true ]; then
  # On a machine that is new each time nothing is built from what was compiled, and that is some gigabytes.
  GOCACHE=$(mktemp -d "$SHOAL_CLUSTER_DIR/go-build.XXXXXX")
  export GOCACHE
  trap 'rm -rf "$GOCACHE"' EXIT
fi
kubernetes=$(pinned kubernetes k8s.io/kubernetes)
version="-X k8s.io/component-base/version.gitVersion=$kubernetes -X k8s.io/client-go/pkg/version.gitVersion=$kubernetes"
# Without a commit and a tree state the version is taken for a development build.
version="$version -X k8s.io/component-base/version.gitTreeState=clean"
for binary in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
  build "$binary" kubernetes "k8s.io/kubernetes/cmd/$binary" "$version"
done
build etcd etcd go.etcd.io/etcd/server/v3 ""
build coredns coredns github.com/coredns/coredns ""
build helm helm helm.sh/helm/v3/cmd/helm "-X helm.sh/helm/v3/internal/version.version=$(pinned helm helm.sh/helm/v3)"
build local-path-provisioner local-path-provisioner github.com/rancher/local-path-provisioner ""
say "built: ${*:-"Kubernetes $kubernetes, etcd, CoreDNS, helm, local-path-provisioner"}, in $BIN"
