//! Finding files by glob.

use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

/// Endings of files that hold compressed bytes and not lines.
const COMPRESSED: [&str; 6] = ["gz", "zst", "xz", "bz2", "lz4", "zip"];

/// `*` stops at `/`, and hidden files match only a pattern that names them, as in a shell.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// What to read and what not.
#[derive(Debug, Clone, Default)]
pub struct Globs {
    /// Files that match one of these are read ...
    pub include: Vec<Pattern>,
    /// ... when they match none of these.
    pub exclude: Vec<Pattern>,
}

/// Checks patterns; `problem` is told of each that is wrong.
pub(super) fn patterns(globs: &[String], problem: impl Fn(String)) -> Vec<Pattern> {
    let mut patterns = Vec::with_capacity(globs.len());
    for glob in globs {
        if !glob.starts_with('/') {
            problem(format!("expected an absolute path or glob, got {glob:?}"));
            continue;
        }
        match Pattern::new(glob) {
            Ok(pattern) => patterns.push(pattern),
            Err(error) => {
                problem(format!("{glob:?} is not a glob: {} at character {}", error.msg, error.pos))
            }
        }
    }
    patterns
}

impl Globs {
    /// Whether a file of this name is to be read.
    pub fn matches(&self, path: &Path) -> bool {
        let compressed =
            path.extension().and_then(|end| end.to_str()).is_some_and(|end| COMPRESSED.contains(&end));
        let any = |patterns: &[Pattern]| patterns.iter().any(|p| p.matches_path_with(path, OPTIONS));
        !compressed && any(&self.include) && !any(&self.exclude)
    }

    /// Every path that is to be read. Directories that can't be read are left out.
    pub fn scan(&self) -> Vec<PathBuf> {
        let found = self.include.iter().filter_map(|p| glob::glob_with(p.as_str(), OPTIONS).ok()).flatten();
        let mut paths: Vec<PathBuf> = found.flatten().filter(|path| self.matches(path)).collect();
        paths.sort();
        paths.dedup();
        paths
    }

    /// The directory that stands before the first wildcard of each pattern.
    pub fn roots(&self) -> Vec<PathBuf> {
        let root = |pattern: &Pattern| {
            let text = pattern.as_str();
            let fixed = &text[..text.find(['*', '?', '[']).unwrap_or(text.len())];
            PathBuf::from(&fixed[..=fixed.rfind('/').unwrap_or(0)])
        };
        let mut roots: Vec<PathBuf> = self.include.iter().map(root).collect();
        roots.sort();
        roots.dedup();
        roots
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn globs(root: &Path, include: &[&str], exclude: &[&str]) -> Globs {
        let full = |globs: &[&str]| {
            let globs: Vec<String> = globs.iter().map(|glob| format!("{}/{glob}", root.display())).collect();
            patterns(&globs, |problem| panic!("{problem}"))
        };
        Globs { include: full(include), exclude: full(exclude) }
    }

    #[test]
    fn two_stars_go_through_directories_and_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        for name in ["x.log", "a/y.log", "a/b/z.log", "a/b/z.log.gz", "a/no.txt", ".hidden.log"] {
            fs::write(root.join(name), "").unwrap();
        }
        let names = |globs: Globs| -> Vec<String> {
            let short = |path: PathBuf| path.strip_prefix(root).unwrap().display().to_string();
            globs.scan().into_iter().map(short).collect()
        };
        assert_eq!(names(globs(root, &["**/*.log"], &[])), ["a/b/z.log", "a/y.log", "x.log"]);
        assert_eq!(names(globs(root, &["*.log", "x.*"], &[])), ["x.log"]);
        assert_eq!(names(globs(root, &["**/*"], &["a/b/*", "**/*.txt"])), ["a", "a/b", "a/y.log", "x.log"]);
        assert_eq!(globs(root, &["a/*.log"], &[]).roots(), [root.join("a/")]);
    }

    #[test]
    fn what_is_no_glob_is_told() {
        let told = std::cell::RefCell::new(Vec::new());
        let globs = ["relative/*.log".to_owned(), "/a/***".to_owned(), "/a/[".to_owned()];
        assert!(patterns(&globs, |problem| told.borrow_mut().push(problem)).is_empty());
        assert_eq!(told.borrow().len(), 3);
    }
}
