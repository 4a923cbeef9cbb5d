//! The DuckLake 1.0 catalog in SQLite: made once, then one transaction per flush.
//!
//! The layout is that of the DuckLake specification, version 1.0 (ducklake.select), as DuckDB makes and reads it.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use arrow::datatypes::{DataType, Field};
use sqlx::{
    Connection, Row, Sqlite, SqliteConnection, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous},
};

use super::{files::DataFile, stats};
use crate::{SourceCounts, StoreError, Table};

const TABLES: &str = include_str!("catalog.sql");
const FORMAT: &str = "1.0";
/// Ours, beside DuckLake's: rows ever committed, by source.
const STORED: &str = "CREATE TABLE IF NOT EXISTS lapwing_stored (agent TEXT NOT NULL, source TEXT NOT NULL, row_count BIGINT NOT NULL, \
                      PRIMARY KEY (agent, source)) WITHOUT ROWID";

/// Ours, too: up to where the journal is in the lake. One row.
const POSITION: &str = "CREATE TABLE IF NOT EXISTS lapwing_position (id INTEGER PRIMARY KEY CHECK (id = 0), journal BIGINT NOT NULL)";
/// What lapwing calls itself as the author of a snapshot.
const AUTHOR: &str = "lapwing";

/// The catalog, open for writing.
pub(super) struct Catalog {
    connection: SqliteConnection,
    /// The snapshot of the last commit of ours; others may have made later ones.
    snapshot_id: i64,
    committed: u64,
    stored: Arc<SourceCounts>,
}

impl Catalog {
    /// Opens the catalog in `file`, or makes one for data under `data`.
    pub(super) async fn open(file: &Path, data: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            // Readers attach while a flush commits; a commit is on the disk when it returns.
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(std::time::Duration::from_secs(10));
        let mut connection = SqliteConnection::connect_with(&options).await?;
        let found = "SELECT count(*) FROM sqlite_master WHERE name = 'ducklake_metadata'";
        if sqlx::query(found).fetch_one(&mut connection).await?.get::<i64, _>(0) == 0 {
            bootstrap(&mut connection, data).await?;
        }
        check_format(&mut connection, file).await?;
        // The folder may have been moved, or restored elsewhere.
        sqlx::query("UPDATE ducklake_metadata SET value = ?1 WHERE key = 'data_path' AND value != ?1")
            .bind(data_path(data))
            .execute(&mut connection)
            .await?;
        let snapshot_id =
            sqlx::query("SELECT max(snapshot_id) FROM ducklake_snapshot").fetch_one(&mut connection);
        let snapshot_id = snapshot_id.await?.try_get(0)?;
        let committed = open_position(&mut connection).await?;
        sqlx::raw_sql(STORED).execute(&mut connection).await?;
        let stored = Arc::new(read_stored(&mut connection).await?);
        Ok(Self { connection, snapshot_id, committed, stored })
    }

    /// Rows ever committed, by source.
    pub(super) fn stored(&self) -> Arc<SourceCounts> {
        Arc::clone(&self.stored)
    }

    pub(super) fn snapshot_id(&self) -> i64 {
        self.snapshot_id
    }

    pub(super) async fn committed(&mut self) -> Result<u64, StoreError> {
        Ok(self.committed)
    }

    /// Every data file that the catalog names, relative to the folder of the schema: live ones, and those that a program which merged
    /// them will remove itself.
    pub(super) async fn files(&mut self) -> Result<HashSet<PathBuf>, StoreError> {
        let query = "SELECT t.path, f.path FROM ducklake_data_file f JOIN ducklake_table t USING (table_id)";
        let rows = sqlx::query(query).fetch_all(&mut self.connection).await?;
        let path =
            |row: &SqliteRow| Ok(Path::new(row.try_get::<&str, _>(0)?).join(row.try_get::<&str, _>(1)?));
        let mut files = rows.iter().map(path).collect::<Result<HashSet<PathBuf>, StoreError>>()?;

        let query = "SELECT path FROM ducklake_files_scheduled_for_deletion";
        for row in sqlx::query(query).fetch_all(&mut self.connection).await? {
            let path = Path::new(row.try_get::<&str, _>(0)?);
            files.insert(path.strip_prefix("main").unwrap_or(path).to_owned());
        }
        Ok(files)
    }

