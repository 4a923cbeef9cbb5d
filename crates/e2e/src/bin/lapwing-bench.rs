//! Drain, steady rate and idle of the real programs, beside the bare codec in the same run.
//!
//! usage: lapwing-bench [--log FILE] [--mb 500] [--seconds 30] [drain|steady|idle]...
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

use std::{
    fs::{self, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use lapwing::{codec::Compressor, v1::Codec};
use lapwing_e2e::{Rig, RigOptions, access_log::AccessLog, http, wait};

/// Block of the floor's codec.
const BLOCK: usize = 256 << 10;
/// Lines a second of the steady run.
const RATE: u64 = 10_000;
/// What 1 % of a core is where the codec takes 1.6 s/GB.
const STEADY_BOUND: &str = "<= 4";
const PATIENCE: Duration = Duration::from_secs(300);

struct Args {
    log: Option<PathBuf>,
    megabytes: u64,
    seconds: u64,
    runs: Vec<String>,
}

fn main() -> Result<()> {
    let args = parse()?;
    println!("| figure | value | bound |\n|---|---|---|");
    for run in &args.runs {
        match run.as_str() {
            "drain" => drain(&args)?,
            "steady" => steady(&args)?,
            "idle" => idle(&args)?,
            other => bail!("{other}: expected drain, steady or idle"),
        }
    }
    println!("\nload average at the end: {}", fs::read_to_string("/proc/loadavg")?.trim());
    Ok(())
}

fn parse() -> Result<Args> {
    let mut args = Args { log: None, megabytes: 500, seconds: 30, runs: Vec::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--log" => args.log = Some(value()?.into()),
            "--mb" => args.megabytes = value()?.parse()?,
            "--seconds" => args.seconds = value()?.parse()?,
            _ => args.runs.push(word),
        }
    }
    if args.runs.is_empty() {
        args.runs = ["drain", "steady", "idle"].map(str::to_owned).into();
    }
    Ok(args)
}

fn row(figure: &str, value: impl std::fmt::Display, bound: &str) {
    println!("| {figure} | {value} | {bound} |");
    let _ = std::io::stdout().flush();
}

/// CPU time of this thread.
fn own_cpu() -> Result<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(Duration::from_nanos(text.split(' ').next().context("empty schedstat")?.parse()?))
}

/// What the bare codec takes for the file: CPU and bytes.
fn floor(path: &Path) -> Result<(Duration, u64)> {
    let mut file = fs::File::open(path)?;
    let mut compressor = Compressor::new(Codec::Zstd, Some(1));
    let (mut cpu, mut bytes, mut block) = (Duration::ZERO, 0, vec![0; BLOCK]);
    loop {
        let mut filled = 0;
        while filled < BLOCK {
            match file.read(&mut block[filled..])? {
                0 => break,
                n => filled += n,
            }
        }
        if filled == 0 {
            return Ok((cpu, bytes));
        }
        let before = own_cpu()?;
        bytes += compressor.compress(&[&block[..filled]])?.len() as u64;
        cpu += own_cpu()?.saturating_sub(before);
    }
}

/// Bytes that left on the loopback interface: payload, TLS, HTTP/2, TCP and IP of both directions.
fn loopback_bytes() -> Result<u64> {
    let text = fs::read_to_string("/proc/net/dev")?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:")).context("no loopback")?;
    Ok(line.split_whitespace().nth(8).context("no figure")?.parse()?)
}

fn drain(args: &Args) -> Result<()> {
    let mut rig = Rig::new(&RigOptions::default())?;
    let log = rig.logs().join("access.log");
    let size = match &args.log {
        Some(path) => fs::copy(path, &log)?,
        None => AccessLog::default().write_file(&log, args.megabytes * 1_000_000)?.1,
    };
    let lines = fs::read(&log)?.iter().filter(|byte| **byte == b'\n').count() as u64;
    let (floor_cpu, floor_bytes) = floor(&log)?;
    let wire = loopback_bytes()?;
    let started = Instant::now();
    rig.start_agent()?;
    wait::until("all is acknowledged", PATIENCE, || {
        let name = "lapwing_agent_events_total{cause=\"acknowledged\"}";
        Ok(http::figure(&rig.admin, name).ok().filter(|count| *count >= lines))
    })?;
    let took = started.elapsed();
    let (cpu, peak) = (rig.agent.cpu()?, rig.agent.peak_memory()?);
    let (wire, payload) =
        (loopback_bytes()? - wire, http::figure(&rig.admin, "lapwing_agent_sent_bytes_total")?);
    let gb = size as f64 / 1e9;
    row("drain: file", format!("{:.0} MB, {lines} lines", size as f64 / 1e6), "");
    row("drain: bare zstd -1, 256 KiB blocks", format!("{:.2} CPU s/GB", floor_cpu.as_secs_f64() / gb), "");
    row("drain: agent", format!("{:.2} CPU s/GB", cpu.as_secs_f64() / gb), "");
    row(
        "drain: agent / bare codec",
        format!("{:.2}", cpu.as_secs_f64() / floor_cpu.as_secs_f64()),
        "<= 3, aim 2",
    );
    row(
        "drain: payload / bare codec's output",
        format!("{:.3}", payload as f64 / floor_bytes as f64),
        "<= 1.1",
    );
    row(
        "drain: all loopback bytes / bare codec's output",
        format!("{:.3}", wire as f64 / floor_bytes as f64),
        "<= 1.1",
    );
    row("drain: peak resident memory of the agent", format!("{:.1} MB", peak as f64 / 1e6), "<= 50, aim 30");
    row(
        "drain: wall clock",
        format!("{:.2} s, {:.0} MB/s", took.as_secs_f64(), size as f64 / 1e6 / took.as_secs_f64()),
        "",
    );
    row("drain: collector", format!("{:.2} CPU s/GB", rig.collector.cpu()?.as_secs_f64() / gb), "");
    Ok(())
}

