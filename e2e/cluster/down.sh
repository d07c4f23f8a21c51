#!/usr/bin/env bash
# Takes the cluster down and removes every trace: processes, mounts, loop devices, network namespaces, cgroups, state.
# Finds them by what they are part of (namespaces and cgroups named shoal), so that it also clears away a run that was
# cut short, or whose state folder is gone. Processes are found by membership, never by name.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=node.sh
. "$HERE/node.sh"
[ "$(uname -s)" = Linux ] || { say "nothing to take down: not Linux"; exit 0; }
[ "$(id -u)" = 0 ] || die "not root: run again with sudo -E"

ours() {
  local netns
  for netns in $(namespaces); do namespace_pids "$netns"; done
  cgroup_pids
}

thaw_all
for _ in $(seq 100); do
  [ -n "$(ours)" ] || break
  ours | kill_listed
done
[ -z "$(ours)" ] || die "processes survived kill -9: $(ours | tr '\n' ' ')"

# Mounts of the nodes went with their namespaces; what is left was mounted by a run that was cut short.
awk -v run="$RUN/" 'index($5, run) == 1 {print $5}' /proc/self/mountinfo | sort -r | while read -r mount; do
  umount --lazy "$mount" || true
done
if command -v losetup >/dev/null; then
  losetup --list --noheadings --output NAME,BACK-FILE | awk '$2 ~ /\/shoal-disk-[^\/]*$/ {print $1}' |
    while read -r loop; do losetup --detach "$loop" || true; done
fi
for netns in $(namespaces); do ip netns del "$netns"; done
# In the hybrid layout the kernel's second hierarchy gets folders too.
for root in $(cgroup_roots) /sys/fs/cgroup/unified; do
  for _ in $(seq 50); do
    [ -d "$root/shoal" ] || break
    find "$root/shoal" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
  done
done
rm -rf --one-file-system "${RUN:?}"
say "down"
