"""walk.py DRIVER DATA OUT [ROUNDS]: recall against queries per second, beside peers, in the same run, in turns.

Writes OUT/walk.md and OUT/walk-THREADS.svg.
"""
import math
import sys

import plot
from peers import CORES, EF_CONSTRUCT, M, Data, Hnswlib, Qdrant, Shoal, Usearch, medians, save

EFS = (10, 12, 16, 24, 32, 48, 64, 96, 128, 192)
TARGETS = (0.95, 0.99)


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
    return {peer.name: [medians(points) for points in of_peer] for peer, of_peer in zip(peers, measured)}


def tables(curves, threads):
    lines = [f"## {threads} query thread{'s' * (threads > 1)}", "", f"![recall and queries per second](walk-{threads}.svg)", ""]
    lines += ["| ef | " + " | ".join(f"{name} recall | QPS" for name in curves) + " |", "|---" * (1 + 2 * len(curves)) + "|"]
    for i, ef in enumerate(EFS):
        lines.append(f"| {ef} | " + " | ".join(f"{curve[i][0]:.4f} | {curve[i][1]:,.0f}" for curve in curves.values()) + " |")
    lines += ["", "QPS at a recall, between the measured points, and how many times as many Shoal's are:", ""]
    lines += ["| recall@10 | " + " | ".join(curves) + " |", "|---" * (1 + len(curves)) + "|"]
    for target in TARGETS:
        at = {name: qps_at(target, curve) for name, curve in curves.items()}
        cells = []
        for name, qps in at.items():
            ratio = f" (**{at['shoal'] / qps:.1f}**)" if qps and at["shoal"] and name != "shoal" else ""
            cells.append(f"{qps:,.0f}{ratio}" if qps else "not reached")
        lines.append(f"| {target} | " + " | ".join(cells) + " |")
    return lines + [""]


def main():
    driver, folder, out = sys.argv[1:4]
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 3
    data = Data(folder)
    # One after the other, each with the machine to itself.
    peers = [Hnswlib(data), Usearch(data), Qdrant(data)]
    peers.append(Shoal(driver, data).build(len(data.base)))
    page = [
        "# Search of one segment",
        "",
        f"{len(data.base):,} vectors of {data.base.shape[1]}, recall@10 by cosine, medians of {rounds} rounds in turns, {CORES}"
        f" cores. Peers: M {M}, ef_construct {EF_CONSTRUCT}, f32. Shoal answers through a shard's whole read path: view, walk,"
        " exact comparison, ids. Qdrant Edge is asked in batches of 100 from Python.",
        "",
        "| build, all cores | seconds | to hnswlib's |",
        "|---|---|---|",
    ]
    for peer in peers:
        page.append(f"| {peer.name} | {peer.build_seconds:.1f} | {peer.build_seconds / peers[0].build_seconds:.2f} |")
    page += ["", "Shoal's is graph, refinement, file and fsync; Qdrant Edge's holds the writing.", ""]
    for threads in sorted({1, CORES}):
        curves = compare(peers, rounds, threads)
        plot.recall_and_qps(f"{out}/walk-{threads}.svg", curves)
        page += tables(curves, threads)
    for peer in peers:
        if hasattr(peer, "close"):
            peer.close()
    save(out, "walk", page)


if __name__ == "__main__":
    main()
