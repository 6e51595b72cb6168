"""The command line: `python -m clipsearch index`, `search` and `doctor`."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from filelock import Timeout
from tqdm import tqdm

from clipsearch import limits
from clipsearch.concurrency import completed
from clipsearch.doctor import print_report
from clipsearch.errors import SearchError
from clipsearch.library.base import Library, Progress
from clipsearch.library.datasets import Dataset, import_published
from clipsearch.library.indexer import Indexer
from clipsearch.library.records import LibraryError
from clipsearch.library.service import StoredLibrary, indexing, open_library
from clipsearch.library.store import Store, open_store
from clipsearch.model.loader import Loading, models
from clipsearch.model.weights import fingerprint
from clipsearch.search import search
from clipsearch.settings import Settings, read_settings
from clipsearch.sources.library import LibrarySource
from clipsearch.types import Found, Query

MODEL = "ViT-B/32"
COUNTS = ("photos", "added", "moved", "removed", "failed", "encoded")  # of a run
FAILURES_SHOWN = 20


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command and its options."""
    parser = argparse.ArgumentParser("python -m clipsearch", description="Search your own photos by meaning.")
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--index", metavar="FILE", help="where the index is (LIBRARY_INDEX)")
    shared.add_argument("--json", action="store_true", help="print JSON")
    index = commands.add_parser("index", parents=[shared], help="encode what is new in a library")
    index.add_argument("library_", metavar="LIBRARY", nargs="?", help="a folder of photos (PHOTO_LIBRARY)")
    index.add_argument("--library", metavar="LIBRARY", help="the same")
    index.add_argument("--features", type=Path, metavar="FILE.npy", help="features that others have published")
    index.add_argument("--ids", type=Path, metavar="FILE.csv", help="the photos' ids, in the order of the features")
    find = commands.add_parser("search", parents=[shared], help="find photos by words")
    find.add_argument("words")
    find.add_argument("--library", metavar="LIBRARY", help="a folder of photos (PHOTO_LIBRARY)")
    find.add_argument("-n", type=int, default=10, metavar="COUNT", help="how many photos (10)")
    find.add_argument("--exclude", default="", metavar="WORDS", help="words to move away from")
    find.add_argument("--cosine", action="store_true", help="rank by cosine instead of the dot product")
    commands.add_parser("doctor", help="tell what is installed, what will be used, and what is missing")
    options = parser.parse_args(arguments)
    if options.command == "index" and bool(options.features) != bool(options.ids):
        parser.error("--features and --ids belong together")
    if options.command == "search" and not 1 <= options.n <= limits.MAX_SHOWN:
        parser.error(f"-n takes a number from 1 to {limits.MAX_SHOWN}")
    if options.command == "search" and not options.words.strip():
        parser.error("the words are missing")
    return options


def settings_for(options: argparse.Namespace) -> Settings:
    """The settings of the environment, changed by options. Raises SettingError, LibraryError."""
    settings = read_settings()
    library = options.library or getattr(options, "library_", None) or settings.photo_library
    if not library:
        raise LibraryError("No library is given. Please name a folder, or set PHOTO_LIBRARY.")
    return replace(settings, photo_library=library, library_index=options.index or settings.library_index)


def load(settings: Settings) -> Loading:
    """The model in the settings."""
    return models.get(settings.clip_model or MODEL, settings.clip_device, settings.clip_precision)


