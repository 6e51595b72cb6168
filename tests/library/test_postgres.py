"""An index in PostgreSQL: what a server adds to what every kind of index does, and what it does when it is away."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from clipsearch import limits
from clipsearch.library.records import Changes, Details, Entry, Filters, LibraryError
from clipsearch.library.store import Store, open_store
from tests.library.conftest import OpenStore
from tests.support import killed
from tests.support.library import TIMEOUT, add_photos, counts, demo_fingerprint, index, jpeg
from tests.support.postgres import PASSWORD, PostgresServer
from tests.support.searches import Passes, until
from tests.support.servers import ROOT

MODEL = "model"
DIMENSIONS = 32


@pytest.fixture(params=["postgres"])
def place(postgres: PostgresServer) -> str:
    """Where a new index is."""
    return postgres.new_index()


def schema(place: str) -> str:
    """The schema of an index."""
    return place.partition("search_path%3D")[2].partition("%")[0]


def fill(store: Store, count: int = 3_000) -> np.ndarray:
    """An index of photos whose features lie around some centres, a tenth of them in the folder "few"."""
    random = np.random.default_rng(0)
    centres = 5 * random.standard_normal((20, DIMENSIONS))
    features = centres[random.integers(0, 20, count)] + random.standard_normal((count, DIMENSIONS))
    lengths = random.normal(10, 0.5, (count, 1))  # as CLIP's are
    features *= lengths / np.linalg.norm(features, axis=1, keepdims=True)
    features = features.astype(np.float16).astype(np.float32)
    names = [f"{'few' if number % 10 == 0 else 'many'}/{number}.jpg" for number in range(count)]
    photos = [(Entry(name), name, Details(title="snow")) for name in names]
    with_names = {name: features[place : place + 1] for place, name in enumerate(names)}
    store.apply(Changes(photos=photos, features=with_names), MODEL)
    return features


def best(features: np.ndarray, target: np.ndarray, cosine: bool, folder: str, count: int) -> list[str]:
    scores = features @ target[0]
    if cosine:
        scores = scores / np.linalg.norm(features, axis=1)
    names = [f"{'few' if number % 10 == 0 else 'many'}/{number}.jpg" for number in np.argsort(-scores, kind="stable")]
    return [name for name in names if name.startswith(folder)][:count]


@pytest.mark.parametrize("cosine", [False, True])
def test_index_of_vectors_is_built_when_there_are_many(
    store: Store, place: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, cosine: bool
) -> None:
    monkeypatch.setattr(limits, "RESCAN_PAUSE", 0.0)
    features = fill(store)
    target = features[:1] + 1
    name = f"feature_1_{'cosine' if cosine else 'ip'}"
    uses = (
        "SELECT coalesce(idx_scan, 0) FROM pg_index JOIN pg_stat_user_indexes USING (indexrelid)"
        f" WHERE indexrelname = '{name}' AND schemaname = '{schema(place)}' AND indisvalid"
    )

    def found(count: int, folder: str = "") -> list[str]:
        hits = store.nearest(target, MODEL, count, cosine, Filters(folder=folder) if folder else None)
        return [photo.entry.path for photo in store.get([hit.id for hit in hits])]

    exact = found(100)
    assert exact == best(features, target, cosine, "", 100)
    assert not postgres.execute(uses)
    few = best(features, target, cosine, "few", 290)
    assert found(290, "few") == few
    monkeypatch.setattr(limits, "FILTERED_FIRST_BELOW", 200)
    assert found(290, "few") == few
    monkeypatch.setattr(limits, "EXACT_BELOW", 200)
    assert found(100) == exact
    until(lambda: bool(postgres.execute(uses)))
    assert len(set(found(100)) & set(exact)) >= 98
    assert len(set(found(100, "few")) & set(few[:100])) >= 98
    monkeypatch.setattr(limits, "HNSW_VISITS", 1)  # a search that gives up at once goes on without the index
    assert found(290, "few") == few
    store.close()  # the server counts uses when a connection ends
    until(lambda: postgres.execute(uses) != [(0,)])


def test_log_says_that_an_index_of_vectors_takes_more_memory_than_allowed(
    place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "RESCAN_PAUSE", 0.0)
    monkeypatch.setattr(limits, "EXACT_BELOW", 200)
    monkeypatch.setattr(limits, "HNSW_MEGABYTES", 1)
    little = place.replace("options=", "options=-c%20maintenance_work_mem%3D1MB%20")
    with closing(open_store(little, Path())) as store:
        target = fill(store)[:1]
        store.nearest(target, MODEL, 1)
        until(lambda: "Increase maintenance_work_mem" in caplog.text)


def test_any_text_comes_back(store: Store) -> None:
    odd = "a\0b\\c\\u0000\udc80é犬"
    entry = Entry(f"{odd}/{odd}.jpg", 1, 2)
    details = Details(title=odd, description=odd, keywords=odd, camera=odd, photographer=odd)
    changes = Changes(photos=[(entry, odd, details)], features={odd: np.ones((1, 3), np.float32)})
    store.apply(changes, MODEL)
    store.apply(Changes(failed=[(Entry(f"{odd}.png"), odd)], mounts={odd}), MODEL)
    (hit,) = store.nearest(np.ones((1, 3), np.float32), MODEL, 10, filters=Filters(folder=odd))
    (photo,) = store.get([hit.id])
    assert (photo.entry, photo.content, photo.details) == (entry, odd, details)
    assert store.keywords("b", 10, Filters(folder=odd)) == [hit.id]
    assert (store.folders(), store.mounts(), store.encoded(MODEL)) == ([odd], {odd}, {odd})
    assert (list(store.known()), store.failed()) == ([entry.path], {f"{odd}.png": (0, 0, odd)})
    store.apply(Changes(removed=[entry.path, f"{odd}.png"]), MODEL)
    assert store.known() == store.failed() == {}


# Several indexers


def test_each_block_has_one_indexer_at_a_time(open_again: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CLAIMED_PHOTOS", 10)
    monkeypatch.setattr(limits, "CLAIM_PAUSE", 0.0)
    one, other = open_again(), open_again()
    entries = [Entry(f"{number}.jpg", 1, 1) for number in range(30)]
    dead = one.blocks(entries, MODEL)
    lost = next(dead).entries
    assert 0 < len(lost) < 30
    others: list[Entry] = []
    with closing(other.blocks(entries, MODEL)) as blocks:
        for block in blocks:
            others += block.entries
            if not block.entries:
                break
        assert not set(others) & set(lost)
        assert {*others, *lost} == set(entries)
        dead.close()
        assert {entry for block in blocks for entry in block.entries} == set(lost)


def test_what_another_indexer_has_done_is_left_out(open_again: OpenStore) -> None:
    one, other = open_again(), open_again()
    entries = [Entry(f"{number}.jpg", 1, 1) for number in range(4)]
    features = {"0": np.ones((1, 3), np.float32)}
    other.apply(Changes(photos=[(entries[0], "0", Details())], features=features), MODEL)
    other.apply(Changes(photos=[(entries[1], "1", Details())], failed=[(entries[2], "is empty")]), MODEL)
    ((block),) = one.blocks(entries, MODEL)
    assert block.entries == [entries[1], entries[3]]


def test_content_is_encoded_by_one_indexer(open_again: OpenStore) -> None:
    one, other = open_again(), open_again()
    with (
        closing(one.blocks([Entry("a.jpg")], MODEL)) as first,
        closing(other.blocks([Entry("b.jpg")], MODEL)) as second,
    ):
        mine, theirs = next(first), next(second)
        assert mine.claim(["same", "mine"]) == ({"same", "mine"}, set())
        assert theirs.claim(["same", "theirs"]) == ({"theirs"}, set())
        one.apply(Changes(features={"same": np.ones((1, 3), np.float32)}), MODEL)
        assert theirs.claim(["same", "mine"]) == (set(), {"same"})
        assert mine.claim([]) == (set(), set())
        assert theirs.claim(["mine"]) == ({"mine"}, set())


def test_indexers_share_the_work(
    folder: Path, open_again: OpenStore, passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CLAIMED_PHOTOS", 4)
    monkeypatch.setattr(limits, "CLAIM_PAUSE", 0.01)
    for number in range(40):
        (folder / f"{number}.jpg").write_bytes(jpeg(number % 20))
    stores = [open_again() for _ in range(3)]
    done: list[dict[str, int]] = []
    threads = [
        threading.Thread(target=lambda store=store: done.append(counts(index(folder, store)))) for store in stores
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [one["photos"] for one in done] == [40, 40, 40]
    assert sum(one.get("encoded", 0) for one in done) == passes.images == 20
    assert len(stores[0].encoded(demo_fingerprint())) == 20


def test_indexer_that_is_killed_gives_its_photos_back(folder: Path, place: str, store: Store, tmp_path: Path) -> None:
    """Nothing is encoded twice but the batch that died with it."""
    total = limits.CLAIMED_PHOTOS + 50
    add_photos(folder, *(f"{number}.jpg" for number in range(total)))
    logs = [tmp_path / "alive", tmp_path / "dead"]
    alive, dead = (
        subprocess.Popen([sys.executable, "-m", "tests.support.killed", folder, place, log, moment], cwd=ROOT)
        for log, moment in zip(logs, ("never", "within a pass"), strict=True)
    )
    assert (dead.wait(TIMEOUT), alive.wait(TIMEOUT)) == (-signal.SIGKILL, 0)
    encoded = [sum(int(line.split()[0]) for line in log.read_text().splitlines()) for log in logs]
    assert all(encoded)
    assert total < sum(encoded) <= total + limits.MAX_BATCH
    assert len(store.known()) == len(store.encoded(killed.MODEL)) == total


# A server that is away, or refuses


def test_server_stopped_and_started_while_searches_go_on(
    store: Store, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "REFRESH_PAUSE", 0.05)
    fill(store, 50)
    stop = threading.Event()
    said: set[str] = set()
    found = threading.Semaphore(0)
    problems: list[BaseException] = []

    def search() -> None:
        while not stop.is_set():
            try:
                assert len(store.nearest(np.ones((1, DIMENSIONS), np.float32), MODEL, 10)) == 10
                assert store.keywords("snow", 10)
                found.release()
            except LibraryError as error:
                said.add(str(error))
            except BaseException as error:
                problems.append(error)
                return

    threads = [threading.Thread(target=search) for _ in range(4)]
    for one in threads:
        one.start()
    found.acquire(timeout=TIMEOUT)
    postgres.stop()
    try:
        until(lambda: any("cannot be reached" in sentence for sentence in said))
    finally:
        postgres.start()
    while found.acquire(blocking=False):
        pass
    assert found.acquire(timeout=TIMEOUT)
    stop.set()
    for one in threads:
        one.join()
    assert not problems
    assert all("PostgreSQL (127.0.0.1, postgres)" in sentence for sentence in said), said
    assert PASSWORD not in "".join(said) + caplog.text


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgresql://app:{password}@127.0.0.1:{port}/nowhere", "has no such database or user"),
        ("postgresql://app:x{password}@127.0.0.1:{port}/postgres", "does not accept the user or the password"),
        ("postgresql://app:{password}@127.0.0.1:1/postgres", "cannot be reached"),
        ("postgresql://app:{raw}@127.0.0.1:{port}/postgres", "is not a valid address"),
        ("postgresql://app:p@{password}@127.0.0.1:{port}/postgres", "is not a valid address"),
        ("postgres://full:{password}@127.0.0.1:{port}/postgres", "has no connection free"),
        ("postgres://reader:{password}@127.0.0.1:{port}/postgres", "may not do this"),
    ],
)
def test_one_sentence_without_the_password(
    postgres: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    url: str,
    sentence: str,
) -> None:
    monkeypatch.setattr(limits, "DATABASE_PATIENCE", 0.2)
    for role, limit in (("full", 0), ("reader", 5)):
        if not postgres.execute(f"SELECT 1 FROM pg_roles WHERE rolname = '{role}'"):
            postgres.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT {limit}")
    secret = postgres.url().partition("app:")[2].partition("@")[0]
    with caplog.at_level(logging.DEBUG), pytest.raises(LibraryError, match=sentence) as raised:
        store = open_store(url.format(password=secret, raw=PASSWORD, port=postgres.port), Path())
        with closing(store):
            store.known()
    logged = caplog.text + "".join(str(error) for error in (raised.value, raised.value.__cause__))
    assert PASSWORD not in logged
    assert secret not in logged


def test_server_that_only_reads(store: Store, place: str) -> None:
    fill(store, 20)
    read_only = open_store(f"{place}%20-c%20default_transaction_read_only%3Don", Path())
    with closing(read_only):
        assert len(read_only.nearest(np.ones((1, DIMENSIONS), np.float32), MODEL, 10)) == 10
        with pytest.raises(LibraryError, match="can only be read now"):
            read_only.apply(Changes(removed=["many/1.jpg"]), MODEL)


def test_index_of_a_newer_version_is_left_alone(
    store: Store, open_again: OpenStore, postgres: PostgresServer, place: str
) -> None:
    store.known()
    postgres.execute(f"UPDATE {schema(place)}.clipsearch SET version = 1000")
    with pytest.raises(LibraryError, match="written by a newer version of this app"):
        open_again().known()


def test_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("store_postgres", "vectors_postgres", "claims_postgres", "database_postgres"):
        monkeypatch.delitem(sys.modules, f"clipsearch.library.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(LibraryError, match=r"pip install -r requirements-postgres\.txt"):
        open_store("postgresql://user@127.0.0.1/photos", Path())
