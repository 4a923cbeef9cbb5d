//! Parquet files: written whole, synced, then named.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{Array, AsArray, UInt32Array},
    compute::take_record_batch,
    datatypes::{DataType, Field, Fields, Schema, TimestampNanosecondType},
    record_batch::RecordBatch,
};
use parquet::{
    arrow::{
        ArrowSchemaConverter,
        arrow_writer::{ArrowWriter, ArrowWriterOptions},
    },
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};

use super::{file_error, stats::ColumnStats};
use crate::{StoreError, Table};

/// Rows of a row group: a group is what a reader skips or takes as a whole.
const ROW_GROUP_ROWS: usize = 128 * 1024;
/// Days of one flush that have a file of their own, those with the most rows. Rows of all others, by a long backlog or by hostile or broken
/// clocks, share one: nobody makes more than a few files a flush.
const MAX_DAYS: usize = 3;
/// The folder of those rows.
const MIXED: &str = "day=mixed";
const DAY_NANOS: i64 = 86_400_000_000_000;

/// A file that is on the disk and not yet in the catalog.
#[derive(Debug)]
pub(super) struct DataFile {
    pub(super) table: Table,
    /// Relative to the table's folder.
    pub(super) path: String,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) footer_bytes: u64,
    pub(super) stats: Vec<ColumnStats>,
}

/// Rows of a batch that go into one file.
#[derive(Debug)]
pub(super) struct Part {
    batch: RecordBatch,
    /// Which, unless it is all of them.
    rows: Option<UInt32Array>,
}

impl Part {
    fn len(&self) -> usize {
        self.rows.as_ref().map_or(self.batch.num_rows(), Array::len)
    }

    fn take(&self) -> Result<RecordBatch, StoreError> {
        Ok(match &self.rows {
            None => self.batch.clone(),
            Some(rows) => take_record_batch(&self.batch, rows)?,
        })
    }
}

/// Where the rows of each UTC day go, in their order. They are copied when they are written, a batch at a time: a flush of rows of many days would have all
/// of its rows twice otherwise.
pub(super) fn by_day(batches: &[RecordBatch]) -> BTreeMap<String, Vec<Part>> {
    let own = largest_days(batches);
    let mut folders: BTreeMap<String, Vec<Part>> = BTreeMap::new();
    for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
        let mut rows: BTreeMap<Option<i64>, Vec<u32>> = BTreeMap::new();
        for (row, day) in (0..).zip(days(batch)) {
            rows.entry(Some(day).filter(|day| own.contains(day))).or_default().push(row);
        }
        let is_whole = rows.len() == 1;
        for (day, rows) in rows {
            let folder = day.map_or(MIXED.to_owned(), |day| format!("day={}", date(day)));
            let rows = (!is_whole).then(|| UInt32Array::from(rows));
            folders.entry(folder).or_default().push(Part { batch: batch.clone(), rows });
        }
    }
    folders
}

/// The days that have a file of their own. Rows are counted before any is moved: a batch for each of ten thousand days would
/// take a hundred times the memory of the rows.
fn largest_days(batches: &[RecordBatch]) -> Vec<i64> {
    let mut sizes: BTreeMap<i64, usize> = BTreeMap::new();
    for day in batches.iter().flat_map(days) {
        *sizes.entry(day).or_default() += 1;
    }
    let mut sizes: Vec<(usize, i64)> = sizes.into_iter().map(|(day, rows)| (rows, day)).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    sizes.into_iter().take(MAX_DAYS).map(|(_, day)| day).collect()
}

fn days(batch: &RecordBatch) -> impl Iterator<Item = i64> + '_ {
    let times = batch.column(0).as_primitive::<TimestampNanosecondType>();
    times.values().iter().map(|time| time.div_euclid(DAY_NANOS))
}

/// Writes one file and makes it durable.
pub(super) fn write(
    data: &Path,
    table: Table,
    day: &str,
    through: u64,
    parts: &[Part],
) -> Result<DataFile, StoreError> {
    let folder = data.join(table.name()).join(day);
    if !folder.exists() {
        fs::create_dir_all(&folder).map_err(|source| file_error(&folder, "create folder", source))?;
        sync_folder(&data.join(table.name()))?;
    }
    let name = format!("{through:020}.parquet");
    let (temporary, path) = (folder.join(format!("{name}.tmp")), folder.join(&name));
    let schema = table.schema();
    let mut stats = ColumnStats::of(&schema);
    let footer_bytes = write_parquet(&temporary, &schema, parts, &mut stats)?;
    fs::rename(&temporary, &path).map_err(|source| file_error(&path, "rename", source))?;
    sync_folder(&folder)?;
    let bytes = fs::metadata(&path).map_err(|source| file_error(&path, "read size", source))?.len();
    Ok(DataFile {
        table,
        path: format!("{day}/{name}"),
        rows: parts.iter().map(|part| part.len() as u64).sum(),
        bytes,
        footer_bytes,
        stats,
    })
}

