//! The zone of this host's clock, which travels with what it sends: many logs have times without one.
//!
//! It is POSIX's form of it, a line such as `CET-1CEST,M3.5.0,M10.5.0/3`, which ends each file of the zone data base and which `TZ` may be.

use std::{
    env, fs,
    io::{self, Read},
    path::Path,
};

/// The zone that holds when `TZ` names none.
const LOCAL: &str = "/etc/localtime";
/// Where named zones are.
const NAMED: &str = "/usr/share/zoneinfo";
/// Without a zone, a clock is taken to be that of Greenwich, as C libraries do.
const UTC: &str = "UTC0";
/// Most bytes that are read of a zone's file. They have some KB.
const MAX_BYTES: u64 = 256 << 10;

/// The host's zone; empty when there is one that has no such form.
pub(crate) fn of_host() -> String {
    match env::var("TZ") {
        Ok(name) => named(&name, Path::new(NAMED)),
        Err(_) => of_file(Path::new(LOCAL)),
    }
}

/// What `TZ` means: the name of a zone, a path, or a zone itself.
fn named(name: &str, folder: &Path) -> String {
    let name = name.strip_prefix(':').unwrap_or(name);
    if name.is_empty() {
        return UTC.to_owned();
    }
    let path = folder.join(name);
    // A zone itself has digits, and no file of its name.
    if path.exists() || !name.bytes().any(|byte| byte.is_ascii_digit()) {
        of_file(&path)
    } else {
        name.to_owned()
    }
}

fn of_file(path: &Path) -> String {
    match read(path) {
        Ok(file) => footer(&file).unwrap_or_default().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => UTC.to_owned(),
        Err(error) => {
            let path = path.display();
            tracing::warn!("{path}: {error}: times without a zone are read by that of the collector");
            String::new()
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = Vec::new();
    fs::File::open(path)?.take(MAX_BYTES).read_to_end(&mut file)?;
    Ok(file)
}

/// The last line of a zone's file (RFC 9636), whose first version had none.
fn footer(file: &[u8]) -> Option<&str> {
    let is_newer = file.starts_with(b"TZif") && *file.get(4)? >= b'2';
    let lines = file.strip_suffix(b"\n").filter(|_| is_newer)?;
    let start = memchr::memrchr(b'\n', lines)? + 1;
    std::str::from_utf8(lines.get(start..)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

    #[test]
    fn the_zone_is_the_last_line_of_its_file() {
        let file =
            |version: u8| [b"TZif", &[version][..], b"\n\0\n\xff\n", BERLIN.as_bytes(), b"\n"].concat();
        assert_eq!(footer(&file(b'2')), Some(BERLIN));
        assert_eq!(footer(&file(b'3')), Some(BERLIN));
        for none in [&file(0)[..], b"", b"TZif", b"TZif2", b"TZif2\n", b"a text\n", b"TZif2\n\xff\n"] {
            assert_eq!(footer(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_zone_is_given_by_its_name_its_file_or_itself() {
        let folder = tempfile::tempdir().unwrap();
        let file = format!("TZif2\n{BERLIN}\n");
        fs::create_dir(folder.path().join("Europe")).unwrap();
        fs::write(folder.path().join("Europe/Berlin"), &file).unwrap();
        fs::write(folder.path().join("EST5EDT"), &file).unwrap();
        let path = folder.path().join("Europe/Berlin").display().to_string();
        for (name, zone) in [
            ("Europe/Berlin", BERLIN),
            (":Europe/Berlin", BERLIN),
            (&path, BERLIN),
            ("EST5EDT", BERLIN),
            ("JST-9", "JST-9"),
            (BERLIN, BERLIN),
            ("", UTC),
            ("Europe/Nowhere", UTC),
        ] {
            assert_eq!(named(name, folder.path()), zone, "{name}");
        }
    }
}
