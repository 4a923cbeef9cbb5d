//! Spans of time as people write them: `90d`, `12h`, `30m`, `45s`.

use std::time::Duration;

const DAY: u64 = 86_400;
/// A hundred years: longer is a slip of the pen.
const MAX: u64 = 36_500 * DAY;
const UNITS: [(char, u64); 4] = [('d', DAY), ('h', 3600), ('m', 60), ('s', 1)];

/// Reads a span such as `90d`; for clap.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a number and s, m, h or d, such as 90d; got {text:?}");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let digits = &text[..text.len() - unit.len_utf8()];
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let total = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(*seconds));
    match total {
        Some(total @ 1..=MAX) => Ok(Duration::from_secs(total)),
        _ => Err(format!("expected a time from 1s to {}d, got {text:?}", MAX / DAY)),
    }
}

/// A span in its largest whole unit, such as `3 h`.
pub(crate) fn words(span: Duration) -> String {
    let seconds = span.as_secs();
    let (name, size) = UNITS.iter().find(|(_, size)| seconds >= *size).unwrap_or(&('s', 1));
    let name = if *name == 'm' { "min".to_owned() } else { name.to_string() };
    format!("{} {name}", seconds / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_with_their_unit() {
        for (text, seconds) in [("45s", 45), ("30m", 1800), ("12h", 43_200), ("90d", 7_776_000)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in ["", "90", "d", "-1d", "+1d", "1.5h", "1 d", "1w", "90дн", "٣d"] {
            assert!(parse(text).unwrap_err().contains("such as 90d"), "{text}");
        }
        for text in ["0s", "36501d", "99999999999999999999d", "18446744073709551615d"] {
            assert!(parse(text).unwrap_err().contains("from 1s to 36500d"), "{text}");
        }
    }

    #[test]
    fn a_span_is_told_in_its_largest_unit() {
        for (seconds, words_) in
            [(0, "0 s"), (59, "59 s"), (150, "2 min"), (3 * 3600, "3 h"), (89 * DAY, "89 d")]
        {
            assert_eq!(words(Duration::from_secs(seconds)), words_);
        }
    }
}
