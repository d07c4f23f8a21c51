#!/usr/bin/env bash
# Saves what one wants to see after a failure: objects, events, logs of pods and daemons. Never fails.
#   logs.sh FOLDER
set -uo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
to=${1:?usage: logs.sh FOLDER}
mkdir -p "$to/pods"
if "$HERE/kubectl" get --raw /readyz >/dev/null 2>&1; then
  for namespace in $("$HERE/kubectl" get namespaces -o 'jsonpath={.items[*].metadata.name}'); do
    for pod in $("$HERE/kubectl" -n "$namespace" get pods -o 'jsonpath={.items[*].metadata.name}'); do
      "$HERE/kubectl" -n "$namespace" logs "$pod" --all-containers --tail=5000 > "$to/pods/$namespace.$pod.log" 2>&1
      "$HERE/kubectl" -n "$namespace" logs "$pod" --all-containers --tail=5000 --previous \
        > "$to/pods/$namespace.$pod.previous.log" 2>/dev/null || rm -f "$to/pods/$namespace.$pod.previous.log"
    done
  done
  "$HERE/kubectl" get all,pvc,pv,vectorcollections,shards -A -o wide > "$to/objects.txt" 2>&1
  "$HERE/kubectl" get vectorcollections,shards,pods,statefulsets,pvc -A -o yaml > "$to/objects.yaml" 2>&1
  "$HERE/kubectl" get events -A --sort-by=.lastTimestamp > "$to/events.txt" 2>&1
fi
[ ! -d "$RUN/log" ] || cp -r "$RUN/log" "$to/daemons"
say "logs are in $to"
