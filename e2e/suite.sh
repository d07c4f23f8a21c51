#!/usr/bin/env bash
# Runs parts of the tests and counts them. `make test` runs all parts, `make unit` and its like one each.
#   suite.sh lint|unit|fuzz|crash|schema|clients|chart|e2e ...
# Output goes to target/test-logs/PART.STEP.log; its end is shown when it fails. A part this machine cannot run is
# skipped, loudly; with CI=true a skip is a failure. The counts go to target/test-logs/summary, the last line printed is
# "N passed, N failed": every test that cargo ran, and one for each step of the other parts.
# SHOAL_E2E_FILTER runs only the end to end tests of that name, SHOAL_KEEP_CLUSTER=1 leaves the cluster up.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
LOGS=target/test-logs
CI=${CI:-false}
SHOAL_CLUSTER_DIR=${SHOAL_CLUSTER_DIR:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/shoal/cluster}
export SHOAL_CLUSTER_DIR CARGO_TERM_COLOR=never
# Backtraces of panics help; those of errors that a test returns only hide which one it was.
export RUST_LIB_BACKTRACE=0
passed=0 failed=0 skipped=0
ours= # whether this run started the cluster
mkdir -p "$LOGS"
: > "$LOGS/figures"

# One step of a part: the command's output is logged; it counts as one test unless its output holds cargo's or our own
# counts.
step() { # PART NAME COMMAND...
  local part=$1 name=$2 log=$LOGS/$1.$2.log began=$SECONDS code=0 pass fail; shift 2
  "$@" > "$log" 2>&1 < /dev/null || code=$?
  read -r pass fail < <(counts "$log")
  if [ $((pass + fail)) = 0 ]; then pass=$((code == 0)) fail=$((code != 0)); fi
  # A run that died without a verdict (it did not compile, or crashed) is a failure of its own.
  if [ "$code" != 0 ] && [ "$fail" = 0 ]; then fail=1; fi
  passed=$((passed + pass)) failed=$((failed + fail))
  # Tests that skip themselves say so in their output.
  if grep -q '^\*\*\* SKIPPED: ' "$log"; then skip "$part/$name" "$(sed -n 's/^\*\*\* SKIPPED: //p' "$log")"; fi
  if [ "$code" = 0 ] && [ "$fail" = 0 ]; then
    printf 'ok    %-28s %5d passed %5d s\n' "$part/$name" "$pass" $((SECONDS - began))
  else
    printf 'FAIL  %-28s %5d passed, %d failed, exit code %d, %d s; the end of %s:\n' "$part/$name" "$pass" "$fail" "$code" \
      $((SECONDS - began)) "$log"
    grep -E '^(error|Error: |test .*FAILED|---- .* stdout ----|.*panicked at)' "$log" | head -20 | sed 's/^/    > /'
    # The names that cargo lists last; where tests print as they go, their own lines do not end in a verdict.
    awk '/^failures:$/ { names = ""; next } /^    [a-z_0-9:]+$/ { names = names $0 "\n" } END { printf "%s", names }' "$log" |
      sort -u | sed 's/^ */    > failed: /'
    tail -60 "$log" | sed 's/^/    /'
    return 1
  fi
}

counts() { # LOG -> PASSED FAILED, from "test result: ok. 3 passed; 0 failed" and lines "3 passed, 0 failed"
  awk '
    /^test result: / { for (i = 2; i <= NF; i++) { if ($i == "passed;") p += $(i-1); if ($i == "failed;") f += $(i-1) } }
    /^[0-9]+ passed, [0-9]+ failed$/ { p += $1; f += $3 }
    END { print p + 0, f + 0 }' "$1"
}

skip() { # PART REASON
  skipped=$((skipped + 1))
  printf '\n****  SKIPPED: %s\n****  %s\n\n' "$1" "$2"
  if [ "$CI" = true ]; then failed=$((failed + 1)); echo "CI=true: a skip is a failure"; fi
}

root_on_linux() { [ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ]; }

check_scripts() {
  git ls-files -z '*.sh' .ci/run e2e/cluster/run e2e/cluster/kubectl | xargs -0 shellcheck -x -P SCRIPTDIR
}

