"""footprint.py DRIVER DATA OUT: memory, and the time from a start to the first right answer. Writes OUT/footprint.md.

Each engine is opened anew, in a process of its own, over files that are there, and searched with the whole query set. Then
again under limits of memory, beginning with none of the files in it: where the queries per second fall, it does not fit.
"""
import json
import subprocess
import sys
import tempfile
import threading
import time

import plot
from cgroup import Group, forget
from peers import CORES, Data, Qdrant, Shoal, save

TENTH = 10
EF = 64
# Bytes a vector, beyond what the engine takes with no points.
LIMITS = (400, 600, 800, 1_000, 1_200, 1_400, 1_600, 1_700, 1_800, 1_900, 2_000, 2_300, 2_600)
# Share of the most queries per second at which a set is said to fit. Where it does not, each search waits for the disk.
FITS = 0.5
# And the share at which a smaller limit is not tried.
LOST = 0.1
LIMITED_SECONDS = 60


def resident():
    with open("/proc/self/status", encoding="utf-8") as file:
        lines = dict(line.split(":", 1) for line in file if ":" in line)
    return tuple(int(lines[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile"))


def qdrant_child(data, folder):
    """In a process of its own: opens, searches, says what it took."""
    import qdrant_edge as qdrant

    before, began = resident(), time.perf_counter()
    peer = Qdrant.__new__(Qdrant)
    peer.data, peer.folder, peer.made = data, folder, False
    peer.shard = qdrant.EdgeShard.load(folder)
    peer.set_ef(EF)
    found = peer.find(data.queries[:1], 1)
    first = time.perf_counter() - began
    right = len(set(found[0]) & set(data.truth[0])) / len(data.truth[0])
    peer.find(data.queries, 1)
    after, began = resident(), time.perf_counter()
    peer.find(data.queries, 1)
    qps = len(data.queries) / (time.perf_counter() - began)
    print(json.dumps(dict(first=first, recall=right, anonymous=after[0] - before[0], files=after[1] - before[1], qps=qps)))
    sys.stdin.readline()  # what is read of the group's memory is read while this is there


def shoal(driver, data, folder, rows):
    if rows:
        Shoal(driver, data, folder, rows).build(rows).close()
    peer = Shoal(driver, data, folder)
    answer = peer.ask("first")
    time.sleep(3)  # until the graph is copied to where walks are quickest, and sled is open
    peer.measure(1, EF)
    answer |= peer.ask("memory")
    peer.close()
    return answer


def child(data, folder):
    return [sys.executable, __file__, "--child", data.folder, folder]


def qdrant(data, folder, rows):
    Qdrant(data, folder, rows=rows).close()
    answer = subprocess.run(child(data, folder), input="\n", check=True, capture_output=True, text=True)
    return json.loads(answer.stdout)


def limited(group, command, folder, limit, told=""):
    """Queries per second of a process that may have so many bytes, and its own bytes of memory; nothing where it does not answer."""
    forget(folder)
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    process = group.start(command, limit, **pipes)
    try:
        # Until copies are made, as above.
        time.sleep(3 if told else 0)
        if told:
            print(told, file=process.stdin, flush=True)
        timer = threading.Timer(LIMITED_SECONDS, process.kill)
        timer.start()
        line = process.stdout.readline()
        timer.cancel()
        used = group.anonymous()
        process.stdin.close()
        return (json.loads(line)["qps"] if line else None), used
    except (BrokenPipeError, ValueError):
        return None, 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def by_limit(group, rows, command, folder, empty, told):
    """Queries per second by limit, in bytes a vector, from the largest down until next to nothing is left of them; None
    stands for no limit."""
    _, base = limited(group, *empty, None, told)
    curve = {}
    for limit in (None,) + LIMITS[::-1]:
        curve[limit] = limited(group, command, folder, limit and base + limit * rows, told)[0]
        if not curve[limit] or curve[limit] < LOST * curve[None]:
            break
    return curve


def limits_page(driver, data, place):
    group = Group.make()
    if group is None:
        return ["", "Nothing was measured under a limit: this system lets us make no control group.", ""]
    rows = len(data.base)
    # For the size of an engine with no points, a folder with one.
    Shoal(driver, data, f"{place}/shoal-none", rows).build(1).close()
    Qdrant(data, f"{place}/qdrant-none", rows=1).close()

    def ours(folder):
        return [driver, data.folder, "--dir", folder, "--passes", "1"], folder

    def theirs(folder):
        return child(data, folder), folder

    curves = {
        "shoal": by_limit(group, rows, *ours(f"{place}/shoal"), ours(f"{place}/shoal-none"), f"walk 1 {EF}"),
        "qdrant-edge": by_limit(group, rows, *theirs(f"{place}/qdrant"), theirs(f"{place}/qdrant-none"), ""),
    }
    group.close()
    lines = ["", f"## Under a limit of memory, ef {EF}, one thread", ""]
    lines += ["Bytes a vector that the process and its files in memory may have together, beyond what is the engine's own with no points."]
    lines += ["", "| limit | " + " | ".join(f"{name}, queries/s" for name in curves) + " |", "|---" * (1 + len(curves)) + "|"]
    for limit in (limit for limit in (None,) + LIMITS[::-1] if any(limit in curve for curve in curves.values())):
        cells = [f"{curve[limit]:,.0f}" if curve.get(limit) else "no answer" if limit in curve else "" for curve in curves.values()]
        lines.append(f"| {f'{limit:,}' if limit else 'none'} | " + " | ".join(cells) + " |")
    fits = {}
    for name, curve in curves.items():
        good = [limit for limit in LIMITS if (curve.get(limit) or 0) >= FITS * max(qps or 0 for qps in curve.values())]
        fits[name] = min(good) if good else None
    if all(fits.values()):
        ratio = fits["shoal"] / fits["qdrant-edge"]
        lines += ["", f"With {FITS:.0%} of its most queries/s or better: shoal in {fits['shoal']:,}, qdrant-edge in"
                  f" {fits['qdrant-edge']:,} bytes a vector, **{ratio:.2f}** times."]
    lines += [""]
    return lines


def main():
    if sys.argv[1] == "--child":
        return qdrant_child(Data(sys.argv[2]), sys.argv[3])
    driver, folder, out = sys.argv[1:4]
    data = Data(folder)
    rows = len(data.base)
    with tempfile.TemporaryDirectory() as place:
        figures = {
            ("shoal", rows): shoal(driver, data, f"{place}/shoal", rows),
            ("shoal", rows // TENTH): shoal(driver, data, f"{place}/shoal-few", rows // TENTH),
            ("qdrant-edge", rows): qdrant(data, f"{place}/qdrant", rows),
            ("qdrant-edge", rows // TENTH): qdrant(data, f"{place}/qdrant-few", rows // TENTH),
        }
        limits = limits_page(driver, data, place)
    theirs = figures[("qdrant-edge", rows)]["anonymous"] + figures[("qdrant-edge", rows)]["files"]
    page = [
        "# Start and memory",
        "",
        f"{data.base.shape[1]} dimensions, f32, {CORES} cores. Files are in the page cache, as after a process that ended."
        " Anonymous memory is the process's own; pages of files can be taken back by the system. In a search Shoal reads the"
        " file pages of the vectors that it compares exactly.",
        "",
        "| | points | start to first answer, s | bytes a vector, anonymous | pages of files | together, times qdrant-edge's |",
        "|---" * 6 + "|",
    ]
    for (name, points), figure in figures.items():
        each = [figure[kind] / points for kind in ("anonymous", "files")]
        times = f"{sum(each) * rows / theirs:.2f}" if points == rows else ""
        page.append(f"| {name} | {points:,} | {figure['first']:.3f} | {each[0]:,.0f} | {each[1]:,.0f} | {times} |")
    plot.bars(
        f"{out}/memory.svg",
        f"bytes of memory a vector, {rows:,} of them",
        {
            f"{name}, {what}": figures[(name, rows)][kind] / rows
            for name in ("shoal", "qdrant-edge")
            for kind, what in (("anonymous", "its own"), ("files", "pages of files"))
        },
    )
    save(out, "footprint", page + ["", "![memory](memory.svg)"] + limits)


if __name__ == "__main__":
    main()
