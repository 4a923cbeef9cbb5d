//! No line makes the parser panic, and what it takes out of one is bounded.
#![no_main]

use lapwing_parse::{ATTRIBUTES_MAX, KEY_MAX, Settings, recognise};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let found = recognise(line, 1_795_851_095_000_000_000, &Settings::default());
    assert!(found.attributes.len() <= ATTRIBUTES_MAX);
    assert!(found.attributes.iter().all(|(key, _)| key.len() <= KEY_MAX));
    // An invalid byte becomes a character of three.
    assert!(found.message.len() <= line.len() * 3);
});
