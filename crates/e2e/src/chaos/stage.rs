//! Where a scenario plays: a pair of programs with a proxy between them, under memory caps, and writers.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

use super::{
    Figures, Form,
    group::Group,
    watchdog::{Undo, Watchdog},
};
use crate::{
    Rig, RigOptions, Verdict, Writer, http, ledger,
    oracle::{self, Judge},
    process::Process,
    proxy::Proxy,
    random::Random,
    rig::PATIENCE,
    tools, wait,
    writer::RunningWriter,
};

/// Memory that agent and collector may use.
const CAPS: [u64; 2] = [96 << 20, 384 << 20];
/// File id of the line that shows that all is well again.
const FRESH: u32 = 99_999;
/// How long everything written may take to be visible after the faults.
const SETTLE: Duration = Duration::from_secs(180);

/// One of the two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `lapwing-agent`.
    Agent,
    /// `lapwing-collector`.
    Collector,
}

/// A scenario's stage.
#[derive(Debug)]
pub struct Stage {
    /// The programs.
    pub rig: Rig,
    /// Chance, from the run's seed.
    pub random: Random,
    /// How much is to be done.
    pub form: Form,
    /// What was done, and when.
    pub schedule: Vec<String>,
    missing: u64,
    writers: Vec<RunningWriter>,
    written: BTreeMap<u32, u64>,
    proofs: Vec<(String, u64, u64)>,
    peaks: [u64; 2],
    groups: Result<[Group; 2], String>,
    watchdog: Watchdog,
    started: Instant,
}

impl Stage {
    /// Starts the programs.
    pub fn new(options: RigOptions, form: Form, seed: u64, limit: Duration) -> Result<Self> {
        let mut watchdog = Watchdog::start(limit)?;
        let groups = Group::new("agent", CAPS[0], &mut watchdog)
            .and_then(|agent| Ok([agent, Group::new("collector", CAPS[1], &mut watchdog)?]));
        let mut stage = Self {
            rig: Rig::new(&options)?,
            random: Random::new(seed),
            form,
            schedule: Vec::new(),
            missing: 0,
            writers: Vec::new(),
            written: BTreeMap::new(),
            proofs: Vec::new(),
            peaks: [0; 2],
            groups: groups.map_err(|error| format!("{error:#}")),
            watchdog,
            started: Instant::now(),
        };
        stage.cap(Program::Collector)?;
        stage.start(Program::Agent)?;
        stage.rig.wait_for_agent()?;
        Ok(stage)
    }

    /// The proxy between the programs.
    pub fn proxy(&self) -> Result<&Proxy> {
        self.rig.proxy.as_ref().context("the rig has no proxy")
    }

    /// Notes what is done.
    pub fn note(&mut self, what: impl Into<String>) {
        self.schedule.push(format!("{:.3} s: {}", self.started.elapsed().as_secs_f64(), what.into()));
    }

    /// Notes that `what` happened so many times and had to at least `least` times.
    pub fn prove(&mut self, what: &str, times: u64, least: u64) {
        self.proofs.push((what.to_owned(), times, least));
    }

    /// Notes that so many lines are lost, and that the ledger says so.
    pub fn must_lose(&mut self, missing: u64) {
        self.missing = missing;
    }

    /// Notes, before it is done, what must be undone.
    pub fn undo_later(&mut self, undo: &Undo) -> Result<()> {
        self.watchdog.note(undo)
    }

    /// Waits for a time between two bounds, in milliseconds.
    pub fn pause(&mut self, from: u64, to: u64) {
        thread::sleep(Duration::from_millis(self.random.within(from..to)));
    }

    /// Starts writers of the files 1 to `files`, each so many lines at a time.
    pub fn write(&mut self, files: u32, lines: u64, pause: Duration) -> Result<()> {
        for file in 1..=files {
            let writer = Writer::new(&self.rig.logs().join(format!("app-{file}.log")), file)?;
            self.writers.push(writer.run(lines, pause));
        }
        Ok(())
    }

