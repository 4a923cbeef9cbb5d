//! Columns and rows are two forms of the same thing, and the encoded form survives anything.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::HashMap;

use bytes::Bytes;
use lapwing::{
    batch,
    codec::Compressor,
    columns::{Column, Columns, LogColumns, MetricColumns},
    limits::Limits,
    v1::{self, Codec, Signal, log_record::Content},
};
use proptest::{collection::vec, prelude::*};

fn attributes() -> impl Strategy<Value = HashMap<String, String>> {
    prop::collection::hash_map("[a-c.]{0,3}", "\\PC{0,8}", 0..3)
}

fn log() -> impl Strategy<Value = v1::LogRecord> {
    let body = prop_oneof![
        "\\PC{0,30}".prop_map(Content::Body),
        vec(any::<u8>(), 0..30).prop_map(|raw| match String::from_utf8(raw) {
            Ok(text) => Content::Body(text),
            Err(error) => Content::RawBody(error.into_bytes().into()),
        }),
    ];
    (1..u64::MAX, 1..u64::MAX, 0u32..25, "[A-Z]{0,5}", "[a-b/]{0,4}", body, attributes()).prop_map(
        |(time, observed, number, severity, source, content, attributes)| v1::LogRecord {
            time_unix_nano: time,
            observed_time_unix_nano: observed,
            severity_number: number,
            severity_text: severity,
            source,
            content: Some(content),
            attributes,
        },
    )
}

fn metric() -> impl Strategy<Value = v1::MetricPoint> {
    let histogram = (any::<u64>(), -1e9..1e9f64, vec(-1e9..1e9f64, 0..4), vec(any::<u64>(), 0..5)).prop_map(
        |(count, sum, explicit_bounds, bucket_counts)| v1::Histogram {
            count,
            sum,
            explicit_bounds,
            bucket_counts,
        },
    );
    (
        1..u64::MAX,
        any::<u64>(),
        "[a-b.]{0,4}",
        "(By|1)",
        1i32..4,
        -1e9..1e9f64,
        prop::option::of(histogram),
        attributes(),
    )
        .prop_map(|(time, start, name, unit, kind, value, histogram, attributes)| v1::MetricPoint {
            name,
            unit,
            kind: if histogram.is_some() { 4 } else { kind },
            time_unix_nano: time,
            start_time_unix_nano: start,
            value,
            histogram,
            attributes,
        })
}

fn flow() -> impl Strategy<Value = v1::Flow> {
    (
        1..u64::MAX,
        1..u64::MAX,
        "[0-9.]{0,9}",
        0u32..65_536,
        0u32..65_536,
        "(tcp|udp)",
        any::<u64>(),
        attributes(),
    )
        .prop_map(
            |(start, time, address, source_port, destination_port, transport, bytes, attributes)| v1::Flow {
                start_time_unix_nano: start,
                time_unix_nano: time,
                source_address: address.clone(),
                source_port,
                destination_address: address,
                destination_port,
                transport,
                bytes,
                packets: bytes / 3,
                attributes,
            },
        )
}

fn rows() -> impl Strategy<Value = v1::Rows> {
    prop_oneof![
        vec(log(), 0..40).prop_map(|logs| v1::Rows { logs, ..Default::default() }),
        vec(metric(), 1..40).prop_map(|metrics| v1::Rows { metrics, ..Default::default() }),
        vec(flow(), 1..40).prop_map(|flows| v1::Rows { flows, ..Default::default() }),
    ]
}

fn decode(columns: &Columns) -> Columns {
    let encoded = Bytes::from(columns.encode());
    Columns::decode(encoded, columns.signal(), columns.rows() as u32, &Limits::default()).unwrap()
}

