"""What visitors may keep in memory: bounded, and freed soon after they leave, even if nobody else comes.

Streamlit keeps every uploaded file and every picture that it shows until the session ends, and ends the session of a
closed tab only when others come and go.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import cast
from weakref import WeakKeyDictionary

import streamlit as st
from starlette.exceptions import HTTPException
from streamlit import runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile, UploadedFileRec

from clipsearch import limits
from clipsearch.runtime import give_back_memory
from clipsearch.sources.uploads import UploadsSource
from clipsearch.types import Found

_lock = threading.Lock()
_sources: WeakKeyDictionary[UploadsSource, str] = WeakKeyDictionary()  # uploads -> the session that made them
_watching = False


def _files() -> MemoryUploadedFileManager:
    """What Streamlit holds of uploaded files."""
    return cast(MemoryUploadedFileManager, runtime.get_instance().uploaded_file_mgr)


def uploads_of_session() -> UploadsSource:
    """This session's uploads."""
    uploads: UploadsSource = st.session_state.setdefault("uploads", UploadsSource())
    context = get_script_run_ctx()
    if context and runtime.exists():
        _watch()
        with _lock:
            _sources[uploads] = context.session_id
    return uploads


def release(files: Sequence[UploadedFile]) -> None:
    """Let Streamlit forget uploaded files that have been read."""
    context = get_script_run_ctx()
    if context and runtime.exists():
        for file in files:
            _files().remove_file(context.session_id, file.file_id)


class Waiting:
    """A session's files that wait to be read.

    A click starts the next run of the page while an earlier one still reads, and whatever draws may end a run. So a
    file waits until it has been read, and one run reads at a time.
    """

    def __init__(self) -> None:
        self.files: list[UploadedFile] = []
        self.number = 0  # of the uploader on the page; one with another number is empty
        self._reading = threading.Lock()

    def take(self, files: Sequence[UploadedFile], number: int) -> bool:
        """Let the files of the uploader with this number wait. Returns whether there are any."""
        if not files or number != self.number:  # another run has taken them
            return False
        self.number += 1
        self.files += files
        return True

    def read(self, uploads: UploadsSource) -> None:
        """Read what waits, and let Streamlit forget it."""
        with self._reading:
            files = list(self.files)
            if not files:
                return
            try:
                uploads.read((file.name, file.getvalue()) for file in files if file in self.files)
            finally:
                self._forget(files)

    def drop(self) -> None:
        """Forget what has not been read yet."""
        self._forget(list(self.files))

    def _forget(self, files: Sequence[UploadedFile]) -> None:
        for file in files:
            with suppress(ValueError):  # dropped meanwhile
                self.files.remove(file)
        release(files)


def follow_search(found: Future[Found] | None) -> None:
    """Remember what this session waits for, and drop what it waited for before: a session has one search at a time."""
    earlier: Future[Found] | None = st.session_state.get("found")
    if earlier:
        earlier.cancel()
    st.session_state.found = found


def _watch() -> None:
    """Begin to bound and to free, once per process."""
    global _watching
    with _lock:
        if _watching:
            return
        _watching = True
    _limit_uploads()
    threading.Thread(target=_free_for_ever, name="free-uploads", daemon=True).start()


def _limit_uploads() -> None:
    """Bound the bytes of files that Streamlit holds and that no run of the page has read yet."""
    manager = _files()
    add_file = manager.add_file
    adding = threading.Lock()

    def add_within_limits(session_id: str, file: UploadedFileRec) -> None:
        with adding:
            held = {
                session: sum(len(one.data) for one in list(files.values()))
                for session, files in list(manager.file_storage.items())
            }
            if held.get(session_id, 0) + len(file.data) > limits.SESSION_UPLOAD_BYTES:
                raise HTTPException(413, "Too many files at once")  # the answer to the browser, which shows it
            if sum(held.values()) + len(file.data) > limits.PROCESS_UPLOAD_BYTES:
                raise HTTPException(503, "Too many visitors upload files")
            add_file(session_id, file)

    manager.add_file = add_within_limits  # type: ignore[method-assign]


def _free_for_ever() -> None:
    gone_since: dict[str, float] = {}
    ended = False
    while True:
        time.sleep(limits.FREE_PAUSE)
        with suppress(Exception):  # Streamlit is shutting down, for one
            before, ended = ended, _end_sessions(gone_since)
            if ended or before:  # once more after a pause: a session's last run of the page may end a little later
                gc.collect()  # a session refers to itself
                give_back_memory()


def _end_sessions(gone_since: dict[str, float]) -> bool:
    """End the sessions whose tab has been closed for limits.SESSION_GRACE. Returns whether there are any."""
    server = runtime.get_instance()
    manager = _files()
    with _lock:
        sources = dict(_sources.items())
    sessions = {*sources.values(), *list(manager.file_storage)}
    gone = {session for session in sessions if not server.is_active_session(session)}
    for session in gone_since.keys() - gone:
        del gone_since[session]
    ended = {
        session
        for session in gone
        if time.monotonic() - gone_since.setdefault(session, time.monotonic()) >= limits.SESSION_GRACE
    }
    if ended:
        _close(server, ended)
    for session in ended:
        manager.remove_session_files(session)
    for uploads, session in sources.items():
        if session in ended:
            uploads.clear()
            with _lock:
                _sources.pop(uploads, None)
    return bool(ended)


def _close(server: runtime.Runtime, sessions: set[str]) -> None:
    """Have Streamlit forget sessions, in the thread that manages them."""
    closed = threading.Event()

    def close() -> None:
        for session in sessions:
            if not server.is_active_session(session):  # its tab has not come back
                server.close_session(session)
        closed.set()

    server._get_async_objs().eventloop.call_soon_threadsafe(close)
    closed.wait(limits.FREE_PAUSE)
