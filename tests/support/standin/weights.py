"""Files as OpenAI's weights host and Hugging Face's hub serve them."""

from __future__ import annotations

import hashlib
import mmap
import re
from pathlib import Path

from tests.support.standin.server import Reply, Request


class WeightsHost:
    """Both hosts. Files are served by path, whole or in part."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[Path, str]] = {}  # by path in the URL: the file and its ETag

    def add_weights(self, path: Path, sha256: str | None) -> str:
        """The path of the URL under which OpenAI serves a file: its last folder is the SHA-256, or the one given."""
        etag = sha256_of(path)
        place = f"/weights/{sha256 or etag}/{path.name}"
        self._files[place] = path, etag
        return place

    def add_to_hub(self, path: Path, repo_id: str, filename: str) -> None:
        """Serve a file in every revision of a repository."""
        self._files[f"/{repo_id}/resolve/{filename}"] = path, sha256_of(path)

    def weights_reply(self, request: Request) -> Reply:
        """OpenAI's reply."""
        return self._file_reply(request, request.path)

    def hub_reply(self, request: Request) -> Reply:
        """The hub's reply, with the headers that its client reads."""
        repository, _, rest = request.path.partition("/resolve/")
        revision, _, filename = rest.partition("/")
        reply = self._file_reply(request, f"{repository}/resolve/{filename}")
        if reply.status == 404:
            known = any(place.startswith(f"{repository}/resolve/") for place in self._files)
            reply.headers["X-Error-Code"] = "EntryNotFound" if known else "RepoNotFound"
        commit = revision if re.fullmatch("[0-9a-f]{40}", revision) else hashlib.sha1(repository.encode()).hexdigest()
        reply.headers["X-Repo-Commit"] = commit
        return reply

    def _file_reply(self, request: Request, place: str) -> Reply:
        if place not in self._files:
            return Reply(404, b"Not Found", {"Content-Type": "text/plain"})
        path, etag = self._files[place]
        size = path.stat().st_size
        # Mapped, so that full-size weights do not take memory. An empty file cannot be mapped.
        with path.open("rb") as file:
            body = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b"")
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", "ETag": f'"{etag}"'}
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if not part or request.headers.get("if-range", headers["ETag"]) != headers["ETag"]:
            return Reply(200, body, headers)
        start, end = int(part[1]), min(int(part[2] or size), size - 1)
        if start > end:
            return Reply(416, b"", headers | {"Content-Range": f"bytes */{size}"})
        return Reply(206, body[start : end + 1], headers | {"Content-Range": f"bytes {start}-{end}/{size}"})


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
