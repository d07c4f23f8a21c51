"""replicas.py DRIVER DATA OUT: writes to a shard of three replicas beside writes to one that is alone, in turns.

All are processes on this machine, so that three replicas share the cores and the disk that one has to itself. The binaries
`replicated` and `shoal` lie beside the driver. Writes OUT/replicas.md.
"""
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

from peers import CORES, save

LEAST_RATE, MOST_P50 = 0.5, 2.0  # of what a shard that is alone does


def main():
    driver, _, out = sys.argv[1:4]
    folder = pathlib.Path(driver).parent
    with tempfile.TemporaryDirectory() as disks:
        command = [folder / "replicated", folder / "shoal", disks]
        lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    loads = {}
    for line in map(json.loads, lines):
        loads.setdefault((line["clients"], line["points"]), {}).setdefault(line["who"], []).append(line)
    page = [
        "# Writes to replicas",
        "",
        f"Points of 384 dimensions, each write answered once it is durable (on two of three disks) and visible; {CORES} cores and"
        " one disk for all processes. A turn begins once nothing is left to do of the one before; medians of turns. The processor time is"
        " that of all replicas together, without the client's.",
        "",
        "| clients x points | alone, points/s | p50, p99 ms | processor ms a point | three replicas, points/s | p50, p99 ms |"
        " processor ms a point | points/s, times | p50, times |",
        "|---" * 9 + "|",
    ]
    most = []
    for (clients, points), by_who in loads.items():
        cells, medians = [], {}
        for who in ("alone", "replicated"):
            medians[who] = {key: statistics.median(turn[key] for turn in by_who[who]) for key in ("rate", "p50", "p99", "processor")}
            cells += ["%.0f" % medians[who]["rate"], "%.2f, %.1f" % (medians[who]["p50"], medians[who]["p99"]), "%.2f" % medians[who]["processor"]]
        most.append("%.0f" % round(CORES * 1000 / medians["replicated"]["processor"], -2))
        # Turns that follow each other see the same machine.
        pairs = list(zip(by_who["alone"], by_who["replicated"]))
        rate = statistics.median(three["rate"] / one["rate"] for one, three in pairs)
        p50 = statistics.median(three["p50"] / one["p50"] for one, three in pairs)
        page.append(f"| {clients} x {points} | " + " | ".join(cells) + f" | {rate:.2f} | {p50:.2f} |")
    page += [
        "",
        f"Wanted: at least {LEAST_RATE} times the points per second, at most {MOST_P50:.0f} times the p50.",
        "",
        f"Each replica indexes every point, so {CORES} cores have time for some {', '.join(most)} points per second at the most, even"
        " if the client needed none of it; on nodes of their own replicas do not share it.",
        "",
    ]
    save(out, "replicas", page)


if __name__ == "__main__":
    main()
