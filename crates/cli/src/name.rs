//! Names that become part of file names and of certificates.

const MAX: usize = 64;

/// Checks the id of an agent or the name of a user; for clap.
pub(crate) fn parse(text: &str) -> Result<String, String> {
    if (1..=MAX).contains(&text.len()) && text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(format!("expected 1 to {MAX} letters, digits, `.`, `_` or `-`; got {text:?}"))
}

/// The nearest valid name.
pub(crate) fn nearest(text: &str) -> String {
    let name: String = text.chars().take(MAX).map(|char| if allowed(char) { char } else { '-' }).collect();
    if name.is_empty() { "host".to_owned() } else { name }
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
        for bad in ["", "a/b", "a b", "größe", "a\n", &"x".repeat(65)] {
            assert!(parse(bad).unwrap_err().contains("letters, digits"), "{bad}");
        }
    }

    #[test]
    fn every_host_has_a_valid_name() {
        for (host, name) in [("web-1", "web-1"), ("", "host"), ("a b/c", "a-b-c"), ("größe", "gr--e")] {
            assert_eq!(nearest(host), name);
            assert!(parse(&nearest(host)).is_ok());
        }
        assert_eq!(nearest(&"é".repeat(100)).len(), 64);
    }
}