    /// One transaction: snapshot, files, statistics, the rows' `counts` and the journal position.
    pub(super) async fn commit(
        &mut self,
        through: u64,
        files: &[DataFile],
        counts: &SourceCounts,
    ) -> Result<(), StoreError> {
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        // What others have committed meanwhile counts: nothing of it is known from before.
        let last = newest(&mut transaction).await?;
        check_position(&mut transaction, self.committed).await?;
        if last.id != self.snapshot_id {
            name_others(&mut transaction, self.snapshot_id).await?;
            check_tables(&mut transaction).await?;
        }
        let snapshot = last.id + 1;
        begin_snapshot(&mut transaction, &last, files.len()).await?;
        let next_file = last.next_file;
        for (file, id) in files.iter().zip(next_file..) {
            add_file(&mut transaction, snapshot, id, file).await?;
        }
        for (agent, source, rows) in counts.iter() {
            add_stored(&mut transaction, agent, source, rows).await?;
        }
        let mut tables: Vec<i64> = files.iter().map(|file| table_id(file.table)).collect();
        tables.dedup();
        let changes: Vec<String> = tables.iter().map(|id| format!("inserted_into_table:{id}")).collect();
        sqlx::query("INSERT INTO ducklake_snapshot_changes VALUES (?, ?, ?, NULL, ?)")
            .bind(snapshot)
            .bind(changes.join(","))
            .bind(AUTHOR)
            .bind(format!("{{\"journal\":{through}}}"))
            .execute(&mut *transaction)
            .await?;
        sqlx::query("UPDATE lapwing_position SET journal = ?")
            .bind(through as i64)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        self.snapshot_id = snapshot;
        self.committed = through;
        Arc::make_mut(&mut self.stored).merge(counts);
        Ok(())
    }
}

/// The newest snapshot.
struct Snapshot {
    id: i64,
    schema_version: i64,
    next_catalog: i64,
    next_file: i64,
}

async fn newest(transaction: &mut Transaction<'_, Sqlite>) -> Result<Snapshot, StoreError> {
    let query = "SELECT snapshot_id, schema_version, next_catalog_id, next_file_id FROM ducklake_snapshot \
                 ORDER BY snapshot_id DESC LIMIT 1";
    let row = sqlx::query(query).fetch_one(&mut **transaction).await?;
    Ok(Snapshot {
        id: row.try_get(0)?,
        schema_version: row.try_get(1)?,
        next_catalog: row.try_get(2)?,
        next_file: row.try_get(3)?,
    })
}