    /// Starts writers at the usual rate of a run.
    pub fn write_as_usual(&mut self) -> Result<()> {
        let lines = match self.form {
            Form::Short => 40,
            Form::Full => 150,
            Form::Long => 450,
        };
        self.write(2, lines, Duration::from_millis(5))
    }

    /// Counts lines that a scenario wrote itself.
    pub fn wrote(&mut self, writer: &Writer) {
        self.written.insert(writer.file_id(), writer.written());
    }

    /// Counts the lines 0 to `lines` of a file.
    pub fn written(&mut self, file: u32, lines: u64) {
        self.written.insert(file, lines);
    }

    /// One of the two.
    pub fn process(&mut self, program: Program) -> &mut Process {
        match program {
            Program::Agent => &mut self.rig.agent,
            Program::Collector => &mut self.rig.collector,
        }
    }

    /// Starts a program, under its cap.
    pub fn start(&mut self, program: Program) -> Result<()> {
        match program {
            Program::Agent => self.rig.start_agent()?,
            Program::Collector => self.rig.start_collector()?,
        }
        self.cap(program)
    }

    fn cap(&mut self, program: Program) -> Result<()> {
        let Some(id) = self.process(program).id() else { return Ok(()) };
        match &self.groups {
            Ok(groups) => groups[program as usize].take(id),
            Err(_) => Ok(()),
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self, program: Program) -> Result<()> {
        self.note(format!("kill -9 {program:?}"));
        self.look_at_memory();
        self.process(program).kill()
    }

    /// SIGTERM; the program must end well, and in time.
    pub fn stop(&mut self, program: Program) -> Result<()> {
        self.note(format!("SIGTERM {program:?}"));
        self.look_at_memory();
        let status = self.process(program).stop(Duration::from_secs(15))?;
        ensure!(status.success(), "{program:?} ended with {status} after SIGTERM");
        Ok(())
    }

    /// Notes the peaks of memory; to be called before a process ends.
    pub fn look_at_memory(&mut self) {
        for program in [Program::Agent, Program::Collector] {
            let peak = self.process(program).peak_memory().unwrap_or(0);
            let known = &mut self.peaks[program as usize];
            *known = peak.max(*known);
        }
    }

    /// A figure of the agent's or collector's `/metrics`; all lines that begin with `name` together.
    pub fn figure(&self, program: Program, name: &str) -> Result<u64> {
        let address = if program == Program::Agent { &self.rig.admin } else { &self.rig.http };
        http::figure(address, name)
    }

    /// Batches that the collector has journaled since it started.
    pub fn journaled(&self) -> Result<u64> {
        self.figure(Program::Collector, "lapwing_collector_batches_total")
    }

    /// Lines that carry an id and are visible.
    pub fn visible(&self) -> Result<u64> {
        oracle::count(&self.rig.http)
    }

    /// What the programs said last, for the report of a failure.
    pub fn last_words(&self) -> String {
        let last = |process: &Process| {
            let output = process.output();
            let lines: Vec<&str> = output.lines().rev().take(12).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n  ")
        };
        format!("agent said:\n  {}\ncollector said:\n  {}", last(&self.rig.agent), last(&self.rig.collector))
    }

    /// Waits until `check` sees `what`; one of the two that has ended makes no more of it.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut check: impl FnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let seen = wait::until(&format!("{what} is visible"), limit, || {
            for program in [Program::Agent, Program::Collector] {
                if let Ok(Some(status)) = self.process(program).ended() {
                    return Ok(Some(Err(anyhow!(
                        "{program:?} ended with {status} before {what} was visible"
                    ))));
                }
            }
            Ok(check(self)?.map(Ok))
        })?;
        let killed = self.kills_by_cap();
        seen.map_err(|error| if killed > 0 { error.context("the memory cap killed it") } else { error })
    }

    fn kills_by_cap(&self) -> u64 {
        self.groups.as_ref().map_or(0, |groups| groups.iter().map(Group::kills).sum())
    }

    /// After the faults: how long until a fresh line can be asked for; then everything written, by two readers, and the books.
    pub fn settle(&mut self, figures: &mut Figures) -> Result<()> {
        let healed = Instant::now();
        let mut fresh = Writer::new(&self.rig.logs().join("fresh.log"), FRESH)?;
        fresh.write(1)?;
        let query = format!("SELECT count(*) AS n FROM logs WHERE body LIKE 'lw {FRESH} %'");
        self.wait_for("a fresh line", PATIENCE, |stage| {
            let row: Value = serde_json::from_str(&stage.rig.sql(&query)?)?;
            Ok((row["n"] == 1).then_some(()))
        })?;
        figures.recovery = Some(healed.elapsed());
        self.wrote(&fresh);
        for writer in std::mem::take(&mut self.writers) {
            let writer = writer.stop()?;
            self.wrote(&writer);
        }
        let lines: u64 = self.written.values().sum();
        let missing = self.missing;
        self.wait_for("everything written", SETTLE, |stage| {
            let seen = stage.visible()?;
            if seen + missing >= lines { Ok(Some(())) } else { bail!("{seen} of {lines} rows") }
        })?;
        self.close_books()?;
        self.look_at_memory();
        figures.verdict = oracle::judge(&self.rig.http, &self.written)?;
        figures.unread = self.ask_duckdb(&figures.verdict)?;
        figures.peaks = self.peaks;
        figures.missing = self.missing;
        figures.proofs = std::mem::take(&mut self.proofs);
        match &self.groups {
            Ok(_) => {
                let kills = self.kills_by_cap();
                ensure!(kills == 0, "the memory cap killed {kills} times");
            }
            Err(reason) => figures.uncapped = Some(reason.clone()),
        }
        Ok(())
    }

    fn close_books(&self) -> Result<()> {
        if self.missing == 0 {
            return ledger::close(&self.rig.http).map(|_| ()).context("the books");
        }
        let missing = self.rig.sql("SELECT sum(missing) AS n FROM ledger WHERE kind = 'source'")?;
        let missing = &serde_json::from_str::<Value>(&missing)?["n"];
        ensure!(*missing == self.missing, "the ledger misses {missing} lines, {} are lost", self.missing);
        Ok(())
    }

    /// DuckDB must find in the lake, line by line, what lapwing's SQL found. Gives the reason when it can't be asked.
    fn ask_duckdb(&self, expected: &Verdict) -> Result<Option<String>> {
        let Some(python) = tools::duckdb_python() else {
            return Ok(Some("it is not installed: `make setup` does it".to_owned()));
        };
        wait::until("all rows are in the lake", PATIENCE, || {
            let row = self
                .rig
                .sql("SELECT coalesce(sum(in_memory), 0) AS n FROM ledger WHERE source != 'metrics'")?;
            Ok((serde_json::from_str::<Value>(&row)?["n"] == 0).then_some(()))
        })?;
        let mut command = Command::new(python);
        command.args(["-c", READ]).arg(self.rig.data_dir.join("lake")).arg("lines");
        let mut reader = command.stdout(Stdio::piped()).spawn()?;
        let mut judge = Judge::new(&self.written);
        for line in BufReader::new(reader.stdout.take().context("no output")?).lines() {
            judge.take(&line?);
        }
        let status = reader.wait()?;
        ensure!(status.success(), "DuckDB: {status}");
        let found = judge.verdict();
        ensure!(found == *expected, "lapwing's SQL found {expected:?}, DuckDB {found:?}");
        Ok(None)
    }
}

/// Reads the lake with DuckDB.
const READ: &str = include_str!("../../tests/duckdb_count.py");