fn write_parquet(
    path: &Path,
    schema: &Arc<Schema>,
    parts: &[Part],
    stats: &mut [ColumnStats],
) -> Result<u64, StoreError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_created_by("lapwing".to_owned())
        .build();
    // Readers find columns by these ids, as the catalog numbers them.
    let parquet_schema = ArrowSchemaConverter::new().convert(&with_ids(schema))?;
    let options = ArrowWriterOptions::new()
        .with_properties(properties)
        .with_skip_arrow_metadata(true)
        .with_parquet_schema(parquet_schema);
    let file = File::create(path).map_err(|source| file_error(path, "create", source))?;
    let mut writer = ArrowWriter::try_new_with_options(file, Arc::clone(schema), options)?;
    for part in parts {
        let batch = part.take()?;
        stats.iter_mut().for_each(|column| column.add(&batch));
        writer.write(&batch)?;
    }
    writer.finish()?;
    let file = File::open(path).and_then(|file| file.sync_all().map(|()| file));
    let file = file.map_err(|source| file_error(path, "sync", source))?;
    footer_length(&file).map_err(|source| file_error(path, "read footer", source))
}

/// The footer's length stands in the four bytes before the closing magic.
fn footer_length(file: &File) -> io::Result<u64> {
    use std::os::unix::fs::FileExt;
    let end = file.metadata()?.len();
    let mut length = [0; 4];
    file.read_exact_at(&mut length, end.saturating_sub(8))?;
    Ok(u64::from(u32::from_le_bytes(length)))
}

/// The schema with a Parquet field id on every column and nested column, numbered as [`numbered`] does.
fn with_ids(schema: &Schema) -> Schema {
    fn field(field: &Field, next: &mut i32) -> Field {
        let id = std::mem::replace(next, *next + 1);
        let kind = match field.data_type() {
            DataType::Map(entries, sorted) => {
                let DataType::Struct(pair) = entries.data_type() else { return field.clone() };
                let pair: Fields = pair.iter().map(|child| self::with_ids_of(child, next)).collect();
                let entries = entries.as_ref().clone().with_data_type(DataType::Struct(pair));
                DataType::Map(Arc::new(entries), *sorted)
            }
            DataType::List(child) => DataType::List(Arc::new(with_ids_of(child, next))),
            other => other.clone(),
        };
        let id = std::collections::HashMap::from([("PARQUET:field_id".to_owned(), id.to_string())]);
        field.clone().with_data_type(kind).with_metadata(id)
    }
    let mut next = 1;
    Schema::new(schema.fields().iter().map(|column| field(column, &mut next)).collect::<Vec<_>>())
}

fn with_ids_of(child: &Field, next: &mut i32) -> Field {
    let id = std::mem::replace(next, *next + 1);
    child.clone().with_metadata([("PARQUET:field_id".to_owned(), id.to_string())].into())
}

/// Removes data files that the catalog does not name, and temporary ones.
pub(super) fn sweep(data: &Path, named: &HashSet<PathBuf>) -> Result<usize, StoreError> {
    let mut swept = 0;
    for table in Table::ALL {
        let root = data.join(table.name());
        for day in entries(&root)? {
            for file in entries(&day)? {
                let ours = file.extension().is_some_and(|end| end == "parquet" || end == "tmp");
                let name = file.strip_prefix(data).unwrap_or(&file);
                if ours && !named.contains(name) {
                    fs::remove_file(&file).map_err(|source| file_error(&file, "remove", source))?;
                    swept += 1;
                }
            }
        }
    }
    Ok(swept)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let listed = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    listed.map_err(|source| file_error(folder, "list", source))
}

fn sync_folder(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| file_error(path, "sync folder", source))
}

/// `YYYY-MM-DD` of a day since the Unix epoch (Howard Hinnant's civil-from-days).
pub(super) fn date(day: i64) -> String {
    let z = day + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{:02}", doy - (153 * mp + 2) / 5 + 1)
}
