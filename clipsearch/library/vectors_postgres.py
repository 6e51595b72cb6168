"""The search for features in PostgreSQL with pgvector: exact, or through an HNSW index among many.

An HNSW index only proposes candidates. They are scored again here, in fp32, so that both ways give the same scores.

Dot products alone make a poor graph: the neighbours of all vectors are the long ones, and the others are not reached.
So that index has all vectors extended to one length by one more number, which the target has as zero. This leaves the
dot products as they are, and makes them an order by distance.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from clipsearch import limits
from clipsearch.library.database_postgres import PostgresDatabase
from clipsearch.library.records import Filters, Hit, LibraryError
from clipsearch.library.rows import where
from clipsearch.library.text_postgres import encoded

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)

EXTRA_ROWS = 64  # candidates beyond the photos asked for, because one photo can have several rows
FILTERED_ROWS = 16  # times as many, where a filter that many photos pass is applied to the best, which is faster
HEADER = 4  # bytes before a vector's numbers, as the server sends it
GRAPH_BYTES = 1_000  # of a vector in an HNSW index with 24 links, beside its numbers, while it is built
# Where the best do not fit into this memory, PostgreSQL sorts all vectors on disk, which takes four times as long.
SORTING = "SELECT set_config('work_mem', %s || 'MB', true)"
# Without iterative scans, a filter is applied to the first candidates only, and may leave none. Without sorts, the
# planner takes the index whatever it guesses; it does not know how many photos a filter leaves.
OPTIONS = """
SELECT set_config('hnsw.ef_search', %s, true), set_config('hnsw.iterative_scan', 'relaxed_order', true),
       set_config('hnsw.max_scan_tuples', %s, true), set_config('hnsw.scan_mem_multiplier', '8', true),
       set_config('enable_sort', 'off', true)
"""
# The candidates first, then the photos that show them: copies share their features.
EXTENDED = "(vector || ARRAY[sqrt(greatest(0, {longest} ^ 2 - l2_norm(vector) ^ 2))]::float8[]::halfvec)"
LONGEST = """
UPDATE model SET longest = (SELECT round((%s * max(l2_norm(vector)))::numeric, 4) FROM feature WHERE model = %s)
WHERE id = %s AND longest IS NULL
"""
# What a build needs, but no more than the limit, or than the server's own setting where that is higher.
MEMORY = """
SELECT set_config('maintenance_work_mem', least(%s, greatest(%s, setting::int / 1024)) || 'MB', false)
FROM pg_settings WHERE name = 'maintenance_work_mem'
"""
SPARE = 1.05  # for vectors that are longer than those that were there when the index was built
ALL = "feature WHERE model = {model} {among}"
NEAR = """(
    SELECT content, square, squares, vector FROM feature
    WHERE model = {model} {among} ORDER BY {indexed} {operator} %s::halfvec LIMIT {reach}
) near"""
CANDIDATES = """
SELECT photo.id, best.square, best.squares, best.content, best.vector FROM (
    SELECT content, square, squares, vector FROM {near} ORDER BY vector {operator} %s::halfvec LIMIT {rows}
) best LEFT JOIN photo ON photo.content = best.content {condition}
"""


class Vectors:
    """The features of all models in a database."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._usable: dict[str, str] = {}  # indexes that are complete, with what they are on
        self._building: set[str] = set()
        self._large: set[int] = set()  # models with many features
        self._look_again: dict[object, float] = {}  # when to count a model's features, or to build an index, again

    def nearest(
        self, model: int, dimensions: int, target: np.ndarray, count: int, cosine: bool, filters: Filters
    ) -> list[Hit]:
        """The photos that fit features (1, d) best, best first."""
        condition, parameters = where(filters)
        parameters = [encoded(one) if isinstance(one, str) else one for one in parameters]
        condition = condition.replace("?", "%s")
        many = not condition or self._passes_many(condition, parameters)
        expression = self._expression(model, dimensions, cosine) if many and self._is_large(model) else ""
        rows = count + EXTRA_ROWS
        if condition and many and not expression:
            rows *= FILTERED_ROWS
        while count:
            text, extended = (_text([*target[0].tolist(), *more]) for more in ([], [] if cosine else [0]))
            early = bool(condition and (expression or not many))
            near = (NEAR if expression else ALL).format(
                model=model,
                among=f"AND EXISTS (SELECT 1 FROM photo WHERE photo.content = feature.content AND {condition})" * early,
                indexed=expression,
                operator="<=>" if cosine else "<#>",
                reach=max(rows, limits.HNSW_REACH),
            )
            sql = CANDIDATES.format(
                near=near,
                operator="<=>" if cosine else "<#>",
                rows=rows,
                condition=f"AND {condition}" * bool(condition),
            )
            targets = [extended, text] if expression else [text]
            found = self._candidates(sql, [*early * parameters, *targets, *parameters], bool(expression))
            complete = len({(content, square) for _, square, _, content, _ in found}) < rows
            hits = _scored([row for row in found if row[0] is not None], target, count, cosine)
            if len(hits) == count or (complete and not expression):
                return hits
            if complete:
                expression = ""  # the index may have given up too early
            rows *= 4
        return []

    def _candidates(self, sql: str, parameters: list[object], indexed: bool) -> list[tuple[int, int, int, str, bytes]]:
        with self._database.failures(), self._database.transaction() as cursor:
            cursor.execute(SORTING, [limits.SEARCH_MEGABYTES])
            if indexed:
                cursor.execute(OPTIONS, [str(limits.HNSW_SEARCH), str(limits.HNSW_VISITS)])
            return cursor.execute(sql, parameters, binary=True).fetchall()

    def _is_large(self, model: int) -> bool:
        """Whether a model has so many features that an index of them helps."""
        if model not in self._large and self._due(model, limits.RESCAN_PAUSE):  # it reads all of them
            sql = "SELECT count(*) FROM (SELECT FROM feature WHERE model = %s LIMIT %s) few"
            if self._database.all(sql, [model, limits.EXACT_BELOW]) == [(limits.EXACT_BELOW,)]:
                self._large.add(model)
        return model in self._large

    def _passes_many(self, condition: str, parameters: list[object]) -> bool:
        """Whether so many photos pass a filter that finding them first would take longer than the search."""
        sql = f"SELECT count(*) FROM (SELECT FROM photo WHERE {condition} LIMIT %s) few"
        return self._database.all(sql, [*parameters, limits.FILTERED_FIRST_BELOW]) == [(limits.FILTERED_FIRST_BELOW,)]

    def _expression(self, model: int, dimensions: int, cosine: bool) -> str:
        """What the HNSW index is on, or nothing if it is not there yet. Then somebody begins to build it."""
        name = index_name(model, cosine)
        if name not in self._usable and self._is_complete(name):
            self._usable[name] = self._indexed(model, dimensions, cosine)
        if name in self._usable:
            return self._usable[name]
        with self._lock:
            if name not in self._building and self._due(name, limits.RESCAN_PAUSE):
                self._building.add(name)
                build = threading.Thread(
                    target=self._build, args=(name, model, dimensions, cosine), name=name, daemon=True
                )
                build.start()
        return ""

    def _indexed(self, model: int, dimensions: int, cosine: bool) -> str:
        if cosine:
            return f"(vector::halfvec({dimensions}))"
        ((longest,),) = self._database.all("SELECT longest FROM model WHERE id = %s", [model])
        return f"({EXTENDED.format(longest=longest)}::halfvec({dimensions + 1}))"

    def _due(self, what: object, pause: float) -> bool:
        now = time.monotonic()
        if now < self._look_again.get(what, 0.0):
            return False
        self._look_again[what] = now + pause
        return True

    def _is_complete(self, index: str) -> bool:
        sql = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"
        return self._database.all(sql, [index]) == [(True,)]

    def _build(self, name: str, model: int, dimensions: int, cosine: bool) -> None:
        """Build an index while searches and indexers go on. Of several processes, one does."""
        try:
            ((count,),) = self._database.all("SELECT count(*) FROM feature WHERE model = %s", [model])
            with self._database.failures(), self._database.alone() as connection:
                mine = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [name]).fetchone()
                if mine != (True,) or self._is_complete(name):
                    return
                needed = 64 + count * (2 * dimensions + GRAPH_BYTES) // 2**20
                connection.execute(MEMORY, [needed, limits.HNSW_MEGABYTES])
                connection.execute("SET statement_timeout = 0")
                connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")  # of a process that was killed
                connection.execute(LONGEST, [SPARE, model, model])
                connection.add_notice_handler(_log_notice)
                connection.execute(
                    f"CREATE INDEX CONCURRENTLY {name} ON feature USING hnsw"
                    f" ({self._indexed(model, dimensions, cosine)} halfvec_{'cosine' if cosine else 'ip'}_ops)"
                    f" WITH (m = {limits.HNSW_LINKS}, ef_construction = {limits.HNSW_BUILDING}) WHERE model = {model}"
                )
                connection.execute("ANALYZE photo, feature")
        except LibraryError as error:
            log.warning("Searches stay exact for now, and take longer: %s", error)
        finally:
            self._building.discard(name)


