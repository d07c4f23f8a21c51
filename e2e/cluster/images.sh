#!/usr/bin/env bash
# Images of the running cluster. There is no registry: archives are imported into every node.
#   images.sh system            makes the archives the cluster itself needs (nodes import them when they start)
#   images.sh load ARCHIVE...   imports archives into every node
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=node.sh
. "$HERE/node.sh"

# Packs an image unless it is newer than what goes into it.
pack() { # NAME SOURCE ARGUMENTS...
  local archive=$IMAGES/$1.tar name=$1 source=$2; shift 2
  if ! [ "$archive" -nt "$source" ] || ! [ "$archive" -nt "$HERE/image.py" ]; then
    python3 "$HERE/image.py" "$archive" "localhost/$name:1" "$@" >/dev/null
  fi
}

system() {
  mkdir -p "$IMAGES"
  [ "$BIN/pause" -nt "$HERE/pause.c" ] || gcc -static -Os -s -o "$BIN/pause" "$HERE/pause.c"
  pack pause "$BIN/pause" --entrypoint /pause "$BIN/pause=/pause"
  pack coredns "$BIN/coredns" --entrypoint /coredns "$BIN/coredns=/coredns"
  # Debian's static busybox, for pods that need a shell: disks are made and removed by one.
  local busybox
  busybox=$(dpkg -L busybox-static | grep -m1 'bin/busybox$')
  pack busybox "$busybox" --entrypoint /bin/sh \
    "$busybox=/bin/busybox:/bin/sh,/bin/mkdir,/bin/rm,/bin/sleep,/bin/cat,/bin/ls,/bin/dd,/bin/df"
}

load() {
  local archive node pid pids=()
  for archive in "$@"; do [ -f "$archive" ] || die "$archive is missing: make it with \`make image\`"; done
  for node in $(node_names); do
    (for archive in "$@"; do node_import "$node" "$(realpath "$archive")" || exit 1; done) &
    pids+=($!)
  done
  # One by one: a bare wait forgets how they ended, and pods would start from an older image.
  for pid in "${pids[@]}"; do wait "$pid" || die "an image could not be imported, see above"; done
  say "loaded into $(node_names | wc -l) nodes: $*"
}

case ${1:-} in
  system) system ;;
  load) shift; load "$@" ;;
  *) die "usage: images.sh system | load ARCHIVE..." ;;
esac