def index(options: argparse.Namespace) -> None:
    """Bring the index up to date. Raises LibraryError, SearchError, Timeout."""
    settings = settings_for(options)
    library, store = open_library(settings), open_store(settings.library_index, Path(settings.photo_library))
    with indexing(settings):
        if options.features:
            result = take_published(options, settings, library, store)
            print(json.dumps(result) if options.json else in_words(result))
            return
        with tqdm(unit="photo", desc="Looking over the library", disable=None if not options.json else True) as bar:

            def show(progress: Progress) -> None:
                bar.set_description("Looking over the library" if progress.scanning else "Indexing", refresh=False)
                bar.total = None if progress.scanning else progress.to_do
                bar.update((progress.photos if progress.scanning else progress.done) - bar.n)

            name = fingerprint(settings.clip_model or MODEL)
            progress = Indexer(library, store, name, lambda: load(settings).model.result(), show).run()
    result = {name: getattr(progress, name) for name in COUNTS} | {"seconds": round(progress.seconds, 2)}
    failures = [{"path": path, "reason": reason} for path, (_, _, reason) in store.failed().items()]
    if options.json:
        print(json.dumps(result | {"failures": failures}))
        return
    print(in_words(result))
    for failure in failures[:FAILURES_SHOWN]:
        print(f"{failure['path']}: {failure['reason']}", file=sys.stderr)
    if len(failures) > FAILURES_SHOWN:
        print(f"... and {len(failures) - FAILURES_SHOWN:,} more; --json lists them all", file=sys.stderr)


def take_published(options: argparse.Namespace, settings: Settings, library: Library, store: Store) -> dict[str, float]:
    """Put published features into the index. Returns the counts. Raises LibraryError."""
    if not isinstance(library, Dataset):
        raise LibraryError("Published features belong to the Unsplash Dataset. Please name its folder.")
    begun = time.monotonic()
    name = fingerprint(settings.clip_model or MODEL)
    before = store.status(name).photos
    unused, missing = import_published(library, store, name, options.features, options.ids)
    status = store.status(name)
    changed = {"photos": status.photos, "added": status.photos - before, "failed": status.failed}
    rows = {"rows_without_photo": unused, "photos_without_row": missing}
    return dict.fromkeys(COUNTS, 0) | changed | rows | {"seconds": round(time.monotonic() - begun, 2)}


def in_words(result: Mapping[str, float]) -> str:
    """Counts in one line."""
    return ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in result.items())


def find(options: argparse.Namespace) -> None:
    """Print the photos that fit the words best. Raises LibraryError, SearchError."""
    settings = settings_for(options)
    source = LibrarySource(StoredLibrary(settings))
    query = Query(options.words, total=options.n, exclude=options.exclude, cosine=options.cosine)
    *_, last = search(query, source, completed(Found([])), load(settings))
    if last.problem:
        raise last.problem
    ranking = (last.ranking or [])[: options.n]
    if not ranking:
        raise LibraryError("The index holds no photos yet. Please run: python -m clipsearch index")
    rows = [
        {"rank": rank, "score": round(score, 4), "path": source.path(photo) or photo.page_url}
        for rank, (photo, score) in enumerate(ranking, start=1)
    ]
    if options.json:
        print(json.dumps(rows))
    else:
        print("\n".join(f"{row['rank']:>3}  {row['score']:>8.2f}  {row['path']}" for row in rows))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit status: 0, 1 for a failure, 2 for wrong usage, 75 to try again later."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # where the terminal lacks a letter of a name
    if options.command == "doctor":
        return print_report()
    try:
        {"index": index, "search": find}[options.command](options)
        sys.stdout.flush()  # here rather than at the end of the process, where errors cannot be caught
    except (LibraryError, SearchError) as error:
        print(f"clipsearch: {error}", file=sys.stderr)
        return 1
    except Timeout:
        print("clipsearch: Another process is indexing this library. Please wait until it is done.", file=sys.stderr)
        return 75
    except BrokenPipeError:  # of `| head`
        _drop_output()
    except OSError as error:  # of what is printed, on a full disk for one
        print(f"clipsearch: {error.strerror or error}", file=sys.stderr)
        _drop_output()
        return 1
    except KeyboardInterrupt:
        print("Stopped; the next run goes on from here.", file=sys.stderr)
        return 130
    return 0


def _drop_output() -> None:
    """Write nothing more: the end of the process would try again what is left, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
