//! Names of files as text. A name is bytes; what is no UTF-8 is shown as `\xE9`, so that no two files share a name.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    str,
};

/// A path as text. UTF-8 stays as it is, unless it holds what looks like an escaped byte: then its backslashes are escaped, too.
pub(super) fn display(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    match str::from_utf8(bytes) {
        Ok(text) if !holds_escapes(bytes) => text.to_owned(),
        _ => bytes.utf8_chunks().fold(String::with_capacity(bytes.len() + 16), |mut text, chunk| {
            text.push_str(&chunk.valid().replace('\\', "\\x5C"));
            for byte in chunk.invalid() {
                text.push_str(&format!("\\x{byte:02X}"));
            }
            text
        }),
    }
}

/// The path that [`display`] showed.
pub(super) fn path(display: &str) -> PathBuf {
    let bytes = display.as_bytes();
    let mut path = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match escape(&bytes[at..]) {
            Some(byte) => {
                path.push(byte);
                at += 4;
            }
            None => {
                path.push(bytes[at]);
                at += 1;
            }
        }
    }
    OsString::from_vec(path).into()
}

fn holds_escapes(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\\', bytes).any(|at| escape(&bytes[at..]).is_some())
}

/// The byte that `\xE9` at the beginning stands for.
fn escape(bytes: &[u8]) -> Option<u8> {
    let [b'\\', b'x', high, low, ..] = bytes else { return None };
    let is_digit = |c: &u8| c.is_ascii_digit() || (b'A'..=b'F').contains(c);
    let digits = [*high, *low];
    if !digits.iter().all(is_digit) {
        return None;
    }
    u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use proptest::prelude::*;

    use super::*;

    fn shown(name: &[u8]) -> String {
        display(Path::new(OsStr::from_bytes(name)))
    }

    #[test]
    fn a_name_that_is_no_utf8_is_shown_by_its_bytes() {
        assert_eq!(shown(b"/logs/caf\xe9.txt"), "/logs/caf\\xE9.txt");
        assert_eq!(shown("/logs/café \\n.txt".as_bytes()), "/logs/café \\n.txt");
    }

    #[test]
    fn a_name_that_looks_like_an_escaped_one_is_not_shown_like_it() {
        assert_eq!(shown(b"caf\\xE9"), "caf\\x5CxE9");
    }

    proptest! {
        #[test]
        fn every_name_comes_back(name in prop::collection::vec(prop::sample::select(&b"\\x5CE9\xe9\xc3a/"[..]), 0..12)) {
            let path = Path::new(OsStr::from_bytes(&name));
            prop_assert_eq!(super::path(&display(path)), path);
        }
    }
}
