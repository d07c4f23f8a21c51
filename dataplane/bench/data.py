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


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def nearest(rows, queries):
    return np.array([np.argsort(-(rows @ query), kind="stable")[:NEIGHBOURS] for query in queries], dtype=np.int32)


def perturbed(folder, out):
    """The data of a folder, whose vectors were stored as f16, as f32 that no f16 is equal to: for measurements that compare
    the two. Neighbours are found anew."""
    rng = np.random.default_rng(11)
    base = np.load(f"{folder}/base.f16.npy").astype(np.float32)
    base += rng.normal(0, OFF, base.shape).astype(np.float32)
    os.makedirs(out, exist_ok=True)
    np.save(f"{out}/base.f32.npy", base)
    queries = np.load(f"{folder}/queries.f16.npy")
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