/// Adds the row of the snapshot after `last`, with so many files.
async fn begin_snapshot(
    transaction: &mut Transaction<'_, Sqlite>,
    last: &Snapshot,
    files: usize,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO ducklake_snapshot VALUES (?, ?, ?, ?, ?)")
        .bind(last.id + 1)
        .bind(now())
        .bind(last.schema_version)
        .bind(last.next_catalog)
        .bind(last.next_file + files as i64)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// Only lapwing moves the position. Another collector on the same lake would store each row twice.
async fn check_position(transaction: &mut Transaction<'_, Sqlite>, committed: u64) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT journal FROM lapwing_position").fetch_one(&mut **transaction).await?;
    let found = row.try_get::<i64, _>(0)? as u64;
    if found == committed {
        return Ok(());
    }
    Err(StoreError::Lake(format!(
        "its journal position is {found}, this collector has committed {committed}: another collector writes to this lake; \
         give each its own [server] data_dir, and start this one again"
    )))
}

/// Says who has changed the catalog since the snapshot `since`, in one line for a flush: the newest stands for all.
async fn name_others(transaction: &mut Transaction<'_, Sqlite>, since: i64) -> Result<(), StoreError> {
    let query = "SELECT snapshot_id, coalesce(author, ''), coalesce(changes_made, '') FROM ducklake_snapshot_changes \
                 WHERE snapshot_id > ? ORDER BY snapshot_id DESC LIMIT 1";
    let newest = sqlx::query(query).bind(since).fetch_optional(&mut **transaction).await?;
    let Some(row) = newest else { return Ok(()) };
    let (snapshot, author, changes): (i64, String, String) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let snapshots = snapshot - since;
    tracing::warn!(
        snapshot,
        author,
        changes,
        "another program has changed the lake ({snapshots} snapshots); lapwing goes on behind its snapshot"
    );
    Ok(())
}

/// Rows of a table that another program has dropped would go to nowhere.
async fn check_tables(transaction: &mut Transaction<'_, Sqlite>) -> Result<(), StoreError> {
    for table in Table::ALL {
        let query = "SELECT count(*) FROM ducklake_table WHERE table_id = ? AND table_name = ? AND end_snapshot IS NULL";
        let row = sqlx::query(query).bind(table_id(table)).bind(table.name()).fetch_one(&mut **transaction);
        if row.await?.try_get::<i64, _>(0)? == 0 {
            return Err(StoreError::Lake(format!(
                "another program has dropped or renamed the table {}; restore the lake from before, or move it away and \
                 start with an empty one",
                table.name()
            )));
        }
    }
    Ok(())
}

async fn add_file(
    transaction: &mut Transaction<'_, Sqlite>,
    snapshot: i64,
    id: i64,
    file: &DataFile,
) -> Result<(), StoreError> {
    let table = table_id(file.table);
    let next_row = sqlx::query("SELECT next_row_id FROM ducklake_table_stats WHERE table_id = ?")
        .bind(table)
        .fetch_one(&mut **transaction)
        .await?;
    sqlx::query(
        "INSERT INTO ducklake_data_file (data_file_id, table_id, begin_snapshot, path, path_is_relative, file_format, \
         record_count, file_size_bytes, footer_size, row_id_start) VALUES (?, ?, ?, ?, 1, 'parquet', ?, ?, ?, ?)",
    )
    .bind(id)
    .bind(table)
    .bind(snapshot)
    .bind(&file.path)
    .bind(file.rows as i64)
    .bind(file.bytes as i64)
    .bind(file.footer_bytes as i64)
    .bind(next_row.try_get::<i64, _>(0)?)
    .execute(&mut **transaction)
    .await?;
    sqlx::query(
        "UPDATE ducklake_table_stats SET record_count = record_count + ?1, next_row_id = next_row_id + ?1, \
         file_size_bytes = file_size_bytes + ?2 WHERE table_id = ?3",
    )
    .bind(file.rows as i64)
    .bind(file.bytes as i64)
    .bind(table)
    .execute(&mut **transaction)
    .await?;
    for column in &file.stats {
        add_stats(transaction, id, table, column).await?;
    }
    Ok(())
}

/// Statistics of a column: of the file, and joined into those of the table, which must never say less than is there.
async fn add_stats(
    transaction: &mut Transaction<'_, Sqlite>,
    file: i64,
    table: i64,
    column: &stats::ColumnStats,
) -> Result<(), StoreError> {
    let (least, greatest) = column.bounds.map(|(a, b)| (column.text(a), column.text(b))).unzip();
    sqlx::query(
        "INSERT INTO ducklake_file_column_stats (data_file_id, table_id, column_id, value_count, null_count, min_value, \
         max_value) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(file)
    .bind(table)
    .bind(column.column_id)
    .bind(column.values as i64)
    .bind(column.nulls as i64)
    .bind(&least)
    .bind(&greatest)
    .execute(&mut **transaction)
    .await?;
    // Times compare as text; numbers do not.
    let update = if column.is_time {
        "UPDATE ducklake_table_column_stats SET contains_null = contains_null OR ?, min_value = min(coalesce(min_value, ?2), \
         coalesce(?2, min_value)), max_value = max(coalesce(max_value, ?3), coalesce(?3, max_value)) \
         WHERE table_id = ?4 AND column_id = ?5"
    } else {
        "UPDATE ducklake_table_column_stats SET contains_null = contains_null OR ?, \
         min_value = CAST(min(CAST(coalesce(min_value, ?2) AS INTEGER), CAST(coalesce(?2, min_value) AS INTEGER)) AS TEXT), \
         max_value = CAST(max(CAST(coalesce(max_value, ?3) AS INTEGER), CAST(coalesce(?3, max_value) AS INTEGER)) AS TEXT) \
         WHERE table_id = ?4 AND column_id = ?5"
    };
    sqlx::query(update)
        .bind(i64::from(column.nulls > 0))
        .bind(&least)
        .bind(&greatest)
        .bind(table)
        .bind(column.column_id)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

async fn add_stored(
    transaction: &mut Transaction<'_, Sqlite>,
    agent: &str,
    source: &str,
    rows: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO lapwing_stored VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET row_count = row_count + excluded.row_count",
    )
    .bind(agent)
    .bind(source)
    .bind(rows as i64)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn read_stored(connection: &mut SqliteConnection) -> Result<SourceCounts, StoreError> {
    let rows =
        sqlx::query("SELECT agent, source, row_count FROM lapwing_stored").fetch_all(connection).await?;
    let mut stored = SourceCounts::default();
    for row in rows {
        stored.add_rows(row.try_get(0)?, row.try_get(1)?, row.try_get::<i64, _>(2)? as u64);
    }
    Ok(stored)
}

/// The journal position, in the table of ours. A lake from before there was one carries it in its newest snapshot of ours.
async fn open_position(connection: &mut SqliteConnection) -> Result<u64, StoreError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql(POSITION).execute(&mut *transaction).await?;
    let found = sqlx::query("SELECT journal FROM lapwing_position").fetch_optional(&mut *transaction).await?;
    let position = match found {
        Some(row) => row.try_get::<i64, _>(0)? as u64,
        None => {
            let position = carried_position(&mut transaction).await?;
            sqlx::query("INSERT INTO lapwing_position VALUES (0, ?)")
                .bind(position as i64)
                .execute(&mut *transaction)
                .await?;
            position
        }
    };
    transaction.commit().await?;
    Ok(position)
}

/// The newest journal position that a snapshot of ours carries. Those of other programs may carry what they like.
async fn carried_position(transaction: &mut Transaction<'_, Sqlite>) -> Result<u64, StoreError> {
    let query = "SELECT commit_extra_info FROM ducklake_snapshot_changes WHERE author = ? AND commit_extra_info IS NOT NULL \
                 ORDER BY snapshot_id DESC LIMIT 1";
    let Some(row) = sqlx::query(query).bind(AUTHOR).fetch_optional(&mut **transaction).await? else {
        return Ok(0);
    };
    let info: serde_json::Value = serde_json::from_str(row.try_get(0)?)
        .map_err(|error| StoreError::Lake(format!("commit_extra_info of the newest snapshot: {error}")))?;
    let journal = info["journal"].as_u64();
    journal.ok_or_else(|| StoreError::Lake("the newest snapshot names no journal position".to_owned()))
}

async fn check_format(connection: &mut SqliteConnection, file: &Path) -> Result<(), StoreError> {
    let query = "SELECT value FROM ducklake_metadata WHERE key = 'version'";
    let found: Option<String> = match sqlx::query(query).fetch_optional(connection).await? {
        Some(row) => Some(row.try_get(0)?),
        None => None,
    };
    if found.as_deref() == Some(FORMAT) {
        return Ok(());
    }
    let found = found.as_deref().unwrap_or("none");
    Err(StoreError::Lake(format!("{}: catalog version {found}, this program knows {FORMAT}", file.display())))
}

async fn bootstrap(connection: &mut SqliteConnection, data: &Path) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(TABLES).execute(&mut *transaction).await?;
    for (key, value) in [
        ("version", FORMAT.to_owned()),
        ("created_by", format!("lapwing {}", env!("CARGO_PKG_VERSION"))),
        ("data_path", data_path(data)),
        ("encrypted", "false".to_owned()),
        // Rows stay in files: DuckDB must not put some of its own into the catalog.
        ("data_inlining_row_limit", "0".to_owned()),
    ] {
        sqlx::query("INSERT INTO ducklake_metadata VALUES (?, ?, NULL, NULL)")
            .bind(key)
            .bind(value)
            .execute(&mut *transaction)
            .await?;
    }
    let tables = Table::ALL.len() as i64;
    for (id, version, next, change) in [(0, 0, 1, "created_schema:\"main\""), (1, 1, 1 + tables, "")] {
        sqlx::query("INSERT INTO ducklake_snapshot VALUES (?, ?, ?, ?, 0)")
            .bind(id)
            .bind(now())
            .bind(version)
            .bind(next)
            .execute(&mut *transaction)
            .await?;
        let created: Vec<_> =
            Table::ALL.iter().map(|t| format!("created_table:\"main\".\"{}\"", t.name())).collect();
        let change = if change.is_empty() { created.join(",") } else { change.to_owned() };
        sqlx::query("INSERT INTO ducklake_snapshot_changes VALUES (?, ?, 'lapwing', NULL, NULL)")
            .bind(id)
            .bind(change)
            .execute(&mut *transaction)
            .await?;
    }
    sqlx::query("INSERT INTO ducklake_schema VALUES (0, ?, 0, NULL, 'main', 'main/', 1)")
        .bind(uuid(0))
        .execute(&mut *transaction)
        .await?;
    for table in Table::ALL {
        create_table(&mut transaction, table).await?;
    }
    transaction.commit().await?;
    Ok(())
}

fn data_path(data: &Path) -> String {
    format!("{}/", data.display())
}

async fn create_table(transaction: &mut Transaction<'_, Sqlite>, table: Table) -> Result<(), StoreError> {
    let id = table_id(table);
    sqlx::query("INSERT INTO ducklake_table VALUES (?, ?, 1, NULL, 0, ?, ?, 1)")
        .bind(id)
        .bind(uuid(id as u64))
        .bind(table.name())
        .bind(format!("{}/", table.name()))
        .execute(&mut **transaction)
        .await?;
    sqlx::query("INSERT INTO ducklake_table_stats VALUES (?, 0, 0, 0)")
        .bind(id)
        .execute(&mut **transaction)
        .await?;
    sqlx::query("INSERT INTO ducklake_schema_versions VALUES (1, 1, ?)")
        .bind(id)
        .execute(&mut **transaction)
        .await?;
    let mut next = 1;
    for field in table.schema().fields() {
        let parent = next;
        create_column(transaction, id, &mut next, None, field).await?;
        match field.data_type() {
            DataType::Map(entries, _) => {
                let DataType::Struct(pair) = entries.data_type() else { continue };
                for child in pair {
                    let child = child.as_ref().clone().with_nullable(true);
                    create_column(transaction, id, &mut next, Some(parent), &child).await?;
                }
            }
            DataType::List(child) => {
                let child = child.as_ref().clone().with_name("element");
                create_column(transaction, id, &mut next, Some(parent), &child).await?;
            }
            _ => {
                // Flat columns carry statistics; a table without rows has none of either kind.
                sqlx::query(
                    "INSERT INTO ducklake_table_column_stats VALUES (?, ?, 0, NULL, NULL, NULL, NULL)",
                )
                .bind(id)
                .bind(parent)
                .execute(&mut **transaction)
                .await?;
            }
        }
    }
    Ok(())
}

async fn create_column(
    transaction: &mut Transaction<'_, Sqlite>,
    table: i64,
    next: &mut i64,
    parent: Option<i64>,
    field: &Field,
) -> Result<(), StoreError> {
    let id = *next;
    *next += 1;
    let nested = stats::children(field.data_type()) > 0;
    sqlx::query("INSERT INTO ducklake_column VALUES (?1, 1, NULL, ?2, ?1, ?3, ?4, NULL, 'NULL', ?5, ?6, ?7, 'duckdb')")
        .bind(id)
        .bind(table)
        .bind(field.name())
        .bind(type_name(field.data_type()))
        .bind(i64::from(field.is_nullable()))
        .bind(parent)
        .bind(if nested { "" } else { "literal" })
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// The DuckLake name of a type.
fn type_name(kind: &DataType) -> &'static str {
    match kind {
        DataType::Timestamp(..) => "timestamp_ns",
        DataType::Int16 => "int16",
        DataType::Int32 => "int32",
        DataType::Int64 => "int64",
        DataType::Float64 => "float64",
        DataType::BinaryView => "blob",
        DataType::Map(..) => "map",
        DataType::List(_) => "list",
        _ => "varchar",
    }
}

fn table_id(table: Table) -> i64 {
    table as i64 + 1
}

fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let text = stats::timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX));
    format!("{}+00", &text[..text.len() - 3])
}

/// A UUID (version 8, RFC 9562) from the clock and a number: unique enough for the objects of one catalog.
fn uuid(number: u64) -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let hex = format!("{nanos:016x}{number:016x}");
    format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}
