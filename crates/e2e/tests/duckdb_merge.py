"""Attaches a lake with DuckDB for writing and merges its files, as a person might; prints how many files it has then.

usage: duckdb_merge.py LAKE_FOLDER
"""
import sys
from importlib.util import find_spec
from pathlib import Path

import duckdb


def extension(name):
    """Path of an extension that a PyPI package carries."""
    folder = Path(next(iter(find_spec(f"duckdb_extension_{name}").submodule_search_locations)))
    return next(folder.rglob(f"{name}.duckdb_extension"))


db = duckdb.connect(config={"allow_unsigned_extensions": "true", "memory_limit": "1GB"})
for name in ("sqlite_scanner", "ducklake"):
    db.execute(f"LOAD '{extension(name)}'")
db.execute(f"ATTACH 'ducklake:sqlite:{sys.argv[1]}/catalog.sqlite' AS lake")
db.execute("CALL ducklake_merge_adjacent_files('lake')")
print(db.execute("SELECT count(*) FROM ducklake_list_files('lake', 'logs')").fetchone()[0])
