//! Patterns of files as the config has them, cut into parts that match one name each.
//!
//! `*`, `?` and `[..]` stop at `/`; `**` as a whole part is any number of directories; `{a,b}` is one or the other. A pattern that is the
//! name of a file as it stands, brackets and all, is that file, too.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
};

use super::name::{NameGlob, class_end};

/// Most patterns that the braces of one may stand for.
const MAX_FORMS: usize = 256;

/// A pattern of the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    forms: Vec<Form>,
}

/// One way to read a pattern: without braces, from the root on.
pub(super) type Form = Vec<Part>;

/// What stands between two slashes of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// `**`
    Directories,
    /// A name without wildcards.
    Name(OsString),
    Glob(NameGlob),
}

impl Pattern {
    /// Reads an absolute path or glob.
    ///
    /// # Errors
    /// What is wrong with it, in words for whoever wrote it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(format!("expected an absolute path or glob, got {text:?}"));
        }
        if text.contains('\0') {
            return Err(format!("{text:?} holds a NUL, which no path may"));
        }

        let written = names(text).map(|name| Part::Name(name.into())).collect();
        // Nobody calls a directory `**`, and looking for one would keep a walk from knowing a directory again.
        let mut forms: Vec<Form> =
            if names(text).any(|name| name == "**") { Vec::new() } else { vec![written] };
        for plain in expand(text).map_err(|reason| format!("{text:?}: {reason}"))? {
            let form = form(&plain).map_err(|reason| format!("{text:?} is not a glob: {reason}"))?;
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
        Ok(Self { text: text.to_owned(), forms })
    }

    /// As it stands in the config.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Says that it matches nothing, and what may be the reason.
    pub(super) fn why_nothing(&self) -> String {
        let hidden = names(&self.text).last().is_some_and(|name| name.starts_with('.'));
        let reason = if std::path::Path::new(&self.text).is_dir() {
            "it is a directory: write a pattern of its files, such as \"/**/*.log\" behind it"
        } else if self.text.contains(['*', '?', '[', '{']) && !hidden {
            "check the directories; `*` leaves out hidden files (write `.*` for them) and compressed ones are never read"
        } else {
            "it is read when it comes"
        };
        format!("{:?} matches no file that is to be read; {reason}", self.text)
    }

    pub(super) fn forms(&self) -> &[Form] {
        &self.forms
    }
}

impl Part {
    /// Whether a file or directory of this name is meant; `hidden` when wildcards stand for a dot at the beginning, too.
    pub(super) fn matches(&self, name: &OsStr, hidden: bool) -> bool {
        match self {
            Self::Directories => hidden || !name.as_bytes().starts_with(b"."),
            Self::Name(own) => own == name,
            Self::Glob(glob) => glob.matches(name.as_bytes(), hidden),
        }
    }
}

/// The names between the slashes; `.` and empty ones mean nothing.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split('/').filter(|name| !name.is_empty() && *name != ".")
}

fn form(text: &str) -> Result<Form, String> {
    let part = |name: &str| {
        if name == "**" {
            return Ok(Part::Directories);
        }
        if name.contains(['*', '?', '[']) {
            NameGlob::parse(name).map(Part::Glob)
        } else {
            Ok(Part::Name(name.into()))
        }
    };
    names(text).map(part).collect()
}

/// What the braces of a pattern stand for. Braces without a comma stand for themselves, as in a shell.
fn expand(text: &str) -> Result<Vec<String>, String> {
    let mut done = Vec::new();
    let mut open = vec![text.to_owned()];
    while let Some(next) = open.pop() {
        let Some(braces) = first_braces(&next) else {
            done.push(next);
            continue;
        };
        let (head, tail) = (&next[..braces.open], &next[braces.close + 1..]);
        open.extend(braces.choices.iter().map(|choice| [head, choice, tail].concat()));
        if open.len() + done.len() > MAX_FORMS {
            return Err(format!("its braces stand for more than {MAX_FORMS} patterns; write fewer choices"));
        }
    }
    done.sort();
    Ok(done)
}

struct Braces<'a> {
    open: usize,
    close: usize,
    choices: Vec<&'a str>,
}

/// The first pair of braces with a comma between them; those in brackets are characters like any other.
fn first_braces(text: &str) -> Option<Braces<'_>> {
    let mut from = 0;
    while let Some(open) = special(text, from, &['{']) {
        if let Some(braces) = braces_at(text, open) {
            return Some(braces);
        }
        from = open + 1;
    }
    None
}

fn braces_at(text: &str, open: usize) -> Option<Braces<'_>> {
    let mut choices = Vec::new();
    let mut depth = 0_usize;
    let mut begin = open + 1;
    let mut from = begin;
    while let Some(at) = special(text, from, &['{', ',', '}']) {
        match text.as_bytes()[at] {
            b'{' => depth += 1,
            b'}' if depth > 0 => depth -= 1,
            b',' if depth == 0 => {
                choices.push(&text[begin..at]);
                begin = at + 1;
            }
            b'}' => {
                if choices.is_empty() {
                    return None;
                }
                choices.push(&text[begin..at]);
                return Some(Braces { open, close: at, choices });
            }
            _ => {}
        }
        from = at + 1;
    }
    None
}

/// Where the next of these characters stands outside of brackets.
fn special(text: &str, from: usize, wanted: &[char]) -> Option<usize> {
    let mut at = from;
    while let Some(c) = text.get(at..)?.chars().next() {
        if wanted.contains(&c) {
            return Some(at);
        }
        at += c.len_utf8();
        if c == '['
            && let Some(end) = class_end(&text[at..])
        {
            at += end + 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Vec<String> {
        expand(text).unwrap()
    }

    #[test]
    fn braces_stand_for_one_or_the_other() {
        assert_eq!(expanded("/logs/{site1,site2}.log"), ["/logs/site1.log", "/logs/site2.log"]);
        assert_eq!(expanded("/{a,b/{c,d}}/x"), ["/a/x", "/b/c/x", "/b/d/x"]);
        assert_eq!(expanded("/a{,.1}"), ["/a", "/a.1"]);
    }

    #[test]
    fn braces_without_a_choice_or_in_brackets_are_characters() {
        assert_eq!(expanded("/{id}.log"), ["/{id}.log"]);
        assert_eq!(expanded("/{a,b"), ["/{a,b"]);
        assert_eq!(expanded("/[{]a,b}"), ["/[{]a,b}"]);
        assert_eq!(expanded("/{x/{a,b}"), ["/{x/a", "/{x/b"]);
    }

    #[test]
    fn braces_that_stand_for_very_many_patterns_are_rejected() {
        let many = "/{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}";
        assert!(Pattern::parse(many).unwrap_err().contains("256"));
    }

    #[test]
    fn what_is_no_absolute_glob_is_rejected() {
        for wrong in ["relative/*.log", "/a/***", "/a/x**", "/a/["] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