lint() {
  step lint fmt cargo fmt --all --check
  step lint clippy cargo clippy --workspace --all-targets --test kube_topology --test kube_register --locked -- -D warnings
  step lint licences e2e/licences.py
  if ! command -v shellcheck >/dev/null && root_on_linux && command -v apt-get >/dev/null; then
    { apt-get update && apt-get install -y --no-install-recommends shellcheck; } >/dev/null 2>&1 < /dev/null
  fi
  if command -v shellcheck >/dev/null; then
    step lint shellcheck check_scripts
  else
    skip lint/shellcheck "shellcheck is missing: install the package of that name"
  fi
}

# The crash loop makes a few rounds here; all of them are the part `crash`.
unit() {
  SHOAL_CRASH_ROUNDS=${SHOAL_CRASH_ROUNDS:-3} step unit cargo cargo test --workspace --exclude shoal-e2e --locked --no-fail-fast
  step unit image-same-bytes same_bytes
  neon
}

# What is compiled for processors of the other kind, run by an emulator: the same answers, bit for bit.
neon() {
  case $(uname -m) in aarch64 | arm64) return ;; esac # the part itself ran them
  local target=aarch64-unknown-linux-gnu name=CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU
  emulates() { command -v qemu-aarch64 && command -v aarch64-linux-gnu-gcc; } >/dev/null
  if ! emulates && root_on_linux && command -v apt-get >/dev/null; then
    { apt-get update && apt-get install -y --no-install-recommends qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross; } \
      >/dev/null 2>&1 < /dev/null
  fi
  if ! emulates || ! rustup target add $target >/dev/null 2>&1; then
    skip unit/neon "install the packages qemu-user and gcc-aarch64-linux-gnu, and 'rustup target add $target'"
    return
  fi
  step unit neon env "${name}_LINKER=aarch64-linux-gnu-gcc" "${name}_RUNNER=qemu-aarch64" \
    cargo test --locked --target $target -p shoal-vector --lib -- simd:: codes:: metric::
}

# The same files packed twice, at different times and places, are the same image.
same_bytes() {
  local at copy code=0
  at=$(mktemp -d)
  for copy in first second; do
    mkdir "$at/$copy"
    cp e2e/cluster/image.py "$at/$copy/file"
    touch -d "$([ $copy = first ] && echo 2001-01-01 || echo 2002-02-02)" "$at/$copy/file"
    e2e/cluster/image.py "$at/$copy.tar" localhost/same:1 --entrypoint /file "$at/$copy/file=/bin/file:/file" || code=1
  done
  cmp "$at/first.tar" "$at/second.tar" || code=1
  rm -r "$at"
  return $code
}

# Each fuzz target for a moment, from a seed, guided by coverage. libFuzzer itself is C++.
fuzz() {
  if ! command -v c++ >/dev/null && root_on_linux && command -v apt-get >/dev/null; then
    { apt-get update && apt-get install -y --no-install-recommends g++; } >/dev/null 2>&1 < /dev/null
  fi
  if ! command -v c++ >/dev/null; then skip fuzz "install a C++ compiler, such as the package g++"; return; fi
  step fuzz libfuzzer env SECS="${SECS:-10}" dataplane/shard/fuzz/run.sh
  grep -hE '^fuzz [a-z]+: ' "$LOGS"/fuzz.libfuzzer.log | tee -a "$LOGS/figures"
}

crash() {
  step crash "${SHOAL_CRASH_ROUNDS:-50}-rounds" cargo test --locked -p shoal-node --test crash -- --nocapture
  grep -hE '^ *rounds [0-9]+, acked' "$LOGS"/crash.*.log | tail -1 | tee -a "$LOGS/figures"
}

# The API server's own binaries are built from Go modules; that works on any Linux with Go.
cluster_binaries() { [ -n "${built:-}" ] || { step "$1" cluster-binaries e2e/cluster/build.sh && built=yes; }; }

