"""data.py SAMPLE OUT [ROWS]: data for benchmarks from the bundled sample, for who has no other.

The sample's vectors, then further ones, each the direction between two of them that are picked at random, at a random
place between, with a little noise: as near to each other as real ones are, and none twice. Then the sample's queries, and
their exact neighbours by cosine. The same on every machine.
"""
import os
import sys

import numpy as np

NOISE = 0.02  # of a coordinate, where a coordinate of a unit vector of 384 is some 0.05
OFF = 1e-4  # what is added to such a coordinate, which f16 tells to 3e-5
NEIGHBOURS = 100
NEAR = 0.03  # of a coordinate: a query is that far from the vector that it was made of


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def nearest(rows, queries):
    """Numbers of the rows nearest to each query, nearest first."""
    found = []
    for some in np.array_split(queries, max(1, len(queries) // 100)):
        for far in -(some @ rows.T):
            near = np.sort(np.argpartition(far, NEIGHBOURS)[:NEIGHBOURS])
            found.append(near[np.argsort(far[near], kind="stable")])
    return np.array(found, dtype=np.int32)


def perturbed(folder, out, count=10_000):
    """The data of a folder, whose vectors were stored as f16, as f32 that no f16 is equal to: for measurements that compare
    the two. Queries lie near to vectors that are picked at random, so that searches go everywhere and read all there is."""
    rng = np.random.default_rng(11)
    base = np.load(f"{folder}/base.f16.npy").astype(np.float32)
    base += rng.normal(0, OFF, base.shape).astype(np.float32)
    os.makedirs(out, exist_ok=True)
    np.save(f"{out}/base.f32.npy", base)
    picked = base[rng.integers(0, len(base), count)]
    queries = (picked + rng.normal(0, NEAR, picked.shape)).astype(np.float16)
    np.save(f"{out}/queries.f16.npy", queries)
    np.save(f"{out}/neighbors.i32.npy", nearest(unit(base), unit(queries.astype(np.float32))))


def main():
    sample, out = sys.argv[1:3]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 100_000
    rng = np.random.default_rng(7)
    real = unit(np.load(f"{sample}/vectors.f16.npy").astype(np.float32))
    queries = unit(np.load(f"{sample}/queries.f16.npy").astype(np.float32))
    more = max(0, count - len(real))
    left, right = rng.integers(0, len(real), (2, more))
    place = rng.uniform(0.2, 0.8, (more, 1)).astype(np.float32)
    between = real[left] * place + real[right] * (1 - place)
    between = unit(between + rng.normal(0, NOISE, between.shape).astype(np.float32))
    base = np.concatenate([real, between])[:count].astype(np.float16)
    rows = unit(base.astype(np.float32))
    os.makedirs(out, exist_ok=True)
    np.save(f"{out}/base.f16.npy", base)
    np.save(f"{out}/queries.f16.npy", queries.astype(np.float16))
    np.save(f"{out}/neighbors.i32.npy", nearest(rows, queries))


if __name__ == "__main__":
    main()
