"""A look over a folder: what counts as a photo, what is left alone, and what cannot be looked at."""

import os
import shutil
from pathlib import Path

import pytest

from clipsearch.library.records import LibraryError
from clipsearch.library.scan import Scan

ENDINGS = (
    *("jpg", "JPG", "jpeg", "jpe", "jfif", "png", "PNG", "webp", "avif", "gif", "heic", "HEIC", "heif", "hif"),
    *("tif", "tiff", "bmp", "jp2", "j2k"),
)


def made(folder: Path, *names: str) -> None:
    """Files with some content."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"content")


def paths(folder: Path) -> list[str]:
    """What a look finds, if nothing fails."""
    scan = Scan(folder)
    found = [entry.path for entry in scan.entries()]
    assert not scan.failures and not scan.unreadable
    return found


def failures(folder: Path) -> dict[str, str]:
    """What a look cannot use, and why."""
    scan = Scan(folder)
    list(scan.entries())
    return {entry.path: reason for entry, reason in scan.failures}


def test_every_format_is_found_at_any_depth(folder: Path) -> None:
    photos = [f"{'a/' * (number % 5)}photo-{number}.{ending}" for number, ending in enumerate(ENDINGS)]
    made(folder, *photos)
    made(folder, "notes.txt", "movie.mp4", "a/archive.zip", "jpg", "photo.jpg.part", "a/drawing.svg", "page.pdf")
    assert sorted(paths(folder)) == sorted(photos)


def test_entries_have_size_and_time(folder: Path) -> None:
    made(folder, "a/photo.jpg")
    os.utime(folder / "a/photo.jpg", ns=(1, 1_600_000_000_123_456_789))
    (entry,) = Scan(folder).entries()
    assert (entry.path, entry.size, entry.mtime) == ("a/photo.jpg", 7, 1_600_000_000_123_456_789)


def test_files_of_systems_and_tools_are_left_alone(folder: Path) -> None:
    made(folder, "photo.jpg", ".hidden.jpg", "._photo.jpg", ".cache/a.jpg", "a/.hidden/a.jpg", "@eaDir/a.jpg")
    made(folder, "a/@eadir/b.jpg", ".Trash/a.jpg", ".Trash-1000/a.jpg", "#recycle/a.jpg", "$RECYCLE.BIN/a.jpg")
    made(folder, "node_modules/a/b.png", "a/lost+found/a.jpg", "__MACOSX/a.jpg", "System Volume Information/a.jpg")
    assert paths(folder) == ["photo.jpg"]


def test_ignore_file_has_the_syntax_of_gitignore(folder: Path) -> None:
    made(folder, "keep.jpg", "a/keep.jpg", "a/top.jpg", "a/b/c/d/keep.png", "drafts.jpg")
    made(folder, "top.jpg", "x.png", "a/y.png", "private/a.jpg", "a/private/b.jpg", "drafts/a.jpg", "a/b/c/raw/e.jpg")
    patterns = ("# a comment", "*.png", "!keep.png", "/top.jpg", "private/", "/drafts/", "a/**/raw")
    (folder / ".clipsearchignore").write_text("\ufeff" + "\n".join(patterns), encoding="utf-8")
    assert paths(folder) == ["drafts.jpg", "keep.jpg", "a/keep.jpg", "a/top.jpg", "a/b/c/d/keep.png"]


def test_what_is_ignored_does_not_fail(folder: Path) -> None:
    (folder / "old.jpg").symlink_to("gone.jpg")
    (folder / ".clipsearchignore").write_text("old.jpg\n")
    assert paths(folder) == []


def test_ignore_file_that_cannot_be_read_ends_the_look(folder: Path) -> None:
    made(folder, "photo.jpg")
    (folder / ".clipsearchignore").write_text("private/\n!\n")
    with pytest.raises(LibraryError, match=r"clipsearchignore cannot be read: .*'!'"):
        list(Scan(folder).entries())


def test_ignore_file_in_another_encoding_is_followed(folder: Path) -> None:
    made(folder, "photo.jpg")
    private = os.fsencode(folder) + b"/priv\xe9"
    os.mkdir(private)  # noqa: PTH102, its name is not valid UTF-8
    Path(os.fsdecode(private + b"/a.jpg")).write_bytes(b"content")
    (folder / ".clipsearchignore").write_bytes(b"priv\xe9/\n")
    assert paths(folder) == ["photo.jpg"]


def test_links_to_folders_are_followed_once(folder: Path, tmp_path: Path) -> None:
    made(folder, "a/one.jpg", "a/b/two.jpg")
    made(tmp_path, "elsewhere/three.jpg")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "linked again").symlink_to(tmp_path / "elsewhere")
    (folder / "0").symlink_to("a")
    (folder / "z").symlink_to("a/b")
    assert paths(folder) == ["a/one.jpg", "a/b/two.jpg", "linked/three.jpg"]


def test_loops_of_links_end(folder: Path) -> None:
    made(folder, "a/one.jpg", "a/b/two.jpg")
    (folder / "a" / "b" / "up").symlink_to(folder)
    (folder / "a" / "self").symlink_to(".")
    (folder / "a" / "parent").symlink_to("..")
    assert paths(folder) == ["a/one.jpg", "a/b/two.jpg"]


def test_link_to_a_photo_is_a_photo(folder: Path, tmp_path: Path) -> None:
    made(tmp_path, "elsewhere.jpg")
    (folder / "linked.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    (entry,) = Scan(folder).entries()
    assert (entry.path, entry.size) == ("linked.jpg", 7)


def test_broken_links_are_listed_and_the_rest_is_found(folder: Path) -> None:
    made(folder, "a.jpg", "z.jpg")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "disk").symlink_to("/nowhere/disk")
    (folder / "round.jpg").symlink_to("turn.jpg")
    (folder / "turn.jpg").symlink_to("round.jpg")
    scan = Scan(folder)
    assert [entry.path for entry in scan.entries()] == ["a.jpg", "z.jpg"]
    broken = ("disk", "gone.jpg", "round.jpg", "turn.jpg")
    assert {entry.path: reason for entry, reason in scan.failures} == dict.fromkeys(broken, "is a broken link")
    assert "disk" in scan.unreadable


@pytest.mark.parametrize(
    "name", ["Straße.jpg", "e\u0301te\u0301.jpg", "犬と雪/写真 1.jpg", "Собака.JPG", "كلب.png", "🐕.jpg"]
)
def test_names_in_any_script(folder: Path, name: str) -> None:
    made(folder, name)
    assert paths(folder) == [name]


def test_odd_names(folder: Path) -> None:
    names = [" leading and trailing .jpg", "new\nline.jpg", 'quo"te.jpg', "semi;colon'.jpg", "per%cent.jpg", "-n.jpg"]
    made(folder, *names, f"{'x' * 251}.jpg")
    assert sorted(paths(folder)) == sorted([*names, f"{'x' * 251}.jpg"])


def test_names_that_are_not_valid_utf_8_are_listed(folder: Path) -> None:
    made(folder, "good.jpg")
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg")).write_bytes(b"content")
    os.mkdir(os.fsencode(folder) + b"/\xff")  # noqa: PTH102
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff/in.jpg")).write_bytes(b"content")
    reason = "has a name that is not valid UTF-8"
    assert failures(folder) == {"caf\\udce9.jpg": reason, "\\udcff/in.jpg": reason}


def test_folder_that_vanishes_during_the_look_is_listed(folder: Path) -> None:
    made(folder, "a.jpg", "gone/b.jpg", "gone/\udcff/c.jpg", "z/d.jpg")
    scan = Scan(folder)
    looking = scan.entries()
    assert next(looking).path == "a.jpg"
    shutil.rmtree(folder / "gone")
    assert [entry.path for entry in looking] == ["z/d.jpg"]
    assert [entry.path for entry, _ in scan.failures] == ["gone"]
    assert "folder cannot be read (No such file or directory)" in scan.failures[0][1]
    assert scan.unreadable == ["gone"]


def test_folder_that_the_system_cannot_open_is_listed(folder: Path) -> None:
    made(folder, "a.jpg")
    depth = 0
    place = os.open(folder, os.O_RDONLY)
    while depth < 20:  # each name is short enough, and all together are too long for a path
        os.mkdir("x" * 250, dir_fd=place)
        inner = os.open("x" * 250, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place, depth = inner, depth + 1
    os.close(place)
    scan = Scan(folder)
    assert [entry.path for entry in scan.entries()] == ["a.jpg"]
    assert [reason for _, reason in scan.failures] == ["folder cannot be read (File name too long)"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every folder")
def test_folder_without_permission_is_listed(folder: Path) -> None:
    made(folder, "a.jpg", "secret/b.jpg")
    (folder / "secret").chmod(0)
    assert failures(folder) == {"secret": "folder cannot be read (Permission denied)"}


def test_unreadable_folder_whose_name_is_not_utf_8_can_be_written_down(folder: Path) -> None:
    made(folder, "a.jpg")
    odd = os.fsdecode(os.fsencode(folder) + b"/z\xff")
    Path(odd).mkdir()
    scan = Scan(folder)
    looking = scan.entries()
    next(looking)
    Path(odd).rmdir()
    list(looking)
    ((entry, _),) = scan.failures
    assert entry.path.encode() == b"z\\udcff"


def test_pipes_are_no_reason_to_wait(folder: Path) -> None:
    os.mkfifo(folder / "pipe.jpg")
    (entry,) = Scan(folder).entries()
    assert entry.size == 0  # which is not opened
