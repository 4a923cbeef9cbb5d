//! What a query process may do: next to nothing.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus,
};
use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use crate::ducklake::catalog_file;

/// Behind everything that takes telemetry in.
const NICE: i32 = 10;
/// Killed before the collector, should the machine run out of memory.
const OOM_SCORE: &str = "1000";

/// Gives all rights away but to read the lake and to write below `spill`. Says what the system could not take.
pub(super) fn give_rights_away(lake: Option<&Path>, spill: &Path) -> Vec<String> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let mut kept = Vec::new();
    let mut note = |what: &str, error: &dyn std::fmt::Display| kept.push(format!("{what}: {error}"));

    // Without a parent's rights, only these two can fail, and both are no danger.
    if let Err(error) = setpriority_process(None, NICE) {
        note("priority", &error);
    }
    if let Err(error) = fs::write("/proc/self/oom_score_adj", OOM_SCORE) {
        note("oom_score_adj", &error);
    }
    // A core would hold the rows of a query.
    if let Err(error) = setrlimit(Resource::Core, none) {
        note("core dumps", &error);
    }

    match keep_out_of_files(lake, spill) {
        Ok(RulesetStatus::NotEnforced) => note("files", &"this kernel has no Landlock"),
        Ok(_) => {}
        Err(error) => note("files", &error),
    }
    if let Err(error) = keep_out_of_calls() {
        note("system calls", &error);
    }
    kept
}

/// By Landlock, as far as the kernel knows it. The network, too.
fn keep_out_of_files(lake: Option<&Path>, spill: &Path) -> Result<RulesetStatus, RulesetError> {
    let abi = ABI::V5;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .create()?;

    if let Ok(folder) = PathFd::new(spill) {
        rules = rules.add_rule(PathBeneath::new(folder, AccessFs::from_all(abi)))?;
    }
    if let Some(lake) = lake {
        if let Ok(folder) = PathFd::new(lake) {
            rules = rules.add_rule(PathBeneath::new(folder, AccessFs::ReadFile | AccessFs::ReadDir))?;
        }
        // SQLite marks there which part of the log a reader reads, so that the writer leaves it alone.
        let shared = catalog_file(lake).with_extension("sqlite-shm");
        if let Ok(shared) = PathFd::new(shared) {
            rules = rules.add_rule(PathBeneath::new(shared, AccessFs::ReadFile | AccessFs::WriteFile))?;
        }
    }
    Ok(rules.restrict_self()?.ruleset)
}

/// System calls that no query needs, and that someone who took a query process over would: each is refused.
const REFUSED: [i64; 20] = [
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kill,
    libc::SYS_bpf,
    libc::SYS_io_uring_setup,
    libc::SYS_userfaultfd,
    libc::SYS_memfd_create,
    libc::SYS_mount,
    libc::SYS_unshare,
    libc::SYS_setns,
];

fn keep_out_of_calls() -> Result<(), Box<dyn std::error::Error>> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let rules: BTreeMap<i64, Vec<seccompiler::SeccompRule>> =
        REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let filter: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()?;
    seccompiler::apply_filter(&filter)?;
    Ok(())
}

/// The memory of this process, as the system counts it against its limit.
#[derive(Debug)]
pub(super) struct Memory {
    /// Opened before the rights were given away.
    statm: File,
    page: u64,
}

impl Memory {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self { statm: File::open("/proc/self/statm")?, page: rustix::param::page_size() as u64 })
    }

    /// Bytes of private memory that can be written: what the limit counts.
    fn used(&mut self) -> io::Result<u64> {
        let mut text = String::new();
        self.statm.seek(SeekFrom::Start(0))?;
        self.statm.read_to_string(&mut text)?;
        let pages = text.split_whitespace().nth(5).and_then(|word| word.parse::<u64>().ok());
        let pages = pages.ok_or_else(|| io::Error::other("/proc/self/statm has no sixth number"))?;
        Ok(pages.saturating_mul(self.page))
    }

    /// Lets the process have `more` bytes than it has now. An allocation beyond that fails, which ends the process.
    pub(super) fn allow(&mut self, more: usize) -> io::Result<()> {
        let current = self.used()?.saturating_add(more as u64);
        let maximum = getrlimit(Resource::Data).maximum;
        let current = maximum.map_or(current, |maximum| current.min(maximum));
        Ok(setrlimit(Resource::Data, Rlimit { current: Some(current), maximum })?)
    }
}
