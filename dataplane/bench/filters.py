"""filters.py DRIVER DATA OUT: recall and time of filtered searches by how much passes. Writes OUT/filters.md and SVGs.

The driver gives each point two random numbers and, where the data have payloads, the category of its text, indexes them, and
compares searches with a filter with the same searches without, in turns. What is right is what an exact search finds.
"""
import sys

import plot
from peers import CORES, Data, Shoal, save

EF = 64  # the default
IN_MEMORY = 20_000  # points of a mutable segment, at most


def table(answer):
    lines = ["| filter | matching | recall@10 | microseconds | times the unfiltered |", "|---" * 5 + "|"]
    for case in answer["cases"]:
        lines.append(
            f"| {case['case']} | {case['matching']:,.0f} | {case['recall']:.4f} | {case['micros']:,.0f} |"
            f" {case['ratio']:.2f} |"
        )
    ways = ", ".join(f"{count:,} by {way}" for way, count in answer["ways"].items())
    return lines + ["", f"Answered so: {ways}.", ""]


def curves(answer):
    kinds = {}
    for case in answer["cases"]:
        kind, _, share = case["case"].partition(" ")
        if kind in ("one", "and") and share.endswith("%"):
            name = {"one": "one condition", "and": "two conditions"}[kind]
            kinds.setdefault(name, []).append((float(share[:-1]) / 100, case["recall"], case["ratio"]))
    return kinds


def main():
    driver, folder, out = sys.argv[1:4]
    data = Data(folder)
    rows = len(data.base)
    page = ["# Filtered search", "", f"{data.base.shape[1]} dimensions, recall@10 by cosine, ef {EF}, one thread of {CORES} cores.", ""]
    ours = Shoal(driver, data)
    ours.ask(f"build {rows} payloads")
    indexed = ours.ask("index")
    answer = ours.ask(f"filter {EF}")
    ours.close()
    plot.selectivity(f"{out}/filters.svg", curves(answer))
    page += [f"## One segment of {rows:,} points", "", "![recall and time by share](filters.svg)", ""]
    page += [f"Three fields indexed in {indexed['seconds']:.2f} s, {indexed['bytes'] / 1e6:.1f} MB.", ""] + table(answer)
    few = min(IN_MEMORY, rows) - 1
    ours = Shoal(driver, data)
    ours.ask(f"load {few} payloads")
    ours.ask("index")
    page += [f"## {few:,} points in memory, not flushed", ""] + table(ours.ask(f"filter {EF}"))
    ours.close()
    save(out, "filters", page)


if __name__ == "__main__":
    main()
