"""One search, from a query to a ranking, with its progress."""

from __future__ import annotations

import logging
from collections.abc import Generator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np
from PIL import Image

from clipsearch import limits
from clipsearch.encoding import batcher, submit_text
from clipsearch.errors import PhotoError, SearchError, UnknownWordsError
from clipsearch.images import preprocess
from clipsearch.model.encode import Model
from clipsearch.model.loader import Loading, models
from clipsearch.model.text import split_known
from clipsearch.photo_encoding import PhotoEncoding
from clipsearch.ranking import best_of, combine, move_away, rank, score
from clipsearch.settings import Settings
from clipsearch.sources.base import IndexedSource, Source
from clipsearch.types import Found, Photo, Query
from clipsearch.words import without_words

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """How far a search has come."""

    source: Source
    loading: Loading
    found: Found | None = None  # the photos in their original order; None until they are found
    read: int = 0
    encoded: int = 0
    failures: dict[str, PhotoError] = field(default_factory=dict)  # photo's id -> why it is not ranked
    target: np.ndarray | None = None  # features (1, d) that the photos are scored against
    by_photo: bool = False  # whether the target is a photo rather than words
    cosine: bool = False  # whether the score is the cosine
    squares: dict[str, tuple[int, int]] = field(default_factory=dict)  # wide photo's id -> its best square, of how many
    ranking: list[tuple[Photo, float]] | None = None  # best first, with scores; None until everything is done
    problem: SearchError | None = None  # why there is no ranking
    unknown: list[str] = field(default_factory=list)  # words that the model was never trained on

    @property
    def photos(self) -> list[Photo]:
        """The photos found so far, in their original order."""
        return self.found.photos if self.found else []


def load_model(settings: Settings, source: Source) -> Loading:
    """The CLIP that the source's photos need, or the one in the settings."""
    return models.get(settings.clip_model or source.model, settings.clip_device, settings.clip_precision)


def search(
    query: Query, source: Source, found: Future[Found], loading: Loading, picture: Image.Image | None = None
) -> Generator[Progress, None, None]:
    """Rank the photos that `source.find(query)` finds, and report progress at least every limits.HEARTBEAT.

    Close the generator to cancel what is still running. Raises the SearchError of `found`; other problems end up in
    `Progress.problem`, beside the photos.
    """
    try:
        if isinstance(source, IndexedSource):
            yield from _search_index(query, source, found, loading, picture)
        else:
            yield from _search(query, source, found, loading)
    finally:
        found.cancel()  # if it still waits for its turn, nobody waits for it any more


def _search_index(
    query: Query, source: IndexedSource, found: Future[Found], loading: Loading, picture: Image.Image | None
) -> Generator[Progress, None, None]:
    """Rank everything that a source has encoded. The order by keyword may come later than that by meaning."""
    progress = Progress(source, loading)
    while wait([loading.model], limits.HEARTBEAT).not_done:
        if found.done():
            progress.found = found.result()
        yield progress
    try:
        model = loading.model.result()
        liked = source.features_of(query.like, model) if query.like else None
        if liked is None:  # without it the words decide
            query = replace(query, like="")
        query = _check_words(query, model, progress, picture)
        wanted = [_encode(model, query, query.words)] if query.words else []
        if picture is not None:
            pixels = preprocess(picture, model.resolution)[np.newaxis]
            wanted.append(batcher.lane(model).submit(pixels))
        excluded = [_encode(model, query, query.exclude)] if query.exclude else []
        while wait([*wanted, *excluded], limits.HEARTBEAT).not_done:
            yield progress
        targets = [one.result() for one in wanted]
        if liked is not None:
            progress.by_photo, targets = True, [_middle(liked)]
        # The features of photos differ in length, and the longest would be like every picture.
        progress.cosine = query.cosine or progress.by_photo or not query.words
        progress.target = reduce(move_away, [one.result() for one in excluded], combine(targets))
        progress.ranking, progress.squares = source.nearest(progress.target, model, query, progress.cosine)
    except SearchError as error:
        progress.problem = error.without_traceback()
    yield progress
    while wait([found], limits.HEARTBEAT).not_done:
        yield progress
    progress.found = found.result()
    yield progress


