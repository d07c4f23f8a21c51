#!/bin/sh
# Runs the unmodified Qdrant client against a server.
#
#   e2e/clients/run.sh                  starts `shoal serve` on a free port, without a key and then with one
#   e2e/clients/run.sh URL [options]    asks a server that is there, such as a port-forward; options as quickstart.py's
#
# The client is installed once into a virtual environment under target/ (or SHOAL_VENV). SHOAL_BIN names the binary.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
venv=${SHOAL_VENV:-$root/target/clients-venv}
python=${PYTHON:-python3}

if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "the client test needs Python 3.11 or newer (PYTHON names another)" >&2
        exit 1
    }
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r "$here/requirements.txt"
    # Last, so that an install that was cut off is not taken for whole.
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi

if [ $# -gt 0 ]; then
    exec "$venv/bin/python" "$here/quickstart.py" "$@"
fi

if [ -z "${SHOAL_BIN:-}" ]; then
    (cd "$root" && cargo build --quiet -p shoal-node --bin shoal)
    host=$(rustc -vV | sed -n 's/^host: //p')
    SHOAL_BIN=${CARGO_TARGET_DIR:-$root/target}/$host/debug/shoal
fi

work=$(mktemp -d)
server=
finish() {
    status=$?
    [ -z "$server" ] || { kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true; }
    [ $status -eq 0 ] || cat "$work/log" >&2
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# Port 0 takes a free one; the log says which.
serve() {
    "$SHOAL_BIN" serve --data "$work/data" --listen 127.0.0.1:0 "$@" >"$work/log" 2>&1 &
    server=$!
    for _ in $(seq 150); do
        url=$(sed -n 's/.*\(http:\/\/127\.0\.0\.1:[0-9][0-9]*\).*/\1/p' "$work/log" | head -n 1)
        [ -z "$url" ] || return 0
        kill -0 "$server" 2>/dev/null || break
        sleep 0.2
    done
    echo "shoal serve did not start" >&2
    exit 1
}

serve
"$venv/bin/python" "$here/quickstart.py" "$url"
kill "$server" && wait "$server"
echo "ok: stopped cleanly"

serve --api-key test-key --shards 3
"$venv/bin/python" "$here/quickstart.py" "$url" --api-key test-key
if SHOAL_API_KEY='' "$venv/bin/python" "$here/quickstart.py" "$url" >/dev/null 2>&1; then
    echo "a client without the key was let in" >&2
    exit 1
fi
echo "ok: a client without the key is kept out"
kill "$server" && wait "$server"
server=
