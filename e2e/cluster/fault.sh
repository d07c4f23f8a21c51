#!/usr/bin/env bash
# Bad days, for tests: each does to the cluster what a machine, a network or a disk does to a real one.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=network.sh
. "$HERE/network.sh"
# shellcheck source=control-plane.sh
. "$HERE/control-plane.sh"
# shellcheck source=node.sh
. "$HERE/node.sh"

usage() {
  cat >&2 <<'U'
usage: fault.sh node-kill NODE            every process of the node dies at once, its disk stays
       fault.sh node-start NODE           the node boots again
       fault.sh node-cut NODE             its network cable is pulled; pods run on
       fault.sh node-join NODE            and plugged in again
       fault.sh pod-kill NAMESPACE POD    kill -9 of the pod's processes; the kubelet starts them again
       fault.sh pod-freeze NAMESPACE POD  they stop where they are, sockets open
       fault.sh pod-thaw NAMESPACE POD
       fault.sh pod-usage NAMESPACE POD   prints resident bytes and milliseconds of processor time
       fault.sh api-pause                 the API server stops answering
       fault.sh api-resume
       fault.sh api-slow                  until its input ends, it answers for 100 ms out of 500
       fault.sh api-kill                  the API server dies
       fault.sh api-start
       fault.sh etcd-save NAME            a backup of all objects
       fault.sh etcd-restore NAME         etcd, and all that watch it, start again from that backup
       fault.sh image-tag IMAGE NAME      gives an image of every node another name
       fault.sh disk-make NODE NAME MIB   a small ext4 disk on the node; prints its path there, for a local volume
       fault.sh disk-free NODE NAME
U
  exit 2
}

# No `| grep -q`: it may leave while node_names still writes, and with pipefail a node that is there would be refused.
known_node() {
  local names
  names=" $(node_names | tr '\n' ' ')"
  case $names in *" ${1:-none} "*) ;; *) die "no node ${1:-}: there are$names" ;; esac
}

pid_of() { cat "$RUN/pid/$1" 2>/dev/null || die "$1 was not started by up.sh"; }

# A pod's cgroup in each hierarchy; fails when there is none.
pod_cgroups() { # NAMESPACE POD
  local uid found root
  uid=$(k -n "$1" get pod "$2" -o 'jsonpath={.metadata.uid}')
  found=$(for root in $(cgroup_roots); do find "$root/shoal" -type d -name "pod$uid" 2>/dev/null; done)
  [ -n "$found" ] || die "pod $1/$2 ($uid) runs on no node here"
  echo "$found"
}

# All processes of a pod but the one that holds its namespaces: killing that would make a new pod sandbox.
pod_pids() { # NAMESPACE POD
  local pid
  pod_cgroups "$1" "$2" | while read -r group; do find "$group" -name cgroup.procs -exec cat {} +; done | sort -un |
    while read -r pid; do
      [ "$(readlink "/proc/$pid/exe" 2>/dev/null)" = /pause ] || echo "$pid"
    done
}

pod_usage() {
  local pid rss=0 ticks=0 kilobytes stat
  for pid in $(pod_pids "$1" "$2"); do
    kilobytes=$(awk '/^VmRSS:/ {print $2}' "/proc/$pid/status")
    # Fields 14 and 15, user and system time, counted from behind the program's name, which may hold spaces.
    stat=$(sed 's/.*) //' "/proc/$pid/stat" | awk '{print $12 + $13}')
    rss=$((rss + kilobytes * 1024)) ticks=$((ticks + stat))
  done
  echo "$rss $((ticks * 1000 / $(getconf CLK_TCK)))"
}

pod_freezer() { # NAMESPACE POD freeze|thaw
  local group state=THAWED flag=0
  [ "$3" = thaw ] || { state=FROZEN flag=1; }
  pod_cgroups "$1" "$2" | while read -r group; do
    if [ -e "$group/freezer.state" ]; then echo $state > "$group/freezer.state"; fi
    if [ -e "$group/cgroup.freeze" ]; then echo $flag > "$group/cgroup.freeze"; fi
  done
}

