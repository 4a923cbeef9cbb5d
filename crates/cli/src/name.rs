//! Names that become part of file names and of certificates.

use lapwing_service::identity::Name;

/// What a common name in a certificate holds.
const MAX: usize = 64;

/// Checks the id of an agent or the name of a user; for clap.
pub(crate) fn parse(text: &str) -> Result<String, String> {
    if (1..=MAX).contains(&text.len()) && text.chars().all(allowed) {
        return Name::parse(text).map(String::from).map_err(|error| error.to_string());
    }
    Err(format!("expected 1 to {MAX} letters, digits, `.`, `_` or `-`; got {text:?}"))
}

/// The nearest valid name.
pub(crate) fn nearest(text: &str) -> String {
    let name: String = text.chars().take(MAX).map(|char| if allowed(char) { char } else { '-' }).collect();
    match Name::parse(&name) {
        Ok(_) => name,
        Err(_) => {
            let plain = name.replace("..", "--");
            let plain = plain.trim_start_matches(['.', '-']);
            if plain.is_empty() { "host".to_owned() } else { plain.to_owned() }
        }
    }
}

fn allowed(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_be_part_of_a_file_name() {
        assert_eq!(parse("web-1.example_com"), Ok("web-1.example_com".to_owned()));
        for bad in ["", "a/b", "a b", "größe", "a\n", "a..b", ".a", &"x".repeat(65)] {
            assert!(parse(bad).unwrap_err().contains("letters, digits"), "{bad}");
        }
    }

    #[test]
    fn every_host_has_a_valid_name() {
        for (host, name) in [
            ("web-1", "web-1"),
            ("", "host"),
            ("a b/c", "a-b-c"),
            ("größe", "gr--e"),
            ("..a", "a"),
            ("a...b", "a--.b"),
        ] {
            assert_eq!(nearest(host), name);
            assert!(parse(&nearest(host)).is_ok());
        }
        assert_eq!(nearest(&"é".repeat(100)), "host");
        assert_eq!(nearest(&"a".repeat(100)).len(), 64);
    }
}
