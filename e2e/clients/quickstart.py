#!/usr/bin/env python3
"""The unmodified qdrant-client walks through its own quick start, and a little further.

Usage: quickstart.py URL [--api-key KEY | environment SHOAL_API_KEY] [--collection NAME]

Every step asserts what Qdrant answers. Exits 0 and prints one line for each step, or fails with the first difference.
The collection is deleted at the end, and at the start if an earlier run left it behind.
"""
import argparse
import os
import warnings

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse
from qdrant_client.models import Distance, FieldCondition, Filter, MatchValue, PointStruct, VectorParams

POINTS = [
    PointStruct(id=1, vector=[0.05, 0.61, 0.76, 0.74], payload={"city": "Berlin"}),
    PointStruct(id=2, vector=[0.19, 0.81, 0.75, 0.11], payload={"city": "London"}),
    PointStruct(id=3, vector=[0.36, 0.55, 0.47, 0.94], payload={"city": "Moscow"}),
    PointStruct(id=4, vector=[0.18, 0.01, 0.85, 0.80], payload={"city": "New York"}),
    PointStruct(id=5, vector=[0.24, 0.18, 0.22, 0.44], payload={"city": "Beijing"}),
    PointStruct(id=6, vector=[0.35, 0.08, 0.11, 0.44], payload={"city": "Mumbai"}),
]
QUERY = [0.2, 0.1, 0.9, 0.7]
LONDON = Filter(must=[FieldCondition(key="city", match=MatchValue(value="London"))])


def step(text):
    print(f"ok: {text}", flush=True)


def refused(status, call, *words):
    """Calls, and asserts that the answer is this status with these words in its error."""
    try:
        call()
    except UnexpectedResponse as error:
        assert error.status_code == status, f"{error.status_code} instead of {status}: {error.content}"
        text = error.content.decode()
        for word in words:
            assert word in text, f"{word!r} is not in {text}"
        return
    raise AssertionError(f"answered, instead of refusing with {status}")


def scores(found):
    return [(point.id, round(point.score, 3)) for point in found]


def quick_start(client, name):
    """https://qdrant.tech/documentation/quickstart/"""
    assert client.create_collection(
        collection_name=name, vectors_config=VectorParams(size=4, distance=Distance.DOT)
    )
    assert client.collection_exists(name)
    assert name in [collection.name for collection in client.get_collections().collections]
    step("the collection is made, exists, and is listed")

    done = client.upsert(collection_name=name, wait=True, points=POINTS)
    assert done.status == models.UpdateStatus.COMPLETED, done
    step("six points are upserted and visible")

    found = client.query_points(collection_name=name, query=QUERY, with_payload=False, limit=3).points
    assert scores(found) == [(4, 1.362), (1, 1.273), (3, 1.208)], found
    assert all(point.payload is None for point in found), found
    step("a query finds the nearest with the scores of the documentation")

    found = client.query_points(
        collection_name=name, query=QUERY, query_filter=LONDON, with_payload=True, limit=3
    ).points
    assert scores(found) == [(2, 0.871)] and found[0].payload == {"city": "London"}, found
    step("a filter leaves the one that matches")


def reading(client, name):
    info = client.get_collection(name)
    assert info.status == models.CollectionStatus.GREEN, info
    assert info.points_count == 6, info
    assert info.config.params.vectors == VectorParams(size=4, distance=Distance.DOT), info
    step("the collection describes itself")

    assert client.count(name, exact=True).count == 6
    assert client.count(name, count_filter=LONDON).count == 1
    step("counts are right, with a filter too")

    first, offset = client.scroll(name, limit=4, with_vectors=True)
    assert [point.id for point in first] == [1, 2, 3, 4] and offset == 5, (first, offset)
    assert first[0].vector == [0.05, 0.61, 0.76, 0.74], first[0]
    rest, offset = client.scroll(name, limit=4, offset=offset)
    assert [point.id for point in rest] == [5, 6] and offset is None, (rest, offset)
    step("scroll pages through all points in the order of ids")

    some = client.retrieve(name, ids=[6, 99, 1], with_payload=["city"])
    assert [(point.id, point.payload["city"]) for point in some] == [(6, "Mumbai"), (1, "Berlin")], some
    step("retrieve returns those that exist, in the order asked")

    near_4 = client.query_points(name, query=4, limit=2).points
    assert 4 not in [point.id for point in near_4] and len(near_4) == 2, near_4
    exact = client.query_points(
        name, query=QUERY, limit=3, offset=1, score_threshold=1.21,
        search_params=models.SearchParams(hnsw_ef=64, exact=True),
    ).points
    assert scores(exact) == [(1, 1.273)], exact
    batch = client.query_batch_points(
        name, requests=[models.QueryRequest(query=QUERY, limit=1), models.QueryRequest(query=1, limit=1)]
    )
    assert scores(batch[0].points) == [(4, 1.362)] and len(batch) == 2, batch
    step("queries take ids, parameters, thresholds, offsets and come in batches")


