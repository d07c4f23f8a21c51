"""footprint.py DRIVER DATA OUT [PLACE]: memory, and the time from a start to the first right answer. Writes
OUT/footprint.md. PLACE keeps files and figures, so that a run that was cut off goes on where it was.

Each engine is opened anew, in a process of its own, over files that are there, and searched with the whole query set. Then
again under limits of memory, beginning with none of the files in it: where the queries per second fall, it does not fit.
Vectors are made floats that no half is equal to, so that storing them as halves is what it is with real ones.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import plot
from cgroup import Group, forget
from data import perturbed
from peers import CORES, Data, Qdrant, Shoal, save

TENTH = 10
EF = 64
# Bytes a vector, beyond what the engine takes with no points.
LIMITS = (400, 600, 800, 900, 1_000, 1_100, 1_200, 1_300, 1_400, 1_600, 1_700, 1_800, 1_900, 2_000, 2_300, 2_600)
# Share of the most queries per second at which a set is said to fit. Where it does not, each search waits for the disk.
FITS = 0.5
# And the share at which a smaller limit is not tried.
LOST = 0.1
LIMITED_SECONDS = 60
# Name of an engine with what it stores vectors as, and that as the engines are told.
STORED = {"f32": "Float32", "f16": "Float16"}
ENGINES = ("shoal, f32", "shoal, f16", "qdrant-edge, f32", "qdrant-edge, f16")


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
    recall = data.recall(peer.find(data.queries, 1))
    after, began = resident(), time.perf_counter()
    peer.find(data.queries, 1)
    qps = len(data.queries) / (time.perf_counter() - began)
    print(json.dumps(dict(first=first, right=right, recall=recall, anonymous=after[0] - before[0], files=after[1] - before[1], qps=qps)))
    sys.stdin.readline()  # what is read of the group's memory is read while this is there


def shoal(driver, data, folder, rows, datatype):
    made = Shoal(driver, data, folder, rows, datatype=datatype).build(rows)
    time.sleep(5)  # until payloads are in the store too, which a start would go on with otherwise
    made.close()
    peer = Shoal(driver, data, folder, datatype=datatype)
    answer = peer.ask("first")
    time.sleep(3)  # until the graph is copied to where walks are quickest, and sled is open
    answer["recall"] = peer.measure(1, EF)[0]
    answer |= peer.ask("memory")
    peer.close()
    return answer


def child(data, folder):
    return [sys.executable, __file__, "--child", data.folder, folder]


def qdrant(_, data, folder, rows, datatype):
    Qdrant(data, folder, rows=rows, datatype=datatype).close()
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
        timer = threading.Timer(LIMITED_SECONDS, process.kill)
        timer.start()
        if told:
            # Once for what is to be in memory, as the peer's process does by itself.
            print(told, file=process.stdin, flush=True)
            process.stdout.readline()
            print(told, file=process.stdin, flush=True)
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


class Run:
    """Figures by what they are of, kept in a file beside the engines' files."""

    def __init__(self, driver, folder, place):
        self.driver, self.place = driver, place
        made = f"{place}/data"
        if not os.path.exists(f"{made}/neighbors.i32.npy"):
            perturbed(folder, made)
        self.data = Data(made)
        self.figures = {}
        if os.path.exists(f"{place}/figures.json"):
            with open(f"{place}/figures.json", encoding="utf-8") as file:
                self.figures = json.load(file)

    def once(self, name, measure):
        if name not in self.figures:
            self.figures[name] = measure()
            with open(f"{self.place}/figures.json", "w", encoding="utf-8") as file:
                json.dump(self.figures, file)
        return self.figures[name]

    def folder(self, engine, rows):
        return f"{self.place}/{engine.replace(', ', '-')}-{rows}"

    def opened(self, engine, rows):
        name, stored = engine.split(", ")
        open_anew = shoal if name == "shoal" else qdrant

        def measure():
            made = self.folder(engine, rows)
            shutil.rmtree(made, ignore_errors=True)  # what a run that was cut off left
            return open_anew(self.driver, self.data, made, rows, STORED[stored])

        return self.once(f"{engine}, {rows}", measure)

    def curve(self, group, engine):
        """Queries per second by limit."""
        name, stored = engine.split(", ")
        rows, whole, none = len(self.data.base), self.folder(engine, len(self.data.base)), self.folder(engine, 1)

        def command(folder):
            words = [self.driver, self.data.folder, "--dir", folder, "--passes", "1", "--datatype", STORED[stored]]
            return words if name == "shoal" else child(self.data, folder)

        def measure():
            # For the size of an engine with no points, a folder with one.
            shutil.rmtree(none, ignore_errors=True)
            if name == "shoal":
                Shoal(self.driver, self.data, none, rows, datatype=STORED[stored]).build(1).close()
            else:
                Qdrant(self.data, none, rows=1, datatype=STORED[stored]).close()
            told = f"walk 1 {EF}" if name == "shoal" else ""
            return list(by_limit(group, rows, command(whole), whole, (command(none), none), told).items())

        # As pairs: a key of None does not come back from JSON as it was.
        return {limit: qps for limit, qps in self.once(f"{engine}, limits", measure)}


def limits_page(run):
    group = Group.make()
    if group is None:
        return ["", "Nothing was measured under a limit: this system lets us make no control group.", ""]
    curves = {engine: run.curve(group, engine) for engine in ENGINES}
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
    told = [f"{name} in {least:,}" for name, least in fits.items() if least]
    lines += ["", f"With {FITS:.0%} of its most queries/s or better: {', '.join(told)} bytes a vector.", ""]
    return lines


def main():
    if sys.argv[1] == "--child":
        return qdrant_child(Data(sys.argv[2]), sys.argv[3])
    driver, folder, out = sys.argv[1:4]
    with tempfile.TemporaryDirectory() as place:
        if len(sys.argv) > 4:
            place = sys.argv[4]
            os.makedirs(place, exist_ok=True)
        run = Run(driver, folder, place)
        rows = len(run.data.base)
        figures = {(engine, some): run.opened(engine, some) for engine in ENGINES for some in (rows, rows // TENTH)}
        limits = limits_page(run)
    theirs = figures[(ENGINES[2], rows)]["anonymous"] + figures[(ENGINES[2], rows)]["files"]
    page = [
        "# Start and memory",
        "",
        f"{run.data.base.shape[1]} dimensions, stored as f32 or as f16, {CORES} cores. Files are in the page cache, as after a"
        " process that ended. Anonymous memory is the process's own; pages of files can be taken back by the system. In a search"
        " Shoal reads the file pages of the vectors that it compares exactly.",
        "",
        f"| | points | recall@10 at ef {EF} | start to first answer, s | bytes a vector, anonymous | pages of files | together, times qdrant-edge's of f32 |",
        "|---" * 7 + "|",
    ]
    for (name, points), figure in figures.items():
        each = [figure[kind] / points for kind in ("anonymous", "files")]
        times = f"{sum(each) * rows / theirs:.2f}" if points == rows else ""
        recall = f"{figure['recall']:.4f}" if points == rows else ""
        page.append(f"| {name} | {points:,} | {recall} | {figure['first']:.3f} | {each[0]:,.0f} | {each[1]:,.0f} | {times} |")
    plot.bars(
        f"{out}/memory.svg",
        f"bytes of memory a vector, {rows:,} of them",
        {
            f"{name}, {what}": figures[(name, rows)][kind] / rows
            for name in ENGINES
            for kind, what in (("anonymous", "its own"), ("files", "pages of files"))
        },
    )
    save(out, "footprint", page + ["", "![memory](memory.svg)"] + limits)


if __name__ == "__main__":
    main()
