"""The tables of an index in SQLite. Append a script to MIGRATIONS with each change."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

APPLICATION = 0x434C4950  # "CLIP", which marks a file as an index of this app
SCHEMA = f"""
PRAGMA application_id = {APPLICATION};
CREATE TABLE photo (
    id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, mtime INTEGER NOT NULL,
    content TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, color TEXT NOT NULL, taken TEXT NOT NULL,
    title TEXT NOT NULL, description TEXT NOT NULL, keywords TEXT NOT NULL, camera TEXT NOT NULL, url TEXT NOT NULL,
    page_url TEXT NOT NULL, photographer TEXT NOT NULL, photographer_url TEXT NOT NULL
);
CREATE INDEX photo_content ON photo (content);
CREATE TABLE model (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, dimensions INTEGER NOT NULL);
CREATE TABLE feature (
    model INTEGER NOT NULL REFERENCES model, content TEXT NOT NULL, vectors BLOB NOT NULL -- fp16 (k, d)
);
CREATE UNIQUE INDEX feature_content ON feature (model, content);
CREATE TABLE failure (path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE VIRTUAL TABLE word USING fts5 (
    path, title, description, keywords, content='photo', content_rowid='id',
    tokenize='porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER photo_added AFTER INSERT ON photo BEGIN
    INSERT INTO word (rowid, path, title, description, keywords)
    VALUES (new.id, new.path, new.title, new.description, new.keywords);
END;
CREATE TRIGGER photo_removed AFTER DELETE ON photo BEGIN
    INSERT INTO word (word, rowid, path, title, description, keywords)
    VALUES ('delete', old.id, old.path, old.title, old.description, old.keywords);
END;
CREATE TRIGGER photo_moved AFTER UPDATE OF path ON photo BEGIN
    INSERT INTO word (word, rowid, path, title, description, keywords)
    VALUES ('delete', old.id, old.path, old.title, old.description, old.keywords);
    INSERT INTO word (rowid, path, title, description, keywords)
    VALUES (new.id, new.path, new.title, new.description, new.keywords);
END;
"""
# The first folder of each path, so that the folders at the top are found without a look at every photo; and the folders
# that are disks of their own.
FOLDERS = """
CREATE INDEX photo_folder ON photo (substr(path, 1, instr(path, '/')));
CREATE TABLE mount (path TEXT PRIMARY KEY);
"""
MIGRATIONS = (SCHEMA, FOLDERS)  # script n takes an index from version n to the next


def statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one: `executescript` would commit the transaction first."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
