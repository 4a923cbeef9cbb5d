"""Attaches a lake with DuckDB and counts its log rows with ids; prints one line of JSON. With `lines` it prints the rows themselves, in
order of arrival.

usage: duckdb_count.py LAKE_FOLDER [lines]
"""
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import duckdb


def extension(name):
    """Path of an extension that a PyPI package carries."""
    folder = Path(next(iter(find_spec(f"duckdb_extension_{name}").submodule_search_locations)))
    return next(folder.rglob(f"{name}.duckdb_extension"))


db = duckdb.connect(config={"allow_unsigned_extensions": "true", "memory_limit": "1GB"})
# It would be drawn among the rows.
db.execute("SET enable_progress_bar = false")
for name in ("sqlite_scanner", "ducklake"):
    db.execute(f"LOAD '{extension(name)}'")
db.execute(f"ATTACH 'ducklake:sqlite:{sys.argv[1]}/catalog.sqlite' AS lake (READ_ONLY)")
if sys.argv[2:] == ["lines"]:
    rows = db.execute("SELECT body FROM lake.logs WHERE body LIKE 'lw %' ORDER BY seq")
    while page := rows.fetchmany(10_000):
        sys.stdout.write("".join(f"{body}\n" for (body,) in page))
    sys.exit()
rows = db.execute(
    "SELECT count(*) AS rows, count(DISTINCT body) AS bodies, min(seq) AS first, max(seq) AS last, "
    "sum(strlen(body))::BIGINT AS bytes FROM lake.logs WHERE body LIKE 'lw %'"
)
names = [column[0] for column in rows.description]
print(json.dumps(dict(zip(names, rows.fetchone()))))
