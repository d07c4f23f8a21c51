#!/usr/bin/env bash
# Benchmarks beside peers, on the same data in the same run.
#   run.sh [DATA] [OUT]   DATA: a folder with base.f16.npy, queries.f16.npy, neighbors.i32.npy (cosine, exact); else made
#                         from the bundled sample. OUT: where pages go; else target/bench.
# PAGES names which of walk, codes, filters, footprint, ingest, over_http and replicas to make; default all, which takes some 30 minutes
# on two cores. Needs python3 with venv, and wrk for over_http; the peers come from PyPI, pinned by requirements.txt.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=target/bench
data=${1:-} out=${2:-$work}
mkdir -p "$work" "$out"
if ! cmp -s dataplane/bench/requirements.txt "$work/venv/requirements.txt"; then
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" install --quiet --requirement dataplane/bench/requirements.txt
  cp dataplane/bench/requirements.txt "$work/venv/"
fi
pages=${PAGES:-walk codes filters footprint ingest over_http replicas}
build=(-p shoal-bench)
[[ " $pages " != *" over_http "* && " $pages " != *" replicas "* ]] || build+=(-p shoal-node)
cargo build --release --locked "${build[@]}"
driver=target/$(rustc --print host-tuple)/release/shoal-bench
if [ -z "$data" ]; then
  data=$work/data
  [ -e "$data/neighbors.i32.npy" ] || "$work/venv/bin/python" dataplane/bench/data.py config/samples/wordnet "$data"
fi
for page in $pages; do
  "$work/venv/bin/python" "dataplane/bench/$page.py" "$driver" "$data" "$out"
done