def _search(query: Query, source: Source, found: Future[Found], loading: Loading) -> Generator[Progress, None, None]:
    progress = Progress(source, loading)
    texts: list[Future[np.ndarray]] = []
    while not found.done() or not loading.model.done():
        if not texts and loading.model.done() and not loading.failed:
            texts = _encode_words(loading.model.result(), query)  # while photos are being found
        if progress.found is None and found.done():
            progress.found = found.result()
        yield progress
        missing: list[Future[Any]] = [future for future in (found, loading.model) if not future.done()]
        wait(missing, limits.HEARTBEAT, FIRST_COMPLETED)
    progress.found = found.result()
    try:
        model = loading.model.result()
        texts = _encode_words(model, _check_words(query, model, progress))
        images = PhotoEncoding(source, model, progress)
        try:
            images.start(progress.photos)
            yield progress
            while images.pending:
                images.wait()
                yield progress
        finally:
            images.close()
        if query.like not in images.features:  # the words decide, whatever `like` says
            _check_words(replace(query, like=""), model, progress)
        while wait(texts, limits.HEARTBEAT).not_done:
            yield progress
        _rank(query, progress, images.features, [text.result() for text in texts])
    except SearchError as error:
        progress.problem = error.without_traceback()
    yield progress


def _check_words(query: Query, model: Model, progress: Progress, picture: Image.Image | None = None) -> Query:
    """The query without words that the model was never trained on. Raises UnknownWordsError if nothing is left."""
    known, unknown = split_known(model, query.words)
    progress.unknown = unknown
    if model.known_tokens is not None and not known and not query.like and picture is None:
        words = ", ".join(f"“{word}”" for word in unknown) or "any of these words"
        raise UnknownWordsError(f"{model.name[0].upper()}{model.name[1:]} does not know {words}.")
    excludable, unknown_excluded = split_known(model, query.exclude)
    progress.unknown = list(dict.fromkeys(unknown + unknown_excluded))
    exclude = query.exclude if excludable or model.known_tokens is None else ""
    wanted = query.words if known or model.known_tokens is None else ""
    return replace(query, words=without_words(wanted, unknown), exclude=without_words(exclude, unknown_excluded))


def _encode(model: Model, query: Query, words: str) -> Future[np.ndarray]:
    """Features (1, d) of words."""
    return submit_text(model, query.prompt.replace("{}", words))


def _encode_words(model: Model, query: Query) -> list[Future[np.ndarray]]:
    """Features (1, d) of the words, and of the excluded words if there are any."""
    texts = [query.words, query.exclude] if query.exclude else [query.words]
    return [_encode(model, query, text) for text in texts]


def _rank(query: Query, progress: Progress, features: dict[str, np.ndarray], texts: list[np.ndarray]) -> None:
    photos = [photo for photo in progress.photos if photo.id in features]
    if not photos:
        if progress.photos:
            progress.problem = SearchError("None of the photos could be read. Please search again.")
        return
    progress.by_photo = query.like in features
    progress.cosine = query.cosine or progress.by_photo
    wanted, *excluded = texts
    if progress.by_photo:
        wanted = _middle(features[query.like])
    progress.target = reduce(move_away, excluded, wanted)
    squares = [features[photo.id] for photo in photos]
    counts = [len(one) for one in squares]
    scores, best = best_of(score(progress.target, np.concatenate(squares), progress.cosine), counts)
    progress.ranking = [(photos[place], float(scores[place])) for place in rank(scores)]
    progress.squares = {
        photo.id: (int(place), count) for photo, place, count in zip(photos, best, counts, strict=True) if count > 1
    }


def _middle(features: np.ndarray) -> np.ndarray:
    """Features (1, d) of the middle one of a photo's squares (k, d)."""
    middle = len(features) // 2
    return features[middle : middle + 1]