# Every test of the crate but those that have a part of their own, and the data plane's of what it reads from the API.
schema() {
  if ! e2e/cluster/preflight.sh build; then skip schema "see above; it needs an API server, built with Go"; return; fi
  cluster_binaries schema || return
  local path name tests=()
  for path in e2e/tests/*; do
    name=$(basename "$path" .rs)
    case $name in chart | cluster) ;; *) tests+=(--test "$name") ;; esac
  done
  step schema api-server cargo test --locked --no-fail-fast -p shoal-e2e --lib "${tests[@]}"
  step schema topology cargo test --locked --no-fail-fast -p shoal-node --test kube_topology
  step schema register cargo test --locked --no-fail-fast -p shoal-node --test kube_register
}

clients() {
  if ! python3 -c 'import venv, ensurepip' 2>/dev/null && root_on_linux && command -v apt-get >/dev/null; then
    { apt-get update && apt-get install -y --no-install-recommends python3-venv; } >/dev/null 2>&1 < /dev/null
  fi
  if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then skip clients "python3 with venv is missing"; return; fi
  step clients build cargo build --locked -p shoal-node && step clients qdrant-client e2e/clients/run.sh
}

chart() {
  if ! e2e/cluster/preflight.sh build; then skip chart "see above; it needs helm, built with Go"; return; fi
  cluster_binaries chart || return
  step chart lint "$SHOAL_CLUSTER_DIR/bin/helm" lint --strict charts/shoal
  step chart tests cargo test --locked -p shoal-e2e --test chart
}

e2e() {
  if [ -n "${KUBECONFIG:-}" ]; then PATH=$PATH:$SHOAL_CLUSTER_DIR/bin e2e_steps; return; fi
  if ! e2e/cluster/preflight.sh; then skip e2e "see above; or set KUBECONFIG to a cluster"; return; fi
  # The cluster is reached only from inside its network namespace, so the test program runs there.
  local runner
  runner=CARGO_TARGET_$(rustc --print host-tuple | tr 'a-z-' 'A-Z_')_RUNNER
  # One that was up before is somebody's: it is used, and left up.
  e2e/cluster/status.sh >/dev/null 2>&1 || ours=yes
  step e2e cluster-up e2e/cluster/up.sh && step e2e images make image && step e2e load make image-load &&
    export "$runner=$PWD/e2e/cluster/run" && e2e_steps
  unset "$runner"
  if [ "$ours" ] && [ -z "${SHOAL_KEEP_CLUSTER:-}" ]; then
    e2e/cluster/logs.sh target/e2e-logs/cluster >/dev/null 2>&1
    step e2e cluster-down e2e/cluster/down.sh
  fi
}

e2e_steps() {
  rm -rf target/e2e-logs
  # Inside the cluster's namespace there is no way to PyPI: have the client installed before.
  step e2e qdrant-client e2e/clients/run.sh --help
  step e2e deploy e2e/deploy.sh || return
  export SHOAL_FIGURES=$PWD/$LOGS/figures
  local test=(cargo test --locked -p shoal-e2e --test cluster --) calm=(collections_over_http deletion refusals repair)
  if [ -n "${SHOAL_E2E_FILTER:-}" ]; then
    step e2e chosen "${test[@]}" --test-threads=1 --nocapture "$SHOAL_E2E_FILTER"
    return
  fi
  # Tests that keep to their namespace run beside each other; those that measure, or break more than that, alone.
  step e2e calm "${test[@]}" --test-threads=3 "${calm[@]/%/::}"
  step e2e bad-days "${test[@]}" --test-threads=1 --nocapture "${calm[@]/#/--skip=}"
}

finish() {
  if [ -s "$LOGS/figures" ]; then echo; echo "figures:"; sed 's/^/  /' "$LOGS/figures"; fi
  echo
  [ "$skipped" = 0 ] || echo "$skipped parts were SKIPPED, see above"
  echo "$passed passed, $failed failed" | tee "$LOGS/summary"
  [ "$failed" = 0 ]
}

# A run that is interrupted must not leave a cluster behind.
trap 'trap - INT TERM; [ -z "$ours" ] || e2e/cluster/down.sh; exit 130' INT TERM

for part in "$@"; do
  case $part in
    lint | unit | fuzz | crash | schema | clients | chart | e2e) "$part" ;;
    *) echo "no part $part" >&2; exit 2 ;;
  esac
done
finish
