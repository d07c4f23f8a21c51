# shellcheck shell=bash
# A node: a network and a mount namespace with a containerd, a kubelet and a kube-proxy of its own. Its files are in
# $RUN/NODE and outlive its death, as a machine's disk does. Sourced.

# The kubelet wants its root cgroup to exist, with every controller it uses.
node_cgroups() { # NODE
  local root parent controller controllers
  for root in $(cgroup_roots); do
    mkdir -p "$root/shoal/$1"
    if cgroup_v2; then
      read -ra controllers < "$root/cgroup.controllers"
      for parent in "$root" "$root/shoal" "$root/shoal/$1"; do
        for controller in "${controllers[@]}"; do
          echo "+$controller" 2>/dev/null > "$parent/cgroup.subtree_control" || free_root_cgroup "$parent" "+$controller"
        done
      done
    elif [ -e "$root/cpuset.cpus" ]; then
      for parent in "$root/shoal" "$root/shoal/$1"; do
        cat "$root/cpuset.cpus" > "$parent/cpuset.cpus"
        cat "$root/cpuset.mems" > "$parent/cpuset.mems"
      done
    fi
  done
}

# Inside a container the root cgroup is not the machine's, and then holds either processes or controllers: move the
# processes into a child and try again. Controllers that cannot be handed on are left out; the kubelet says if it needs one.
free_root_cgroup() { # CGROUP CONTROLLER
  if [ "$1" = /sys/fs/cgroup ] && [ -e "$1/cgroup.type" ]; then
    mkdir -p "$1/init"
    xargs -rn1 < "$1/cgroup.procs" 2>/dev/null > "$1/init/cgroup.procs" || true
    echo "$2" 2>/dev/null > "$1/cgroup.subtree_control" || true
  fi
}

node_files() { # NODE
  local node=$1 i=${1#node} at=$RUN/$1
  mkdir -p "$at"/{kubelet,containerd,run,pods,containers,cni,cnistate,disks,extra-disks}
  : > "$at/resolv.conf" # no way out of the cluster
  cat > "$at/containerd.toml" <<T
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  # or stale pod namespaces would stay behind in /run/netns
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
T
  cat > "$at/cni/10-pods.conflist" <<T
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "198.18.1$i.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
T
  cat > "$at/kubelet.yaml" <<T
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, x509: {clientCAFile: $RUN/pki/ca.crt}, webhook: {enabled: true}}
authorization: {mode: Webhook}
tlsCertFile: $RUN/pki/$node.crt
tlsPrivateKeyFile: $RUN/pki/$node.key
address: 198.18.0.1$i
clusterDNS: [$DNS]
clusterDomain: cluster.local
cgroupDriver: cgroupfs
cgroupRoot: /shoal/$node
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
failSwapOn: false
resolvConf: $at/resolv.conf
makeIPTablesUtilChains: false
serializeImagePulls: false
imageGCHighThresholdPercent: 100
# Nodes share the disk and memory of a machine that may be full of builds and their cached files, which is no reason to
# refuse pods; nor do kind's nodes.
evictionHard: {nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
nodeStatusUpdateFrequency: 4s
T
}

# Starts a node whose network namespace exists.
node_start() { # NODE
  node_cgroups "$1"
  node_files "$1"
  daemon "shoal-$1" "kubelet-$1" unshare --mount bash "$HERE/node-inside.sh" "$1"
  start_proxy "shoal-$1" "$1"
}

# Its kubelet ends and starts again, pods run on.
node_restart_kubelet() { # NODE
  kill "$(cat "$RUN/pid/kubelet-process-$1")" 2>/dev/null || true
}

# Ends every process of a node at once, as pulling its plug would; nothing gets to say goodbye.
node_kill() { # NODE
  thaw_all "$1"
  for _ in $(seq 100); do
    [ -n "$(namespace_pids "shoal-$1"; cgroup_pids "$1")" ] || return 0
    { namespace_pids "shoal-$1"; cgroup_pids "$1"; } | kill_listed
  done
  die "processes of $1 survived kill -9: $(namespace_pids "shoal-$1" | tr '\n' ' ')"
}

# What a power cycle loses: its network devices, and what stood in memory (/run).
node_forget() { # NODE
  ip -n "$CONTROL_PLANE" link del "v${1#node}" 2>/dev/null || true # a namespace is cleared away only some time later
  ip netns del "shoal-$1" 2>/dev/null || true
  rm -rf --one-file-system "${RUN:?}/$1/run"
}

# Frozen processes do not even die.
thaw_all() { # [NODE]
  local state
  for state in $(cgroup_files freezer.state "${1:-}"); do echo THAWED 2>/dev/null > "$state" || true; done
  for state in $(cgroup_files cgroup.freeze "${1:-}"); do echo 0 2>/dev/null > "$state" || true; done
}

# Runs a command where a node's files are: its mount and network namespaces.
node_run() { # NODE COMMAND...
  local node=$1 pid; shift
  pid=$(cat "$RUN/pid/containerd-$node" 2>/dev/null) || die "$node is not running"
  nsenter "--net=/run/netns/shoal-$node" "--mount=/proc/$pid/ns/mnt" -- "$@"
}

node_import() { # NODE ARCHIVE
  node_run "$1" ctr -n k8s.io images import "$2" >/dev/null
}
