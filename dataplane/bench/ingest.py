"""ingest.py DRIVER DATA OUT [SECONDS]: searches while points come in, and how fast points come in durably.

Beside Qdrant Edge, whose `flush()` after every batch is what its documentation calls durable, and whose optimizer is run
again as soon as it has ended. Searches are due every 5 ms and are timed from then on. Writes OUT/ingest.md and SVGs.
"""
import statistics
import sys
import tempfile
import threading
import time

import numpy as np

import plot
from peers import BATCH, CORES, Data, Qdrant, Shoal, save

HALF = 50_000  # points that are there before
RATE = 2_000
STEADY_SECONDS = 30
PACE = 0.005
SEGMENT = 20_000  # as by default


def p95(rows):
    return statistics.median(row["p95"] for row in rows) if rows else float("nan")


def worst(rows):
    return max((row["p95"] for row in rows), default=float("nan"))


def qdrant_ingest(peer, rate, seconds):
    """As the driver's `ingest`: rows by second, and points a second."""
    began, stop, written, rows = time.perf_counter(), threading.Event(), [0], []
    first = peer.shard.info().points_count

    def write():
        batch = min(BATCH, rate // 10)
        while time.perf_counter() - began < seconds:
            if batch == 0:
                time.sleep(PACE)
                continue
            peer.write(range(first + written[0], first + written[0] + batch))
            written[0] += batch
            time.sleep(max(0.0, written[0] / rate - (time.perf_counter() - began)))
        stop.set()

    def optimize():
        while not stop.is_set():
            if not peer.shard.optimize():
                time.sleep(0.05)

    def search():
        peer.set_ef(64)
        due, second, times, at = 0.0, 0, [], 0
        while not stop.is_set():
            time.sleep(max(0.0, due - (time.perf_counter() - began)))
            peer.shard.query(peer.request(peer.data.queries[at % len(peer.data.queries)]))
            now = time.perf_counter() - began
            times.append((now - due) * 1e3)
            due, at = due + PACE, at + 1
            if now > second + 1:
                second = int(now)
                info = peer.shard.info()
                pending = info.points_count - info.indexed_vectors_count
                cut = np.percentile(times, (50, 95, 99))
                rows.append(dict(second=second, pending=pending, p50=cut[0], p95=cut[1], p99=cut[2]))
                times.clear()

    workers = [threading.Thread(target=work) for work in (write, optimize, search)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return rows, written[0] / (time.perf_counter() - began)


def shoal_ingest(peer, rate, seconds):
    answer = peer.ask(f"ingest {rate} {seconds}")
    return answer["seconds"], answer["rate"]


def durable(driver, data):
    """Points a second, each batch on disk before the next, until all are in graphs: by engine."""
    ours = Shoal(driver, data, segment=SEGMENT).build(len(data.base))
    seconds = {"shoal": (ours.written_seconds, ours.written_seconds + ours.build_seconds)}
    ours.close()
    theirs = Qdrant(data, flush_each=True)
    seconds["qdrant-edge"] = (theirs.written_seconds, theirs.build_seconds)
    theirs.close()
    return seconds


def main():
    driver, folder, out = sys.argv[1:4]
    seconds = int(sys.argv[4]) if len(sys.argv) > 4 else 300
    data = Data(folder)
    half = min(HALF, len(data.base) // 2)
    page = ["# Ingest", "", f"{data.base.shape[1]} dimensions, {CORES} cores; {half:,} points in graphs before each run.", ""]
    with tempfile.TemporaryDirectory() as place:
        ours = Shoal(driver, data, f"{place}/shoal", SEGMENT).build(half)
        theirs = Qdrant(data, f"{place}/qdrant", rows=half, flush_each=True)
        runs = {}
        for name, ingest, peer in (("shoal", shoal_ingest, ours), ("qdrant-edge", qdrant_ingest, theirs)):
            steady, _ = ingest(peer, 0, STEADY_SECONDS)
            paced, _ = ingest(peer, RATE, seconds)
            most, rate = ingest(peer, 10**9, seconds // 5)
            runs[name] = (steady, paced, most, rate)
        ours.close()
        theirs.close()
    page += [f"## Search while {RATE:,} points a second come in for {seconds} s", "", "![latency over time](ingest.svg)", ""]
    page += ["| | p95 at rest, ms | p95 meanwhile (median second) | times | worst second | pending at the end / most |", "|---" * 6 + "|"]
    for name, (steady, paced, _, _) in runs.items():
        pending = [row["pending"] for row in paced]
        page.append(
            f"| {name} | {p95(steady):.2f} | {p95(paced):.2f} | {p95(paced) / p95(steady):.1f} | {worst(paced):.1f} |"
            f" {pending[-1]:,} / {max(pending):,} |"
        )
    page += ["", "Searches are due every 5 ms and timed from then on. Qdrant Edge's wait while it optimizes, so they fall further behind.", ""]
    page += ["## Search at the highest rate that each takes", "", "| | points/s | p95, ms (median second) | worst second |", "|---" * 4 + "|"]
    for name, (_, _, most, rate) in runs.items():
        page.append(f"| {name} | {rate:,.0f} | {p95(most):.2f} | {worst(most):.1f} |")
    plot.latency_over_time(f"{out}/ingest.svg", {name: run[1] for name, run in runs.items()})
    page += ["", f"## Durable ingest of {len(data.base):,} points in batches of {BATCH:,}, one writer", ""]
    page += ["| | written, points/s | written and in graphs, points/s |", "|---" * 3 + "|"]
    for name, (written, all_seconds) in durable(driver, data).items():
        page.append(f"| {name} | {len(data.base) / written:,.0f} | {len(data.base) / all_seconds:,.0f} |")
    page += ["", "Shoal: group commit, fdatasync before each answer. Qdrant Edge: WAL on, `flush()` after each batch.", ""]
    save(out, "ingest", page)


if __name__ == "__main__":
    main()
