"""over_http.py DRIVER DATA OUT [ROUNDS]: searches of `shoal serve` over HTTP, beside hnswlib called in its own process.

The server, wrk and nothing else share the machine while wrk asks; hnswlib has it to itself, on one thread, in turns with that.
The binary `shoal` lies beside the driver. Writes OUT/over_http.md and OUT/over_http.svg. (Not http.py: that name is Python's.)
"""
import http.client
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import plot
from peers import BATCH, CORES, EF_CONSTRUCT, K, M, Data, Hnswlib, save
from walk import EFS, TARGETS, qps_at

CONNECTIONS, THREADS, SECONDS = 8, 2, 3
NEEDED = {0.95: 1.5, 0.99: 3.0}  # times hnswlib's
SCRIPT = pathlib.Path(__file__).with_name("wrk.lua")


def shortest(vector):
    """The vector as JSON, each number with as few digits as give the same float32 back."""
    return "[" + ",".join(np.format_float_positional(value, trim="0") for value in vector) + "]"


class Server:
    """`shoal serve` with one collection of one shard, whose points become one segment."""

    def __init__(self, binary, data):
        self.data, self.recalls = data, {}
        self.folder = tempfile.mkdtemp()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % free.getsockname()[1]
        command = [binary, "serve", "--data", f"{self.folder}/data", "--listen", self.address, "--shards", "1"]
        command += ["--flush-points", str(len(data.base)), "--flush-bytes", "4Gi", "--flush-log-bytes", "16Gi"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.connection = http.client.HTTPConnection(self.address, timeout=120)
        self.texts = [shortest(query) for query in data.queries]

    def ask(self, method, path, body=None):
        self.connection.request(method, path, body, {"Content-Type": "application/json"})
        response = self.connection.getresponse()
        text = response.read()
        if response.status != 200:
            sys.exit(f"{method} {path}: {response.status} {text.decode(errors='replace')}")
        return json.loads(text)["result"]

    def await_start(self):
        for _ in range(600):
            try:
                return self.ask("GET", "/collections")
            except OSError:
                self.connection.close()
                if self.process.poll() is not None:
                    break
                time.sleep(0.05)
        sys.exit(f"shoal serve does not answer on {self.address}")

    def fill(self):
        rows, size = self.data.base.shape
        vectors = {"vectors": {"size": size, "distance": "Cosine"}, "hnsw_config": {"ef_construct": EF_CONSTRUCT}}
        self.ask("PUT", "/collections/bench", json.dumps(vectors))
        point = '{"id": %d, "vector": [' + ",".join(["%.9g"] * size) + "]}"
        for first in range(0, rows, BATCH):
            some = range(first, min(first + BATCH, rows))
            points = ",".join(point % (row, *self.data.base[row].tolist()) for row in some)
            self.ask("PUT", "/collections/bench/points?wait=true", '{"points": [' + points + "]}")
        return self.settled()

    def settled(self):
        """Segments, once all points are in graphs and their number has stood still for some seconds."""
        stood, before = 0, None
        while stood < 6:
            time.sleep(0.5)
            info = self.ask("GET", "/collections/bench")
            all_in = info["indexed_vectors_count"] == len(self.data.base)
            stood = stood + 1 if all_in and info["segments_count"] == before else 0
            before = info["segments_count"]
        return before

    def body(self, query, ef):
        return f'{{"query": {self.texts[query]}, "limit": {K}, "params": {{"hnsw_ef": {ef}}}}}'

    def recall(self, ef):
        path = "/collections/bench/points/query"
        answers = [self.ask("POST", path, self.body(query, ef)) for query in range(len(self.texts))]
        return self.data.recall([[point["id"] for point in answer["points"]] for answer in answers])

    def measure(self, ef):
        """Recall, QPS, and milliseconds of which half and 99 of a hundred answers took less."""
        if ef not in self.recalls:
            self.recalls[ef] = self.recall(ef)
        bodies = f"{self.folder}/{ef}.jsonl"
        if not os.path.exists(bodies):
            with open(bodies, "w", encoding="utf-8") as file:
                file.writelines(self.body(query, ef) + "\n" for query in range(len(self.texts)))
        command = ["wrk", f"-c{CONNECTIONS}", f"-t{THREADS}", f"-d{SECONDS}s", "-s", str(SCRIPT)]
        command += [f"http://{self.address}/collections/bench/points/query", "--", bodies]
        said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        if said["failed"]:
            sys.exit(f"{said['failed']} of {said['requests']} answers were errors")
        return self.recalls[ef], said["requests"] / said["micros"] * 1e6, said["p50"] / 1e3, said["p99"] / 1e3

    def close(self):
        self.connection.close()
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder)


