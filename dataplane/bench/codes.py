"""codes.py DRIVER DATA OUT [ROUNDS]: what walking by codes costs in recall and brings in speed, in one run, in turns.

Builds are parallel, so no two graphs are the same: what codes lose is what one graph gives walked by its codes and walked by
vectors. Segments of each kind are compared too, which holds the difference of their graphs. Writes OUT/codes.md and
OUT/codes-{loss,kinds}.svg.
"""
import pathlib
import statistics
import sys

import plot
from peers import CORES, EF_CONSTRUCT, K, Data, Shoal, medians, save

KINDS = ("Bits4", "Int8", "None")
EFS = (16, 32, 64, 128, 256)
TARGET, FROM_EF = 0.005, 32  # recall that 4-bit codes may lose at most, and from which ef on
NORMAL_95 = 1.96


def walk(peer, ef, by_vectors):
    """Recall of each query, and queries per second."""
    answer = peer.ask(f"walk 1 {ef}" + " vectors" * by_vectors)
    return [hits / K for hits in answer["hits"]], answer["qps"]


def measure(peers, rounds):
    """(kind, by_vectors) -> for each ef, recall of each query and the median of queries per second."""
    ways = [(kind, by_vectors) for kind in KINDS for by_vectors in (False, True) if kind != "None" or by_vectors]
    points = {way: [[] for _ in EFS] for way in ways}
    for _ in range(rounds):
        for i, ef in enumerate(EFS):
            for kind, by_vectors in ways:
                points[kind, by_vectors][i].append(walk(peers[kind], ef, by_vectors))
    return {way: [medians(of_ef) for of_ef in by_ef] for way, by_ef in points.items()}


def lost(by_vectors, by_codes):
    """Mean over the queries of what is lost, and half of its 95 % interval."""
    each = [v - c for v, c in zip(by_vectors, by_codes)]
    return statistics.fmean(each), NORMAL_95 * statistics.stdev(each) / len(each) ** 0.5


def same_graph(kind, measured):
    """The table of one graph, and rows for the plot."""
    judged = kind == "Bits4"
    head = ["ef", "recall by vectors", "by codes", "lost", "± (95 %)", "worse", "better"] + [f"target: ≤ {TARGET}"] * judged
    head += ["queries/s by vectors", "by codes", "times"]
    lines, losses = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"], []
    for ef, (exact, slow), (coded, fast) in zip(EFS, measured[kind, True], measured[kind, False]):
        loss, half = lost(exact, coded)
        losses.append((ef, loss, half))
        cells = [f"{ef}", f"{statistics.fmean(exact):.4f}", f"{statistics.fmean(coded):.4f}", f"**{loss:.4f}**", f"{half:.4f}"]
        cells += [f"{sum(c < e for e, c in zip(exact, coded))}", f"{sum(c > e for e, c in zip(exact, coded))}"]
        if judged:
            cells.append("" if ef < FROM_EF else "met" if loss <= TARGET else f"missed by {loss - TARGET:.4f}")
        cells += [f"{slow:,.0f}", f"{fast:,.0f}", f"{fast / slow:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines + [""], losses


def kinds_table(curves, measured):
    lines = ["| ef | " + " | ".join(f"{kind} recall | queries/s" for kind in KINDS) + " | graphs differ by |"]
    lines.append("|---" * (2 + 2 * len(KINDS)) + "|")
    for i, ef in enumerate(EFS):
        by_vectors = [statistics.fmean(measured[kind, True][i][0]) for kind in KINDS]
        cells = " | ".join(f"{recall:.4f} | {qps:,.0f}" for recall, qps in (curves[kind][i] for kind in KINDS))
        lines.append(f"| {ef} | {cells} | {max(by_vectors) - min(by_vectors):.4f} |")
    return lines + [""]


def sizes_table(peers, rows, dimensions):
    lines = ["Bytes a vector, and seconds of a build on all cores; a sketch is made of a code, in memory, and read before it:", ""]
    lines += ["| | code | sketch | together, times f32's | segment's file | build |", "|---" * 6 + "|"]
    for kind, peer in peers.items():
        code = peer.ask("code")
        file = sum(path.stat().st_size for path in pathlib.Path(peer.folder).rglob("*.seg"))
        share = (code["code"] + code["sketch"]) / (4 * dimensions)
        lines.append(f"| {kind} | {code['code']} | {code['sketch']} | {share:.2f} | {file / rows:,.0f} |"
                     f" {peer.build_seconds:.1f} |")
    return lines + [""]


def main():
    driver, folder, out = sys.argv[1:4]
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 3
    data = Data(folder)
    rows = len(data.base)
    # One after the other, each with the machine to itself.
    peers = {kind: Shoal(driver, data, quantization=kind).build(rows) for kind in KINDS}
    measured = measure(peers, rounds)
    page = [
        "# Walks by codes",
        "",
        f"{rows:,} vectors of {data.base.shape[1]}, one segment of each kind, ef_construct {EF_CONSTRUCT}, {len(data.queries):,} queries,"
        f" recall@10 by cosine, one thread of {CORES} cores, medians of {rounds} rounds in turns. What is returned is compared"
        " exactly whatever a walk compared.",
        "",
        "## The same graph, walked by codes and by vectors",
        "",
        "No two graphs are the same, since builds are parallel, and recall differs between them too. So each query here is asked"
        " of one graph twice: by its codes, and with `quantization.ignore`, which walks by f32. The difference is what codes lose"
        " and nothing else. Its interval is over the queries, in pairs; worse and better are queries that found less and more by"
        " codes.",
        "",
        "![recall lost by codes](codes-loss.svg)",
        "",
    ]
    losses = {}
    for kind in ("Bits4", "Int8"):
        lines, losses[kind] = same_graph(kind, measured)
        page += [f"### {kind}", ""] + lines
    curves = {kind: [(statistics.fmean(each), qps) for each, qps in measured[kind, kind == "None"]] for kind in KINDS}
    page += [
        "## A segment of each kind",
        "",
        "Each walked as it is walked by default: a graph of its own, so recall differs by codes and by graph. The last column"
        " is the second part alone: how far apart the three graphs' recalls are when all are walked by vectors. Int8's graph is"
        " refined by 8-bit codes, the others' by 4-bit ones.",
        "",
        "![recall and queries per second](codes-kinds.svg)",
        "",
        *kinds_table(curves, measured),
        *sizes_table(peers, rows, data.base.shape[1]),
    ]
    for peer in peers.values():
        peer.close()
    plot.loss_by_ef(f"{out}/codes-loss.svg", losses, TARGET)
    plot.recall_and_qps(f"{out}/codes-kinds.svg", curves)
    save(out, "codes", page)


if __name__ == "__main__":
    main()
