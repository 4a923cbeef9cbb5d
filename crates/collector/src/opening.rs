//! What a collector opens before it can take anything: its files, its journal and its store.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};
use lapwing_service::{
    modes,
    renewed::Renewed,
    revoked::Revoked,
    tls::{self, ServerSide},
};
use lapwing_spool::{Log, Options, WhenFull};
use lapwing_store::{
    Asker, Newest, Store,
    console::Console,
    ducklake::DuckLake,
    process::{AskerOptions, Program},
};

use crate::config::{Auth, Backend, CollectorConfig};

/// Bytes of the journal that are left for leases and snapshots, or a half of a small journal.
const SNAPSHOTS: u64 = 128 << 20;
/// Largest segment of the journal; a small journal has smaller ones, since only whole segments can go.
const SEGMENT: u64 = 64 << 20;

/// Stands for the folder of a lake where there is none.
pub const NO_LAKE: &str = "-";

/// Certificate, key and authority, read again when they change.
pub(crate) fn server_tls(config: &CollectorConfig) -> Result<Option<Arc<Renewed<ServerSide>>>> {
    let Some(paths) = config.tls.clone() else { return Ok(None) };
    let require = matches!(config.auth, Auth::Mtls);
    let files = [&paths.cert_file, &paths.key_file].into_iter().chain(&paths.client_ca_file);
    let files = files.cloned().collect();
    let make =
        move || tls::server(&paths.cert_file, &paths.key_file, paths.client_ca_file.as_deref(), require);
    let renewed = Renewed::new("certificate, key and authority", files, make).context("[tls]")?;
    let renewed = Arc::new(renewed);
    renewed.watch();
    Ok(Some(renewed))
}

/// The list of those who are let in no more, read again when it changes.
pub(crate) fn revoked(config: &CollectorConfig) -> Result<Option<Arc<Renewed<Revoked>>>> {
    let Some(path) = config.revoked_file.clone() else { return Ok(None) };
    let list =
        Renewed::new("the list of what was taken back", vec![path.clone()], move || Revoked::open(&path));
    let list = list.map_err(|error| anyhow::anyhow!("[auth] revoked_file: {error}"))?;
    let list = Arc::new(list);
    list.watch();
    Ok(Some(list))
}

/// Opens the journal, and says what of it is lost.
pub(crate) fn open_journal(config: &CollectorConfig) -> Result<Log> {
    let path = config.data_dir.join("journal");
    let options = Options {
        segment_bytes: segment_bytes(config),
        max_bytes: config.journal_max_bytes,
        when_full: WhenFull::Block,
        memory_bytes: 0,
    };
    make_folder(&config.data_dir)?;
    let (journal, recovery) = Log::open(&path, options)?;
    let lost = recovery.damaged_records + recovery.missing_records;
    if lost > 0 || recovery.damaged_segments > 0 {
        tracing::error!("the journal has lost {lost} records: {recovery:?}");
    }
    if recovery.torn_bytes > 0 {
        tracing::warn!(
            "cut {} bytes of a write that a crash left half done; it was not acknowledged",
            recovery.torn_bytes
        );
    }
    Ok(journal)
}

/// Bytes of the journal that batches may fill.
pub(crate) fn journal_room(max_bytes: u64) -> u64 {
    max_bytes - (max_bytes / 4).max(SNAPSHOTS.min(max_bytes / 2))
}

/// Bytes of a segment of the journal.
pub(crate) fn segment_bytes(config: &CollectorConfig) -> u64 {
    SEGMENT.min(config.journal_max_bytes / 8)
}

fn make_folder(path: &Path) -> Result<()> {
    modes::own_directory(path).with_context(|| {
        format!("[server] data_dir {}: expected a directory of this user's own", path.display())
    })
}

/// Opens the store that is configured.
pub(crate) async fn open_store(config: &CollectorConfig) -> Result<Arc<dyn Store>> {
    Ok(match config.backend {
        Backend::DuckLake => Arc::new(DuckLake::open(&config.data_dir.join("lake")).await?),
        Backend::Console => Arc::new(Console::open(&config.data_dir, Box::new(std::io::stdout()))?),
    })
}

/// Queries are answered by this same program, in a process of its own.
pub(crate) fn start_asker(config: &CollectorConfig, newest: Newest) -> Result<Asker> {
    let lake = match config.backend {
        Backend::DuckLake => config.data_dir.join("lake").canonicalize()?,
        Backend::Console => NO_LAKE.into(),
    };
    let memory = config.queries.max_memory.to_string();
    let program = Program {
        // Also when the file has been replaced by a newer one meanwhile: both ends must be the same program.
        path: "/proc/self/exe".into(),
        arguments: vec!["--query-process".into(), lake.into(), memory.into()],
        spill: config.data_dir.canonicalize()?.join("queries"),
    };
    let spill = program.spill.clone();
    let asker = Asker::start(newest, AskerOptions { limits: config.queries.clone(), program });
    asker.with_context(|| format!("{}: can't be made anew", spill.display()))
}