def changing(client, name):
    client.set_payload(name, payload={"visited": True}, points=[1, 2], wait=True)
    visited = Filter(must=[FieldCondition(key="visited", match=MatchValue(value=True))])
    assert client.count(name, count_filter=visited).count == 2
    client.overwrite_payload(name, payload={"city": "Potsdam"}, points=[1], wait=True)
    client.delete_payload(name, keys=["visited"], points=[2], wait=True)
    client.clear_payload(name, points_selector=models.PointIdsList(points=[3]), wait=True)
    payloads = {point.id: point.payload for point in client.retrieve(name, ids=[1, 2, 3])}
    assert payloads == {1: {"city": "Potsdam"}, 2: {"city": "London"}, 3: {}}, payloads
    step("payloads are set, overwritten, thinned out and cleared")

    client.upsert(
        name, wait=True,
        points=models.Batch(ids=[7, 8], vectors=[[1, 0, 0, 0], [0, 1, 0, 0]], payloads=[{"city": "Oslo"}, {}]),
    )
    assert client.count(name).count == 8
    client.delete(name, points_selector=models.PointIdsList(points=[7]), wait=True)
    client.delete(name, points_selector=models.FilterSelector(filter=LONDON), wait=True)
    left, _ = client.scroll(name, limit=100)
    assert [point.id for point in left] == [1, 3, 4, 5, 6, 8], left
    step("points are deleted by id and by filter")

    done = client.upsert(name, points=[PointStruct(id=9, vector=[0, 0, 1, 0])], wait=False)
    assert done.status == models.UpdateStatus.ACKNOWLEDGED, done
    client.upload_points(name, [PointStruct(id=n, vector=[0, 0, 0, 1]) for n in range(100, 300)], batch_size=64, wait=True)
    assert client.count(name).count == 207
    step("uploads in batches arrive whole")


def indexing(client, name):
    left = [point.id for point in client.scroll(name, limit=100)[0]]
    beijing = Filter(must=[FieldCondition(key="city", match=MatchValue(value="Beijing"))])
    before = client.count(name, count_filter=beijing).count
    client.create_payload_index(name, "city", "keyword", wait=True)
    assert "city" in client.get_collection(name).payload_schema
    assert client.count(name, count_filter=beijing).count == before > 0
    found = client.query_points(name, query=QUERY, query_filter=beijing, limit=10).points
    assert len(found) == before and {point.id for point in found} <= set(left), found
    client.delete_payload_index(name, "city", wait=True)
    assert "city" not in client.get_collection(name).payload_schema
    step("payload fields are indexed, searched by, and no longer indexed")


def several_vectors(client, name):
    vectors = {
        "image": VectorParams(size=2, distance=Distance.EUCLID),
        "text": VectorParams(size=3, distance=Distance.COSINE),
    }
    sparse = {"words": models.SparseVectorParams()}
    client.create_collection(name, vectors_config=vectors, sparse_vectors_config=sparse)
    words = models.SparseVector(indices=[3, 70_000], values=[1.0, 2.0])
    client.upsert(
        name, wait=True,
        points=[
            PointStruct(id=1, vector={"image": [0, 0], "text": [1, 0, 0], "words": words}),
            PointStruct(id=2, vector={"image": [3, 4]}),
        ],
    )
    assert scores(client.query_points(name, query=[0.0, 0.0], using="image").points) == [(1, 0.0), (2, 5.0)]
    assert scores(client.query_points(name, query=[2.0, 0.0, 0.0], using="text").points) == [(1, 1.0)]
    asked = models.SparseVector(indices=[70_000], values=[0.5])
    assert scores(client.query_points(name, query=asked, using="words").points) == [(1, 1.0)]
    client.update_vectors(name, points=[models.PointVectors(id=2, vector={"text": [0, 1, 0]})])
    client.delete_vectors(name, vectors=["image"], points=[1])
    held = {point.id: set(point.vector) for point in client.retrieve(name, ids=[1, 2], with_vectors=True)}
    assert held == {1: {"text", "words"}, 2: {"image", "text"}}, held
    having = Filter(must=[models.HasVectorCondition(has_vector="image")])
    assert client.count(name, count_filter=having).count == 1
    assert client.delete_collection(name)
    step("points have several vectors, sparse ones too, which are searched and changed by name")


def refusals(client, name):
    refused(404, lambda: client.count("no_such_collection"), "no_such_collection", "doesn't exist")
    refused(409, lambda: client.create_collection(name, VectorParams(size=4, distance=Distance.DOT)), "already exists")
    refused(400, lambda: client.query_points(name, query=[1.0, 2.0]), "expected dim: 4, got 2")
    refused(404, lambda: client.query_points(name, query=424242), "424242")
    refused(422, lambda: client.scroll(name, limit=0), "limit")
    refused(400, lambda: client.query_points(name, query=QUERY, using="title"), "title")
    fusion = models.FusionQuery(fusion=models.Fusion.RRF)
    prefetch = [models.Prefetch(query=QUERY, limit=3)]
    refused(501, lambda: client.query_points(name, prefetch=prefetch, query=fusion), "prefetch")
    step("what is wrong or not there yet is refused, by name")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--api-key", default=os.environ.get("SHOAL_API_KEY"))
    parser.add_argument("--collection", default="my_collection")
    args = parser.parse_args()
    # The client warns when it does not know the server's version; that would be a failure of ours. That a key goes
    # over plain HTTP is this test's doing.
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
    client = QdrantClient(url=args.url, api_key=args.api_key, timeout=180)
    if client.collection_exists(args.collection):
        client.delete_collection(args.collection)
    quick_start(client, args.collection)
    reading(client, args.collection)
    changing(client, args.collection)
    indexing(client, args.collection)
    several_vectors(client, f"{args.collection}_of_several")
    refusals(client, args.collection)
    assert client.delete_collection(args.collection)
    assert not client.collection_exists(args.collection)
    step("the collection is deleted")


if __name__ == "__main__":
    main()
