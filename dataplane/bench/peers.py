"""The engines that are compared, each behind the same few methods, and what pages of figures have in common.

All hold the same vectors of unit length and are asked for the same ten nearest by cosine. Builds use all cores.
"""
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import hnswlib
import numpy as np
import qdrant_edge as qdrant
from usearch.index import Index

K = 10
PASSES = 3  # over the query set, so that a measurement is long enough to time
M, EF_CONSTRUCT = 16, 100
BATCH = 1_000
CORES = os.cpu_count()


def unit(rows):
    rows = rows.astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Data:
    def __init__(self, folder):
        self.folder = folder
        self.queries = unit(np.load(f"{folder}/queries.f16.npy"))
        self.truth = np.load(f"{folder}/neighbors.i32.npy")[:, :K]

    @functools.cached_property
    def base(self):
        floats = f"{self.folder}/base.f32.npy"
        return unit(np.load(floats if os.path.exists(floats) else f"{self.folder}/base.f16.npy"))

    def recall(self, found):
        hits = sum(len(set(f) & set(t)) for f, t in zip(found, self.truth))
        return hits / (K * len(self.truth))


class Library:
    """An index in this process whose `find(queries, threads)` gives ids. Recall is measured once an ef."""

    def __init__(self, data):
        self.data, self.recalls = data, {}
        self.tiled = np.tile(data.queries, (PASSES, 1))
        began = time.perf_counter()
        self.build()
        self.build_seconds = time.perf_counter() - began

    def measure(self, threads, ef):
        self.set_ef(ef)
        if ef not in self.recalls:
            self.recalls[ef] = self.data.recall(self.find(self.data.queries, CORES))
        began = time.perf_counter()
        self.find(self.tiled, threads)
        return self.recalls[ef], len(self.tiled) / (time.perf_counter() - began)


class Hnswlib(Library):
    name = "hnswlib"

    def build(self):
        self.index = hnswlib.Index("ip", self.data.base.shape[1])
        self.index.init_index(len(self.data.base), M=M, ef_construction=EF_CONSTRUCT, random_seed=100)
        self.index.add_items(self.data.base, num_threads=CORES)

    def set_ef(self, ef):
        self.index.set_ef(ef)

    def find(self, queries, threads):
        return self.index.knn_query(queries, k=K, num_threads=threads)[0]


class Usearch(Library):
    name = "usearch"

    def build(self):
        dimensions = self.data.base.shape[1]
        self.index = Index(ndim=dimensions, metric="ip", dtype="f32", connectivity=M, expansion_add=EF_CONSTRUCT)
        self.index.add(np.arange(len(self.data.base)), self.data.base, threads=CORES)

    def set_ef(self, ef):
        self.index.expansion_search = ef

    def find(self, queries, threads):
        return self.index.search(queries, K, threads=threads).keys


class Qdrant(Library):
    """Qdrant Edge: the engine of a Qdrant shard in this process. Searches go in batches, which it does best."""

    name = "qdrant-edge"

    def __init__(self, data, folder=None, rows=None, flush_each=False, datatype="Float32"):
        """`datatype`: what vectors are stored as, Float32 or Float16."""
        self.datatype = getattr(qdrant.VectorStorageDatatype, datatype)
        self.flush_each, self.rows = flush_each, len(data.base) if rows is None else rows
        self.made = folder is None
        self.folder = tempfile.mkdtemp() if folder is None else folder
        super().__init__(data)

    def config(self):
        vectors = qdrant.EdgeVectorParams(self.data.base.shape[1], qdrant.Distance.Cosine, datatype=self.datatype)
        graph = qdrant.HnswIndexConfig(M, EF_CONSTRUCT, 1, max_indexing_threads=CORES)
        # One segment, so that a search is of one graph, as it is elsewhere; whatever has 1 MB is indexed.
        optimizers = qdrant.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1_000)
        return qdrant.EdgeConfig(vectors=vectors, hnsw_config=graph, optimizers=optimizers)

    def build(self):
        self.shard = qdrant.EdgeShard.create(self.folder, self.config())
        began = time.perf_counter()
        for first in range(0, self.rows, BATCH):
            self.write(range(first, min(first + BATCH, self.rows)))
        self.shard.flush()
        self.written_seconds = time.perf_counter() - began
        self.shard.optimize()
        self.shard.flush()

    def write(self, rows):
        points = [qdrant.Point(row, self.data.base[row % len(self.data.base)].tolist()) for row in rows]
        self.shard.update(qdrant.UpdateOperation.upsert_points(points))
        if self.flush_each:
            self.shard.flush()

    def set_ef(self, ef):
        self.params = qdrant.SearchParams(hnsw_ef=ef)

    def request(self, query):
        return qdrant.QueryRequest(K, query=qdrant.Query.Nearest(query.tolist()), params=self.params)

    def find(self, queries, threads):
        parts = np.array_split(queries, threads)
        found = [None] * threads

        def work(part):
            ids = []
            for first in range(0, len(parts[part]), 100):
                some = [self.request(query) for query in parts[part][first : first + 100]]
                ids += [[hit.id for hit in hits] for hits in self.shard.query_batch(qdrant.QueryBatchRequest(some))]
            found[part] = ids

        workers = [threading.Thread(target=work, args=(part,)) for part in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return [ids for part in found for ids in part]

    def close(self):
        self.shard.close()
        if self.made:
            shutil.rmtree(self.folder)


class Shoal:
    """A shard of Shoal in a process of its own that is told what to do line by line."""

    name = "shoal"

    def __init__(self, driver, data, folder=None, segment=None, quantization=None, datatype="Float32"):
        """`segment`: points that become one segment together; by default all. `quantization`: Bits4, Int8 or None, and
        `datatype`: Float32 or Float16, as text."""
        self.made = folder is None
        self.folder = tempfile.mkdtemp() if folder is None else folder
        command = [driver, data.folder, "--dir", self.folder, "--passes", str(PASSES)]
        command += ["--segment", str(segment or len(data.base)), "--datatype", datatype]
        command += ["--quantization", quantization] if quantization else []
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line):
        print(line, file=self.process.stdin, flush=True)
        text = self.process.stdout.readline()
        answer = json.loads(text) if text else {"error": "the driver ended"}
        if "error" in answer:
            sys.exit(answer["error"])
        return answer

    def build(self, rows):
        built = self.ask(f"build {rows}")
        self.written_seconds, self.build_seconds = built["written"], built["graph"]
        return self

    def measure(self, threads, ef):
        answer = self.ask(f"walk {threads} {ef}")
        return answer["recall"], answer["qps"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        if self.made:
            shutil.rmtree(self.folder)


def medians(points):
    """Recall, and the median of queries per second."""
    return points[0][0], statistics.median(qps for _, qps in points)


def save(out, name, lines):
    text = "\n".join(lines) + "\n"
    with open(f"{out}/{name}.md", "w", encoding="utf-8") as file:
        file.write(text)
    print(text)
