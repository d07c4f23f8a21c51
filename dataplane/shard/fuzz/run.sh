#!/usr/bin/env bash
# Runs fuzz targets under libFuzzer, guided by coverage, on the stable compiler.
#   run.sh [TARGET]    one target, or all of `shoal_shard::fuzz::TARGETS`, as many at once as there are processors
# SECS=10 is how long each runs, SEED=1 what it begins from. A corpus grows in target/fuzz/corpus/TARGET, from files of a
# real shard that tests/fuzz.rs writes there. Prints a line a target and "N passed, N failed"; an input that failed is kept
# in target/fuzz/artifacts, and `SHOAL_FUZZ_TARGET=TARGET target/fuzz/HOST/release/shoal-shard-fuzz FILE` repeats it.
set -euo pipefail
cd "$(dirname "$0")/../../.."
SECS=${SECS:-10} SEED=${SEED:-1}
out=$PWD/target/fuzz
host=$(rustc --print host-tuple)
all=(wal segment manifest snapshot small filter op)

# What cargo-fuzz sets, less the sanitizer, which only a nightly compiler has: what it would see
# beyond a panic, a fault or a hang is a stray read within what is mapped. Overflows panic here.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"

[ $# = 0 ] || [ -z "$1" ] || all=("$1")
for target in "${all[@]}"; do mkdir -p "$out/corpus/$target" "$out/artifacts" "$out/logs"; done
(unset RUSTFLAGS && SHOAL_FUZZ_CORPUS=$out/corpus cargo test --quiet --locked -p shoal-shard --test fuzz >&2)
(cd dataplane/shard/fuzz && cargo build --release --locked --target-dir "$out" --target "$host" >&2)
program=$out/$host/release/shoal-shard-fuzz

# Most targets write files. Where they are in memory, a second is worth ten.
scratch=$(TMPDIR=$([ -w /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}") mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# An input may take ten seconds and half a gigabyte: a length that is believed before it is checked takes more.
fuzz() { # TARGET
  SHOAL_FUZZ_TARGET=$1 TMPDIR=$scratch "$program" -seed="$SEED" -max_total_time="$SECS" -timeout=10 -rss_limit_mb=512 \
    -print_final_stats=1 -artifact_prefix="$out/artifacts/$1-" "$out/corpus/$1" > "$out/logs/$1" 2>&1
}

pids=()
for target in "${all[@]}"; do
  while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do sleep 0.2; done
  fuzz "$target" &
  pids+=("$!")
done
passed=0 failed=0
for at in "${!all[@]}"; do
  target=${all[at]} log=$out/logs/${all[at]}
  code=0
  wait "${pids[at]}" || code=$?
  executions=$(awk '/^stat::number_of_executed_units/ { print $2 }' "$log")
  edges=$(grep -oE ' cov: [0-9]+' "$log" | tail -1 | tr -dc 0-9 || true)
  # That it was guided is shown, not assumed: without instrumentation there are runs and no edges.
  if [ "$code" = 0 ] && [ "${executions:-0}" -gt 0 ] && [ "${edges:-0}" -gt 0 ]; then
    passed=$((passed + 1))
    echo "fuzz $target: seed $SEED, $executions executions, $edges edges"
  else
    failed=$((failed + 1))
    echo "FAILED fuzz $target, seed $SEED; the end of $log:"
    tail -40 "$log"
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