def compare(server, library, rounds, efs):
    """By ef: medians over rounds of what the server and what the library gave."""
    ours, theirs = [[] for _ in efs], [[] for _ in efs]
    for _ in range(rounds):
        for i, ef in enumerate(efs):
            ours[i].append(server.measure(ef))
            theirs[i].append(library.measure(1, ef))
    def middle(points):
        return [tuple(statistics.median(column) for column in zip(*point)) for point in points]

    return middle(ours), middle(theirs)


def tables(ours, theirs, efs):
    lines = ["![recall and queries per second](over_http.svg)", ""]
    lines += ["| ef | shoal, HTTP: recall | QPS | p50, ms | p99, ms | hnswlib, in its process: recall | QPS |", "|---" * 7 + "|"]
    for ef, (recall, qps, p50, p99), (their_recall, their_qps) in zip(efs, ours, theirs):
        lines.append(f"| {ef} | {recall:.4f} | {qps:,.0f} | {p50:.2f} | {p99:.2f} | {their_recall:.4f} | {their_qps:,.0f} |")
    lines += ["", "QPS at a recall, between the measured points:", ""]
    lines += ["| recall@10 | shoal, HTTP | hnswlib, one thread | times | wanted |", "|---" * 5 + "|"]
    for target in TARGETS:
        at = [qps_at(target, [point[:2] for point in curve]) for curve in (ours, theirs)]
        times = f"**{at[0] / at[1]:.2f}**" if all(at) else "not reached"
        cells = [f"{qps:,.0f}" if qps else "not reached" for qps in at]
        lines.append(f"| {target} | {cells[0]} | {cells[1]} | {times} | {NEEDED[target]} |")
    return lines


def main():
    if shutil.which("wrk") is None:
        sys.exit("the page over_http needs wrk: install it (Debian, Ubuntu: apt-get install wrk), or leave the page out of PAGES")
    driver, folder, out = sys.argv[1:4]
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 3
    data = Data(folder)
    library = Hnswlib(data)
    server = Server(str(pathlib.Path(driver).with_name("shoal")), data)
    try:
        server.await_start()
        segments = server.fill()
        ours, theirs = compare(server, library, rounds, EFS)
        length = len(server.body(0, EFS[0]))
    finally:
        server.close()
    plot.recall_and_qps(f"{out}/over_http.svg", {
        "shoal, HTTP": [point[:2] for point in ours],
        "hnswlib, in its process, 1 thread": theirs,
    })
    page = [
        "# Search over HTTP",
        "",
        f"`shoal serve` with {len(data.base):,} vectors of {data.base.shape[1]} in one shard of {segments} segment"
        f"{'s' * (segments != 1)}, recall@10 by cosine, medians of {rounds} rounds in turns. wrk asks over {CONNECTIONS} connections"
        f" from {THREADS} threads for {SECONDS} s each, on the same {CORES} cores; a query is some {length:,} bytes of JSON. hnswlib"
        f" (M {M}, ef_construct {EF_CONSTRUCT}, f32) is called in its own process, on one thread, with the machine to itself.",
        "",
    ]
    save(out, "over_http", page + tables(ours, theirs, EFS))


if __name__ == "__main__":
    main()