/// When each line was written.
type Written = Arc<Mutex<Vec<Instant>>>;

/// Appends [`RATE`] lines a second, a write for every line, until told to stop.
fn write_steadily(path: &Path, written: &Written, stop: &AtomicBool) -> Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let (mut log, mut line, mut lines) = (AccessLog::default(), Vec::new(), 0);
    let started = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let due = (started.elapsed().as_secs_f64() * RATE as f64) as u64;
        while lines < due {
            line.clear();
            log.line(&mut line);
            file.write_all(&line)?;
            written.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
            lines += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn steady(args: &Args) -> Result<()> {
    let mut rig = Rig::new(&RigOptions::default())?;
    let (path, written, stop) =
        (rig.logs().join("access.log"), Written::default(), Arc::new(AtomicBool::new(false)));
    fs::write(&path, "")?;
    rig.start_agent()?;
    rig.wait_for_agent()?;
    let writer = thread::spawn({
        let (path, written, stop) = (path.clone(), Arc::clone(&written), Arc::clone(&stop));
        move || write_steadily(&path, &written, &stop)
    });
    thread::sleep(Duration::from_secs(3));
    let (cpu, started) = (rig.agent.cpu()?, Instant::now());
    thread::sleep(Duration::from_secs(args.seconds));
    let share = (rig.agent.cpu()? - cpu).as_secs_f64() / started.elapsed().as_secs_f64();
    // Asking costs CPU on this machine, too: the agent's share is taken before.
    let mut delays = latencies(&rig, &written, Duration::from_secs(args.seconds))?;
    stop.store(true, Ordering::Relaxed);
    writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    let lines = written.lock().unwrap_or_else(PoisonError::into_inner).len();
    let codec = floor(&path)?.0.as_secs_f64() / lines as f64 * RATE as f64;
    delays.sort();
    let quantile = |q: f64| delays[((delays.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e3;
    row("steady 10,000 lines/s: agent", format!("{:.2} % of a core", share * 100.0), "<= 1");
    row("steady: bare zstd -1 on the same lines", format!("{:.2} % of a core", codec * 100.0), "");
    row("steady: agent / bare codec", format!("{:.2}", share / codec), STEADY_BOUND);
    row("steady: from write to visible, p50", format!("{:.1} ms", quantile(0.5)), "");
    row(
        "steady: from write to visible, p99",
        format!("{:.1} ms of {} lines", quantile(0.99), delays.len()),
        "< 100, aim 20",
    );
    row("steady: from write to visible, max", format!("{:.1} ms", quantile(1.0)), "");
    row("steady: agent's resident memory", format!("{:.1} MB", rig.agent.memory()? as f64 / 1e6), "");
    Ok(())
}

/// For every line: from its write to the end of the first query that counts it. An upper bound, by the time between two queries.
fn latencies(rig: &Rig, written: &Written, limit: Duration) -> Result<Vec<Duration>> {
    let count = || -> Result<usize> {
        let answer = rig.sql("SELECT count(*) AS n FROM logs")?;
        Ok(serde_json::from_str::<serde_json::Value>(&answer)?["n"].as_u64().context("no count")? as usize)
    };
    let (mut seen, started, mut delays) = (count()?, Instant::now(), Vec::new());
    while started.elapsed() < limit {
        let now_seen = count()?;
        let at = Instant::now();
        let written = written.lock().unwrap_or_else(PoisonError::into_inner);
        delays.extend(written[seen..now_seen].iter().map(|written| at - *written));
        seen = now_seen;
        drop(written);
        thread::sleep(Duration::from_millis(2));
    }
    Ok(delays)
}

fn idle(args: &Args) -> Result<()> {
    let mut rig = Rig::new(&RigOptions { metrics_secs: 10, ..RigOptions::default() })?;
    for n in 0..20 {
        fs::write(rig.logs().join(format!("{n}.log")), "a line\n")?;
    }
    rig.start_agent()?;
    rig.wait_for_agent()?;
    thread::sleep(Duration::from_secs(8));
    let (cpu, started) = (rig.agent.cpu()?, Instant::now());
    thread::sleep(Duration::from_secs(args.seconds.max(60)));
    let share = (rig.agent.cpu()? - cpu).as_secs_f64() / started.elapsed().as_secs_f64();
    row("idle, metrics every 10 s: agent", format!("{:.3} % of a core", share * 100.0), "<= 0.1");
    row("idle: resident memory", format!("{:.1} MB", rig.agent.memory()? as f64 / 1e6), "<= 20");
    Ok(())
}
