"""The file of an index in SQLite: damage, other versions, disks that are full or cannot be written, and many users."""

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from clipsearch.library import database
from clipsearch.library.records import Changes, Details, Entry, LibraryError
from clipsearch.library.schema_sqlite import MIGRATIONS
from clipsearch.library.store_sqlite import SQLiteStore
from tests.support.library import small_disk
from tests.support.servers import ROOT

MODEL = "model"
# Of programs that run in processes of their own.
IMPORTS = """
import sys
from pathlib import Path
import numpy as np
from clipsearch.library.records import Changes, Details, Entry, LibraryError
from clipsearch.library.store_sqlite import SQLiteStore
def changes(number):
    photo = Entry(f"{number}.jpg", 1, 1), f"{number}", Details()
    return Changes(photos=[photo], features={f"{number}": np.ones((1, 512), np.float32)})
"""


def changes(number: int) -> Changes:
    """A photo with features."""
    entry = Entry(f"{number}.jpg", 1, 1)
    return Changes(photos=[(entry, f"{number}", Details())], features={f"{number}": np.ones((1, 512), np.float32)})


def write_until_full(path: Path) -> tuple[SQLiteStore, int]:
    """An index with as many photos as fit, and their number."""
    store = SQLiteStore(path)
    for number in range(10_000):
        try:
            store.apply(changes(number), MODEL)
        except LibraryError as error:
            assert str(error) == f"There is no space left for the index {path}. Please free disk space."
            return store, number
    raise AssertionError("the disk is never full")


def assert_intact(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.execute("INSERT INTO word (word) VALUES ('integrity-check')")
    connection.close()


def test_file_is_an_sqlite_database_in_wal_mode(tmp_path: Path) -> None:
    SQLiteStore(tmp_path / "new" / "folders" / "index.sqlite").close()
    connection = sqlite3.connect(tmp_path / "new" / "folders" / "index.sqlite")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    connection.close()


def test_older_index_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index.sqlite"
    old = SQLiteStore(path)
    old.apply(changes(1), MODEL)
    old.close()
    script = "CREATE TABLE added (a);\nINSERT INTO added VALUES ('one;\ntwo');\n"
    monkeypatch.setattr("clipsearch.library.database.MIGRATIONS", (*MIGRATIONS, script))
    for _ in range(2):  # and only once
        store = SQLiteStore(path)
        assert list(store.known()) == ["1.jpg"]
        store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT a FROM added").fetchall() == [("one;\ntwo",)]
    connection.close()


def test_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index.sqlite"
    SQLiteStore(path).close()
    monkeypatch.setattr(
        "clipsearch.library.database.MIGRATIONS", (*MIGRATIONS, "CREATE TABLE a (b);\nDROP TABLE nothing;\n")
    )
    with pytest.raises(LibraryError, match="cannot be used"):
        SQLiteStore(path)
    monkeypatch.undo()
    SQLiteStore(path).close()
    with sqlite3.connect(path) as connection:
        assert not connection.execute("SELECT name FROM sqlite_master WHERE name = 'a'").fetchall()
    connection.close()


def test_index_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    SQLiteStore(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(LibraryError, match=r"newer version of this app\. Please update the app, or set LIBRARY_INDEX"):
        SQLiteStore(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [0, 1])
def test_database_of_another_app_is_left_alone(tmp_path: Path, version: int) -> None:
    path = tmp_path / "photos.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE photo (id INTEGER PRIMARY KEY, path TEXT)")
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(LibraryError, match="another app's database"):
        SQLiteStore(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"no database at all" * 1_000, b"SQLite format 3\0" + b"\xff" * 5_000])
def test_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "index.sqlite"
    path.write_bytes(content)
    with pytest.raises(LibraryError, match="not an index of this app, or it is damaged"):
        SQLiteStore(path)
    assert path.read_bytes() == content


def test_damaged_index(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    store = SQLiteStore(path)
    for number in range(50):
        store.apply(changes(number), MODEL)
    store.close()
    content = bytearray(path.read_bytes())
    content[4096 * 2 :] = os.urandom(len(content) - 4096 * 2)
    path.write_bytes(content)
    damaged = "is not an index of this app, or it is damaged. Please delete it, or set LIBRARY_INDEX."
    with pytest.raises(LibraryError, match=damaged):
        store = SQLiteStore(path)
        store.known()
        store.refresh(MODEL)
        store.keywords("jpg", 10)


def test_place_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LibraryError, match=r"cannot be written to .* \(.+\)\. Please set LIBRARY_INDEX"):
        SQLiteStore(tmp_path / "file" / "index.sqlite")
    with pytest.raises(LibraryError, match="cannot be written"):
        SQLiteStore(tmp_path)  # a folder


