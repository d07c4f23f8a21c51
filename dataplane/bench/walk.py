"""walk.py DRIVER DATA OUT [ROUNDS]: one shard of Shoal beside hnswlib, on the same data, in the same run, in turns.

DATA holds base.f16.npy, queries.f16.npy and neighbors.i32.npy (cosine, exact). hnswlib: M 16, ef_construction 100, inner
product on unit vectors. Both build with all cores. Writes OUT, a page of Markdown, and prints it: recall@10 and queries
per second by ef, and the ratio at recall .95 and .99, interpolated between the measured points.
"""
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time

import hnswlib
import numpy as np

EFS = (10, 12, 16, 24, 32, 48, 64, 96, 128, 192)
TARGETS = (0.95, 0.99)
PASSES = 3  # over the query set, so that a measurement is long enough to time
K = 10


def unit(path):
    rows = np.load(path).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Hnswlib:
    name = "hnswlib"

    def __init__(self, data):
        base, queries = unit(f"{data}/base.f16.npy"), unit(f"{data}/queries.f16.npy")
        self.truth = np.load(f"{data}/neighbors.i32.npy")[:, :K]
        self.rows = len(base)
        self.index = hnswlib.Index("ip", base.shape[1])
        self.index.init_index(len(base), M=16, ef_construction=100, random_seed=100)
        began = time.perf_counter()
        self.index.add_items(base, num_threads=os.cpu_count())
        self.build_seconds = time.perf_counter() - began
        self.queries, self.tiled = queries, np.tile(queries, (PASSES, 1))
        self.recalls = {}

    def recall(self, ef):
        if ef not in self.recalls:
            found, _ = self.index.knn_query(self.queries, k=K, num_threads=1)
            hits = sum(len(set(f) & set(t)) for f, t in zip(found, self.truth))
            self.recalls[ef] = hits / (K * len(self.queries))
        return self.recalls[ef]

    def measure(self, threads, ef):
        self.index.set_ef(ef)
        recall = self.recall(ef)
        began = time.perf_counter()
        self.index.knn_query(self.tiled, k=K, num_threads=threads)
        return recall, len(self.tiled) / (time.perf_counter() - began)


class Shoal:
    name = "shoal"

    def __init__(self, driver, data, rows):
        self.dir = tempfile.TemporaryDirectory()
        command = [driver, data, "--dir", self.dir.name, "--passes", str(PASSES)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.build_seconds = self.ask(f"build {rows}")["graph"]

    def ask(self, line):
        print(line, file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            sys.exit(answer["error"])
        return answer

    def measure(self, threads, ef):
        answer = self.ask(f"walk {threads} {ef}")
        return answer["recall"], answer["qps"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.dir.cleanup()


def qps_at(target, curve):
    """Interpolates log QPS between the two measured points around a recall; None if it is outside."""
    curve = sorted(curve)
    for (r0, q0), (r1, q1) in zip(curve, curve[1:]):
        if r0 <= target <= r1 and r0 < r1:
            part = (target - r0) / (r1 - r0)
            return math.exp(math.log(q0) * (1 - part) + math.log(q1) * part)
    return None


def compare(peers, rounds, threads):
    measured = [[[] for _ in EFS] for _ in peers]
    for _ in range(rounds):
        for i, ef in enumerate(EFS):
            for peer, points in zip(peers, measured):
                points[i].append(peer.measure(threads, ef))
    curves = [
        [(points[0][0], statistics.median(qps for _, qps in points)) for points in of_peer] for of_peer in measured
    ]
    lines = [f"## {threads} query thread{'s' * (threads > 1)}", ""]
    lines += ["| ef | " + " | ".join(f"{p.name} recall@10 | {p.name} QPS" for p in peers) + " |"]
    lines += ["|---" * (1 + 2 * len(peers)) + "|"]
    for i, ef in enumerate(EFS):
        cells = " | ".join(f"{curve[i][0]:.4f} | {curve[i][1]:,.0f}" for curve in curves)
        lines.append(f"| {ef} | {cells} |")
    lines.append("")
    for target in TARGETS:
        theirs, ours = (qps_at(target, curve) for curve in curves)
        if theirs and ours:
            lines.append(f"- recall {target}: {theirs:,.0f} and {ours:,.0f} QPS, ratio **{ours / theirs:.1f}**")
        else:
            lines.append(f"- recall {target}: outside of what was measured")
    return lines + [""]


def main():
    driver, data, out = sys.argv[1:4]
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 5
    theirs = Hnswlib(data)
    ours = Shoal(driver, data, theirs.rows)
    page = [
        "# Search of one segment, beside hnswlib",
        "",
        f"{theirs.rows:,} points, recall@10 by cosine, medians of {rounds} rounds in turns, {os.cpu_count()} cores, all in"
        " one process each. Shoal answers through a shard's whole read path: view, walk, exact comparison, ids.",
        "",
        f"Build: hnswlib {theirs.build_seconds:.1f} s, Shoal {ours.build_seconds:.1f} s (graph, refinement, file, fsync),"
        f" ratio **{ours.build_seconds / theirs.build_seconds:.2f}**.",
        "",
    ]
    for threads in sorted({1, os.cpu_count()}):
        page += compare([theirs, ours], rounds, threads)
    ours.close()
    text = "\n".join(page)
    with open(out, "w", encoding="utf-8") as file:
        file.write(text)
    print(text)


if __name__ == "__main__":
    main()