proptest! {
    #[test]
    fn rows_become_columns_and_the_same_rows_again(rows in rows()) {
        let columns = Columns::from_rows(&rows, 1, &Limits::default()).unwrap();
        prop_assert_eq!(&columns.to_rows(), &rows);
        let decoded = decode(&columns);
        prop_assert_eq!(&decoded, &columns);
        prop_assert_eq!(decoded.to_rows(), rows);
    }

    #[test]
    fn lines_are_the_same_as_rows_with_these_bodies(lines in vec("[^\n]{0,20}", 0..50), time in 1..u64::MAX) {
        let data: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let columns = Columns::Logs(LogColumns::lines("a.log".into(), time, lines.len() as u32, data.into()));
        let rows = decode(&columns).to_rows();
        let bodies: Vec<_> = rows.logs.iter().map(|log| log.content.clone().unwrap()).collect();
        prop_assert_eq!(bodies, lines.into_iter().map(Content::Body).collect::<Vec<_>>());
        prop_assert_eq!(Columns::from_rows(&rows, 1, &Limits::default()).unwrap(), columns);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(data in vec(any::<u8>(), 0..400), rows in 0u32..2000, signal in 0i32..4) {
        let mut data = data;
        // A true start takes the decoder deeper.
        if data.len() > 2 { data[0] = 1; data[1] = signal as u8; }
        let _ = Columns::decode(data.into(), Signal::try_from(signal).unwrap(), rows, &Limits::default());
    }
}

fn samples() -> Vec<Columns> {
    let attributes = HashMap::from([("k".to_owned(), "v".to_owned())]);
    let log = |n: u64| v1::LogRecord {
        time_unix_nano: 1_700_000_000_000_000_000 + n,
        observed_time_unix_nano: 1_700_000_000_000_000_000,
        severity_number: 9,
        severity_text: "INFO".into(),
        source: "/var/log/app.log".into(),
        attributes: attributes.clone(),
        content: Some(if n == 2 {
            Content::RawBody(vec![0xff, 0, n as u8].into())
        } else {
            Content::Body(format!("line {n}"))
        }),
    };
    let metric = |n: u64| v1::MetricPoint {
        name: "system.memory.usage".into(),
        unit: "By".into(),
        kind: if n == 2 { 4 } else { 1 },
        time_unix_nano: 1_700_000_000_000_000_000,
        start_time_unix_nano: 5,
        value: n as f64,
        histogram: (n == 2).then(|| v1::Histogram {
            count: 3,
            sum: 4.5,
            explicit_bounds: vec![1.0],
            bucket_counts: vec![1, 2],
        }),
        attributes: attributes.clone(),
    };
    let flow = |n: u64| v1::Flow {
        start_time_unix_nano: n + 1,
        time_unix_nano: n + 9,
        source_address: "10.0.0.1".into(),
        source_port: 1000 + n as u32,
        destination_address: "10.0.0.2".into(),
        destination_port: 443,
        transport: "tcp".into(),
        bytes: n * 1000,
        packets: n,
        attributes: attributes.clone(),
    };
    let rows = [
        v1::Rows { logs: (0..4).map(log).collect(), ..Default::default() },
        v1::Rows { metrics: (0..4).map(metric).collect(), ..Default::default() },
        v1::Rows { flows: (0..4).map(flow).collect(), ..Default::default() },
    ];
    let mut samples: Vec<_> =
        rows.iter().map(|rows| Columns::from_rows(rows, 1, &Limits::default()).unwrap()).collect();
    let lines = LogColumns::lines("app.log".into(), 7, 3, Bytes::from_static(b"one\ntwo\n\n"));
    // The agents of that time sent the time of reading twice.
    samples.push(Columns::Logs(LogColumns { time: lines.observed_time.clone(), ..lines }));
    samples
}

#[test]
fn every_flipped_or_cut_byte_is_an_error_or_other_rows() {
    for sample in samples() {
        let encoded = sample.encode();
        let rows = sample.rows() as u32;
        for place in 0..encoded.len() {
            for bit in 0..8 {
                let mut bad = encoded.clone();
                bad[place] ^= 1 << bit;
                if let Ok(columns) = Columns::decode(bad.into(), sample.signal(), rows, &Limits::default()) {
                    assert_eq!(
                        columns.to_rows().logs.len()
                            + columns.to_rows().metrics.len()
                            + columns.to_rows().flows.len(),
                        rows as usize
                    );
                }
            }
            let cut = Bytes::copy_from_slice(&encoded[..place]);
            assert!(
                Columns::decode(cut, sample.signal(), rows, &Limits::default()).is_err(),
                "cut at {place}"
            );
        }
    }
}

/// The encoded form outlives programs: these files were written once and must be read for ever.
#[test]
fn what_version_one_wrote_is_read_the_same() {
    for (n, sample) in samples().into_iter().enumerate() {
        let path = format!("tests/fixtures/columns-v1-{n}.bin");
        let stored = std::fs::read(&path).unwrap();
        let decoded =
            Columns::decode(stored.clone().into(), sample.signal(), sample.rows() as u32, &Limits::default())
                .unwrap();
        assert_eq!(decoded, sample, "{path}");
        assert_eq!(
            sample.encode(),
            stored,
            "{path}: the encoder changed; a change of the format needs a new version"
        );
    }
}

#[test]
fn a_batch_is_refused_when_its_declarations_do_not_hold() {
    let columns = &samples()[3];
    let packed = batch::pack(columns, &mut Compressor::new(Codec::Zstd, None)).unwrap();
    assert_eq!(&batch::unpack(&packed, &Limits::default()).unwrap(), columns);
    let with = |change: &dyn Fn(&mut v1::Packed)| {
        let mut packed = packed.clone();
        change(&mut packed);
        batch::unpack(&packed, &Limits::default()).unwrap_err().to_string()
    };
    assert!(with(&|p| p.rows = 4).contains("number of rows"));
    assert!(with(&|p| p.signal = 2).contains("signal"));
    assert!(with(&|p| p.signal = 0).contains("signal 0"));
    assert!(with(&|p| p.codec = 9).contains("codec 9"));
    assert!(with(&|p| p.uncompressed_size += 1).contains("declared"));
    assert!(with(&|p| p.uncompressed_size = u32::MAX).contains("over the limit"));
    assert!(with(&|p| p.rows = u32::MAX).contains("at most"));
}

#[test]
fn rows_of_two_signals_in_one_batch_are_refused() {
    let mut rows = samples()[0].to_rows();
    rows.metrics = samples()[1].to_rows().metrics;
    assert!(Columns::from_rows(&rows, 1, &Limits::default()).unwrap_err().to_string().contains("one signal"));
}

/// A packed batch is journaled as it came, and rows are packed for the journal: what one form takes the other must take.
#[test]
fn what_rows_may_not_hold_columns_may_not_hold_either() {
    let [logs, metrics, ..] = &samples()[..] else { panic!("samples of each signal") };
    let change = |columns: &Columns, change: &dyn Fn(&mut v1::Rows)| {
        let mut rows = columns.to_rows();
        change(&mut rows);
        rows
    };
    let histogram = |bounds| v1::Histogram { explicit_bounds: vec![1.0; bounds], ..Default::default() };
    let bad_rows = [
        change(logs, &|rows| rows.logs[1].severity_number = 25),
        change(metrics, &|rows| rows.metrics[1].kind = 0),
        change(metrics, &|rows| rows.metrics[1].kind = 9),
        change(metrics, &|rows| rows.metrics[1].kind = 4),
        change(metrics, &|rows| rows.metrics[1].histogram = Some(histogram(1))),
        change(metrics, &|rows| rows.metrics[2].histogram = Some(histogram(1025))),
    ];
    for rows in bad_rows {
        assert!(Columns::from_rows(&rows, 1, &Limits::default()).is_err(), "{rows:?}");
    }
    let mut bad_columns = Vec::new();
    let Columns::Logs(mut bad) = logs.clone() else { panic!("logs come first") };
    bad.severity_number = Column::constant(4, 25);
    bad_columns.push(Columns::Logs(bad));
    let Columns::Metrics(good) = metrics.clone() else { panic!("metrics come second") };
    for kind in [Column::constant(4, 0), Column::constant(4, 1), Column::constant(4, 9)] {
        bad_columns.push(Columns::Metrics(MetricColumns { kind, ..good.clone() }));
    }
    for columns in bad_columns {
        let decoded = Columns::decode(columns.encode().into(), columns.signal(), 4, &Limits::default());
        assert!(decoded.is_err(), "{decoded:?}");
    }
}

#[test]
fn what_would_be_left_out_is_refused() {
    let refused = |sample: &Columns, encoded: Vec<u8>| {
        let rows = sample.rows() as u32;
        let decoded = Columns::decode(encoded.into(), sample.signal(), rows, &Limits::default());
        decoded.unwrap_err().to_string()
    };
    for (sample, last) in samples().iter().zip([7, 8, 10]) {
        // A column more, empty, behind version, signal and number of rows.
        let mut encoded = sample.encode();
        encoded.splice(3..3, [last + 1, 1, 0]);
        assert_eq!(refused(sample, encoded), format!("columns: column {} is not known", last + 1));
    }
    for sample in &samples()[1..3] {
        let mut encoded = Vec::new();
        sample.encode_head(2, &mut encoded);
        encoded.extend_from_slice(b"xy");
        assert_eq!(refused(sample, encoded), "tail: only logs have one");
    }
}

#[test]
#[ignore = "writes the fixtures of a new format version"]
fn write_fixtures() {
    let folder = "tests/fixtures".to_owned();
    std::fs::create_dir_all(&folder).unwrap();
    for (n, sample) in samples().iter().enumerate() {
        std::fs::write(format!("{folder}/columns-v1-{n}.bin"), sample.encode()).unwrap();
    }
}
