"""The tables of an index in PostgreSQL. Append a script to MIGRATIONS with each change."""

from __future__ import annotations

BLOCKS = 4096  # into which paths are divided, for several indexers; see `claims_postgres`
# Text is compared byte by byte, as in SQLite. Vectors are kept in the rows themselves, where a scan finds them: beyond
# 2 kB PostgreSQL would move them to another table.
SCHEMA = f"""
CREATE TABLE photo (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, path text COLLATE "C" NOT NULL UNIQUE, size bigint NOT NULL,
    mtime bigint NOT NULL, content text COLLATE "C" NOT NULL, width integer NOT NULL, height integer NOT NULL,
    color text NOT NULL, taken text COLLATE "C" NOT NULL, title text NOT NULL, description text NOT NULL,
    keywords text NOT NULL, camera text NOT NULL, url text NOT NULL, page_url text NOT NULL, photographer text NOT NULL,
    photographer_url text NOT NULL, words tsvector NOT NULL
);
CREATE INDEX photo_content ON photo (content);
CREATE INDEX photo_folder ON photo (substr(path, 1, strpos(path, '/')));
CREATE INDEX photo_taken ON photo (taken);
CREATE INDEX photo_words ON photo USING gin (words);
CREATE TABLE model (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, fingerprint text NOT NULL UNIQUE, dimensions integer NOT NULL,
    longest double precision -- length to which the index for dot products extends all vectors
);
CREATE TABLE feature (
    model integer NOT NULL REFERENCES model, content text COLLATE "C" NOT NULL, square smallint NOT NULL,
    squares smallint NOT NULL, unit boolean NOT NULL, vector halfvec NOT NULL, PRIMARY KEY (model, content, square)
);
ALTER TABLE feature ALTER vector SET STORAGE PLAIN, ALTER vector SET STATISTICS 0;
CREATE INDEX feature_unit ON feature (model, content) WHERE unit AND square = 0;
CREATE TABLE failure (
    path text COLLATE "C" PRIMARY KEY, size bigint NOT NULL, mtime bigint NOT NULL, reason text NOT NULL
);
CREATE TABLE mount (path text COLLATE "C" PRIMARY KEY);
CREATE TABLE block (number integer PRIMARY KEY);
INSERT INTO block SELECT generate_series(0, {BLOCKS - 1});
CREATE TABLE revision (number bigint NOT NULL);
INSERT INTO revision VALUES (0);
"""
# What servers of the app know together of Unsplash; see `sources.shared`.
UNSPLASH = """
CREATE TABLE reply (name text PRIMARY KEY, expires timestamptz NOT NULL, body text);
CREATE INDEX reply_expires ON reply (expires);
CREATE TABLE quota (
    name text PRIMARY KEY, allowed integer NOT NULL, remaining integer, used_up_until timestamptz NOT NULL,
    next_probe timestamptz NOT NULL
);
"""
MIGRATIONS = (SCHEMA, UNSPLASH)  # script n takes an index from version n to the next