def index_name(model: int, cosine: bool) -> str:
    """What a model's HNSW index is called."""
    return f"feature_{model}_{'cosine' if cosine else 'ip'}"


def _log_notice(notice: psycopg.errors.Diagnostic) -> None:
    """What the server says while it builds an index: that its memory is used up, and the rest takes longer."""
    log.warning("While PostgreSQL builds an index: %s. %s", notice.message_primary, notice.message_hint or "")


def _text(numbers: list[float]) -> str:
    return f"[{','.join(map(str, numbers))}]"


def sent(features: np.ndarray) -> list[bytes]:
    """Features (k, d) as the server takes them."""
    header = len(features[0]).to_bytes(2, "big") + bytes(2)
    return [header + row.tobytes() for row in features.astype(">f2")]


def received(vectors: list[bytes]) -> np.ndarray:
    """Features (k, d), fp32, as the server sends them."""
    rows = [np.frombuffer(vector, ">f2", offset=HEADER) for vector in vectors]
    features: np.ndarray = np.stack(rows).astype(np.float32)
    return features


def _scored(rows: list[tuple[int, int, int, str, bytes]], target: np.ndarray, count: int, cosine: bool) -> list[Hit]:
    """Hits of candidates, each photo once."""
    if not rows:
        return []
    features = received([row[4] for row in rows])
    scores = features @ target[0].astype(np.float32)
    if cosine:
        lengths = np.linalg.norm(features, axis=1).clip(1e-12)
        scores = scores / lengths / max(float(np.linalg.norm(target)), 1e-12)
    hits: dict[int, Hit] = {}
    for place in np.lexsort(([row[1] for row in rows], [row[0] for row in rows], -scores)):
        id_, square, squares, _, _ = rows[place]
        if id_ not in hits:
            hits[id_] = Hit(id_, float(scores[place]), square, squares)
            if len(hits) == count:
                break
    return list(hits.values())
