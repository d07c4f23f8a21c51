# shellcheck shell=bash
# What every script here shares: where things are, addresses, and a few helpers. Sourced, never run.
#
# Addresses come from 198.18.0.0/15, the range set aside for tests (RFC 2544): the control plane is 198.18.0.1, node N
# 198.18.0.1N, its pods 198.18.1N.0/24, services 198.19.0.0/20. They exist only inside the namespaces made here.
# Several of these are for the scripts that source this file.
# shellcheck disable=SC2034

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SHOAL_CLUSTER_DIR=${SHOAL_CLUSTER_DIR:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/shoal/cluster}
NODES=${SHOAL_CLUSTER_NODES:-3}
BIN=$SHOAL_CLUSTER_DIR/bin       # what build.sh made: kept between runs
IMAGES=$SHOAL_CLUSTER_DIR/images # the images the cluster itself needs: kept between runs
RUN=$SHOAL_CLUSTER_DIR/run       # state of the running cluster: gone after down.sh
CONTROL_PLANE=shoal-cp           # network namespace of the control plane
API=198.18.0.1
DNS=198.19.0.10
SERVICES=198.19.0.0/20
KUBECONFIG_ADMIN=$RUN/admin.kubeconfig

say() { printf '\033[1m[cluster]\033[0m %s\n' "$*" >&2; }
die() { printf '[cluster] error: %s\n' "$*" >&2; exit 1; }

# Runs a command until it succeeds, for up to two minutes (SHOAL_CLUSTER_PATIENCE, in seconds, for slow machines).
until_true() {
  local give_up=$((SECONDS + ${SHOAL_CLUSTER_PATIENCE:-120}))
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$give_up" ] || die "gave up waiting for: $* (logs: $RUN/log)"
    sleep 0.3
  done
}

# Runs a command in a network namespace. Not `ip netns exec`: that mounts a new /sys and hides the cgroups.
inside() { local netns=$1; shift; nsenter "--net=/run/netns/$netns" -- "$@"; }

# kubectl as the cluster's admin.
k() { inside "$CONTROL_PLANE" "$BIN/kubectl" --kubeconfig "$KUBECONFIG_ADMIN" "$@"; }

# Starts a daemon in a network namespace, with its own session, its log in log/NAME.log and its pid in pid/NAME.
daemon() { # NETNS NAME COMMAND...
  local netns=$1 name=$2; shift 2
  setsid nohup nsenter "--net=/run/netns/$netns" -- "$@" >> "$RUN/log/$name.log" 2>&1 < /dev/null &
  echo $! > "$RUN/pid/$name"
}

node_names() { local i; for i in $(seq "$NODES"); do echo "node$i"; done; }

# Network namespaces of ours that exist, whether or not the state folder does.
namespaces() { ip netns list 2>/dev/null | awk '$1 ~ /^shoal-(cp|node[0-9]+)$/ {print $1}'; }

# --- cgroups: version 1 has a hierarchy for each controller, version 2 has one for all
cgroup_v2() { [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; }

cgroup_roots() {
  if cgroup_v2; then
    echo /sys/fs/cgroup
  else
    find /sys/fs/cgroup -mindepth 1 -maxdepth 1 -type d ! -name unified
  fi
}

# Files of that name in the cgroups of a node, or of all nodes. Cgroups go away while we look: never fails.
cgroup_files() { # FILE [NODE]
  local root
  for root in $(cgroup_roots); do find "$root/shoal${2:+/$2}" -name "$1" 2>/dev/null || true; done
}

# Every process in the cgroups of a node, or of all nodes: pods have network namespaces of their own, so this is where
# their processes are found.
cgroup_pids() { # [NODE]
  local file
  for file in $(cgroup_files cgroup.procs "${1:-}"); do cat "$file" 2>/dev/null || true; done | sort -un
}

# Every process that runs in a network namespace of ours.
namespace_pids() { local netns; for netns in "$@"; do ip netns pids "$netns" 2>/dev/null || true; done; }

# Kills the processes listed on stdin. Killing can uncover more (a shim's child), so callers loop until their list is
# empty.
kill_listed() { xargs -r kill -9 2>/dev/null || true; sleep 0.1; }
