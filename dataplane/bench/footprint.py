"""footprint.py DRIVER DATA OUT: memory, and the time from a start to the first right answer. Writes OUT/footprint.md.

Each engine is opened anew, in a process of its own, over files that are there, and searched with the whole query set.
"""
import json
import subprocess
import sys
import tempfile
import time

import plot
from peers import CORES, Data, Qdrant, Shoal, save

TENTH = 10


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
    peer.set_ef(64)
    found = peer.find(data.queries[:1], 1)
    first = time.perf_counter() - began
    right = len(set(found[0]) & set(data.truth[0])) / len(data.truth[0])
    peer.find(data.queries, 1)
    after = resident()
    print(json.dumps(dict(first=first, recall=right, anonymous=after[0] - before[0], files=after[1] - before[1])))


def shoal(driver, data, folder, rows):
    if rows:
        Shoal(driver, data, folder, rows).build(rows).close()
    peer = Shoal(driver, data, folder)
    answer = peer.ask("first")
    time.sleep(3)  # until the graph is copied to where walks are quickest, and sled is open
    peer.measure(1, 64)
    answer |= peer.ask("memory")
    peer.close()
    return answer


def qdrant(data, folder, rows):
    Qdrant(data, folder, rows=rows).close()
    command = [sys.executable, __file__, "--child", data.folder, folder]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


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
    save(out, "footprint", page + ["", "![memory](memory.svg)", ""])


if __name__ == "__main__":
    main()
