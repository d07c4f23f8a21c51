#!/usr/bin/env bash
# Says whether the cluster can run here, and everything that is missing at once; installs Debian packages where it may.
#   preflight.sh         everything the cluster needs
#   preflight.sh build   what building its binaries needs
#   preflight.sh check   as without argument, but installs nothing
# Exits 0 when all is there, 1 when something is missing that a person can add, 2 where it can never run.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
WHAT=${1:-all}
GO_NEEDED=$(sed -n 's/^go //p' "$HERE"/tools/*/go.mod | sort -V | tail -1)

# A command (or file) and the Debian package that brings it.
NEEDS=(
  "containerd containerd" "ctr containerd" "runc runc" "/usr/lib/cni/bridge containernetworking-plugins"
  "ip iproute2" "iptables iptables" "nft nftables" "conntrack conntrack" "openssl openssl" "gcc gcc" "python3 python3"
  "nsenter util-linux" "setsid util-linux" "losetup mount" "mkfs.ext4 e2fsprogs" "sysctl procps"
  "/usr/share/doc/busybox-static busybox-static"
)

found() { case $1 in /*) [ -e "$1" ] ;; *) command -v "$1" >/dev/null ;; esac; }

missing_packages() {
  local need
  for need in "${NEEDS[@]}"; do found "${need% *}" || echo "${need#* }"; done | sort -u
}

problems=()
if [ "$(uname -s)" != Linux ]; then
  echo "cannot run here: nodes are network and mount namespaces, which only Linux has (this is $(uname -s))" >&2
  exit 2
fi

if ! command -v go >/dev/null; then
  problems+=("go is missing: install Go $GO_NEEDED or newer, from https://go.dev/dl")
else
  version=$(go env GOVERSION | sed 's/^go//; s/[^0-9.].*//')
  if [ "$(printf '%s\n%s\n' "$GO_NEEDED" "$version" | sort -V | head -1)" != "$GO_NEEDED" ]; then
    problems+=("go $version is too old: install Go $GO_NEEDED or newer")
  fi
fi

# The API server alone needs only a certificate.
[ "$WHAT" != build ] || NEEDS=("openssl openssl")
packages=$(missing_packages)
if [ -n "$packages" ] && [ "$WHAT" != check ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  # shellcheck disable=SC2086 # one word each
  say "installing Debian packages:" $packages
  log=$(mktemp)
  # An update may fail for a source that has nothing to do with this; the installation tells.
  # shellcheck disable=SC2086
  { apt-get update; DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages; } \
    > "$log" 2>&1 < /dev/null || { tail -20 "$log" >&2; problems+=("apt-get failed, see above"); }
  rm -f "$log"
fi
packages=$(missing_packages)
[ -z "$packages" ] || problems+=("programs of these Debian packages: ${packages//$'\n'/ }")

if [ "$WHAT" != build ]; then
  if [ "$(id -u)" != 0 ]; then
    problems+=("not root: namespaces, mounts and cgroups need it; run again with sudo -E")
  else
    if ! unshare --net --mount true 2>/dev/null; then
      problems+=("no right to make namespaces: in a container, give it --privileged")
    fi
    if ! [ -w /sys/fs/cgroup ] || [ -z "$(cgroup_roots)" ]; then
      problems+=("/sys/fs/cgroup is missing or not writable: in a container, give it --privileged and its own cgroups")
    fi
  fi
fi

if [ "${#problems[@]}" -gt 0 ]; then
  printf 'missing: %s\n' "${problems[@]}" >&2
  exit 1
fi