def test_read_only_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m"):
        path = tmp_path / "disk" / "index.sqlite"
        store = SQLiteStore(path)
        store.apply(changes(1), MODEL)
        store.close()
        subprocess.run(["mount", "-o", "remount,ro", tmp_path / "disk"], check=True)
        with pytest.raises(LibraryError, match="cannot be written"):
            SQLiteStore(path).apply(changes(2), MODEL)
        with pytest.raises(LibraryError, match=r"\(Read-only file system\). Please set LIBRARY_INDEX"):
            SQLiteStore(tmp_path / "disk" / "more" / "index.sqlite")


def test_full_disk_loses_nothing_and_goes_on_when_there_is_space(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m"):
        ballast = tmp_path / "disk" / "ballast"
        ballast.write_bytes(bytes(800_000))
        store, written = write_until_full(tmp_path / "disk" / "index.sqlite")
        assert written > 1
        assert len(store.known()) == written
        store.refresh(MODEL)
        assert len(store.nearest(np.ones((1, 512), np.float32), MODEL, 1_000)) == written
        ballast.unlink()
        store.apply(changes(written), MODEL)  # with no transaction left open
        other = SQLiteStore(tmp_path / "disk" / "index.sqlite")
        assert len(other.known()) == written + 1
        for one in (store, other):
            one.close()
        assert_intact(tmp_path / "disk" / "index.sqlite")


def test_disk_too_small_to_begin(tmp_path: Path) -> None:
    for size in ("16k", "40k", "64k"):
        with (
            small_disk(tmp_path / size, size),
            pytest.raises(LibraryError, match=r"free disk space|whether it is full"),
        ):
            SQLiteStore(tmp_path / size / "index.sqlite")


def test_disk_quota(tmp_path: Path) -> None:
    """A limit on the size of files needs no rights to set."""
    program = IMPORTS + (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "store = SQLiteStore(Path(sys.argv[1]))\n"
        "try:\n"
        "    for number in range(10_000): store.apply(changes(number), 'model')\n"
        "except LibraryError as error: print(number, len(store.known()), error)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "index.sqlite")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    written, known, sentence = done.stdout.split(" ", 2)
    assert written == known
    assert "Please check the disk, and whether it is full." in sentence


def test_threads_share_connections(tmp_path: Path) -> None:
    """The page runs in a new thread each time: open files must not add up."""
    store = SQLiteStore(tmp_path / "index.sqlite")

    def open_files() -> int:
        links = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]  # noqa: PTH208
        return sum(link.startswith(str(tmp_path)) for link in links)

    for number in range(30):
        thread = threading.Thread(target=store.apply, args=(changes(number), MODEL))
        thread.start()
        thread.join()
    assert len(store.known()) == 30
    assert open_files() <= 3
    store.close()
    assert open_files() == 0


def test_writer_waits_for_another_and_says_so_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index.sqlite"
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    store = SQLiteStore(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LibraryError, match="in use by another process"):
        store.apply(changes(1), MODEL)
    assert store.known() == {}  # readers do not wait
    other.execute("ROLLBACK")
    other.close()
    store.apply(changes(1), MODEL)


def test_processes_that_make_the_same_index_at_once(tmp_path: Path) -> None:
    program = IMPORTS + (
        "print('ready', flush=True); sys.stdin.readline()\n"
        "store = SQLiteStore(Path(sys.argv[1]))\n"
        "for number in range(5): store.apply(changes(10 * int(sys.argv[2]) + number), 'model')\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "index.sqlite")]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen([*command, str(number)], cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for number in range(4)
    ]
    for one in processes:
        assert one.stdout is not None and one.stdout.readline() == "ready\n"
    for one in processes:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    for one in processes:
        assert one.communicate(timeout=60) == ("", "")
    assert len(SQLiteStore(tmp_path / "index.sqlite").known()) == 20
    assert_intact(tmp_path / "index.sqlite")
