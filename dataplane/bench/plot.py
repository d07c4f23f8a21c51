"""Plots as SVG, the same bytes for the same figures."""
import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "shoal", "svg.fonttype": "none", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3})

import matplotlib.pyplot as plt  # noqa: E402

COLOURS = {"shoal": "#0b6e99", "hnswlib": "#c0392b", "usearch": "#7d8b2f", "qdrant-edge": "#8e44ad"}


def colour(name):
    return COLOURS.get(name.split(",")[0])


def finish(figure, path):
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)


def recall_and_qps(path, curves):
    figure, axes = plt.subplots(figsize=(6.4, 3.8))
    for name, curve in curves.items():
        axes.plot(*zip(*curve), marker="o", markersize=3, label=name, color=colour(name))
    axes.set(xlabel="recall@10", ylabel="queries per second", yscale="log", xlim=(0.85, 1.001))
    axes.legend()
    finish(figure, path)


def loss_by_ef(path, losses, target):
    """losses: name -> rows of (ef, loss of recall, half of its 95 % interval)."""
    figure, axes = plt.subplots(figsize=(6.4, 3.2))
    for name, rows in losses.items():
        efs, means, halves = zip(*rows)
        axes.errorbar(efs, means, yerr=halves, marker="o", markersize=3, capsize=3, linewidth=1, label=name)
    axes.axhline(target, color="#555555", linestyle="--", linewidth=1, label="target, at most")
    efs = [ef for ef, _, _ in next(iter(losses.values()))]
    axes.set(xlabel="ef", ylabel="recall@10 lost by codes", xscale="log")
    axes.set_xticks(efs, [str(ef) for ef in efs])
    axes.minorticks_off()
    axes.legend()
    finish(figure, path)


def latency_over_time(path, runs):
    """runs: name -> rows with second, p50, p95, pending."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(6.4, 5.2), sharex=True)
    for name, rows in runs.items():
        seconds = [row["second"] for row in rows]
        above.plot(seconds, [row["p95"] for row in rows], label=f"{name}, p95", color=colour(name), linewidth=0.8)
        below.plot(seconds, [row["pending"] for row in rows], label=name, color=colour(name), linewidth=0.8)
    above.set(ylabel="search, ms", yscale="log")
    below.set(xlabel="seconds", ylabel="points not in a segment's graph")
    above.legend()
    finish(figure, path)


def selectivity(path, kinds):
    """kinds: name -> rows of (share, recall, ratio of the time to that without a filter)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.4))
    for name, rows in kinds.items():
        shares = [share for share, _, _ in rows]
        left.plot(shares, [recall for _, recall, _ in rows], marker="o", markersize=3, label=name)
        right.plot(shares, [ratio for _, _, ratio in rows], marker="o", markersize=3, label=name)
    left.set(xlabel="share of points that match", ylabel="recall@10", xscale="log", ylim=(0.97, 1.001))
    right.set(xlabel="share of points that match", ylabel="time, times the unfiltered", xscale="log", ylim=(0, None))
    left.legend()
    finish(figure, path)


def bars(path, label, values):
    figure, axes = plt.subplots(figsize=(6.4, 0.5 + 0.45 * len(values)))
    names = list(values)
    axes.barh(names, [values[name] for name in names], color=[colour(name) for name in names])
    axes.invert_yaxis()
    axes.set(xlabel=label)
    finish(figure, path)