disk_make() { # NODE NAME MIB
  local file=$RUN/$1/shoal-disk-$2.ext4
  truncate -s "${3}M" "$file"
  mkfs.ext4 -q -m 0 "$file"
  node_run "$1" mkdir -p "/mnt/disks/$2"
  node_run "$1" mount -o loop "$file" "/mnt/disks/$2"
  node_run "$1" rmdir "/mnt/disks/$2/lost+found"
  echo "/mnt/disks/$2"
}

# What a copy of its files in one moment is to etcd, a crash is too: it starts from it.
etcd_save() { # NAME
  rm -rf "$RUN/etcd-$1"
  kill -STOP "$(pid_of etcd)"
  cp -a "$RUN/etcd" "$RUN/etcd-$1" || { kill -CONT "$(pid_of etcd)"; die "no copy of etcd"; }
  kill -CONT "$(pid_of etcd)"
}

# As Kubernetes' own instructions say, what has cached later objects starts again: controllers, scheduler, kubelets. Pods
# go on meanwhile, and so does all that is not of the control plane.
etcd_restore() { # NAME
  [ -d "$RUN/etcd-$1" ] || die "no backup $1"
  local name node
  for name in kube-apiserver etcd kube-controller-manager kube-scheduler local-path-provisioner; do
    kill -9 "$(pid_of "$name")" 2>/dev/null || true
  done
  rm -rf "$RUN/etcd"
  cp -a "$RUN/etcd-$1" "$RUN/etcd"
  start_etcd
  start_api_server
  until_true k get --raw /readyz
  start_controllers
  for node in $(node_names); do node_restart_kubelet "$node"; done
}

# Ends with its input, so that it does not outlive a test that ends in the middle.
api_slow() {
  local ended pid
  pid=$(pid_of kube-apiserver)
  while true; do
    kill -STOP "$pid"; sleep 0.4; kill -CONT "$pid"
    ended=0; read -rt 0.1 || ended=$?
    [ $ended -gt 128 ] || return 0
  done
}

image_tag() { # IMAGE NAME
  local node
  for node in $(node_names); do node_run "$node" ctr -n k8s.io images tag --force "$1" "$2" >/dev/null; done
}

disk_free() { # NODE NAME
  node_run "$1" umount --lazy "/mnt/disks/$2"
  rm -f "$RUN/$1/shoal-disk-$2.ext4"
}

command=${1:-}; shift || usage
case $command in
  node-*) known_node "${1:-}" ;;
  pod-*) [ $# = 2 ] || usage ;;
esac
case $command in
  node-kill) node_kill "$1" ;;
  node-start) node_kill "$1"; node_forget "$1"; network_node "$1"; node_start "$1" ;;
  node-cut) ip -n "$CONTROL_PLANE" link set "v${1#node}" down ;;
  node-join) ip -n "$CONTROL_PLANE" link set "v${1#node}" up ;;
  pod-kill) pod_pids "$@" | kill_listed ;;
  pod-usage) pod_usage "$@" ;;
  pod-freeze) pod_freezer "$@" freeze ;;
  pod-thaw) pod_freezer "$@" thaw ;;
  api-pause) kill -STOP "$(pid_of kube-apiserver)" ;;
  api-resume) kill -CONT "$(pid_of kube-apiserver)" ;;
  api-slow) api_slow ;;
  api-kill) kill -9 "$(pid_of kube-apiserver)" ;;
  api-start) start_api_server; until_true k get --raw /readyz ;;
  etcd-save) [ $# = 1 ] || usage; etcd_save "$1" ;;
  etcd-restore) [ $# = 1 ] || usage; etcd_restore "$1" ;;
  image-tag) [ $# = 2 ] || usage; image_tag "$@" ;;
  disk-make) [ $# = 3 ] || usage; known_node "$1"; disk_make "$@" ;;
  disk-free) [ $# = 2 ] || usage; known_node "$1"; disk_free "$@" ;;
  *) usage ;;
esac
