//! What is wrong with a configuration file, said so that it can be mended without a manual.

use std::fmt;
use std::path::PathBuf;

/// Why a configuration cannot be used.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable {
        /// The file as it was named.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is not a configuration: syntax, an unknown field, a value out of its range.
    Wrong(Box<WrongText>),
    /// Every value is right, but they do not go together.
    Refused(String),
}

/// A place in a configuration file and what is wrong there.
#[derive(Debug)]
pub struct WrongText {
    /// The file as it was named.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// The field's path from the outside in, `.` when the text as a whole is wrong.
    pub path: String,
    /// What is wrong, with the allowed range or the names that were perhaps meant.
    pub reason: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Unreadable { file, source } => {
                write!(f, "cannot read the configuration {}: {source}", file.display())
            }
            ConfigError::Wrong(at) => {
                let WrongText { file, line, column, path, reason } = &**at;
                write!(f, "{}:{line}:{column}: {path}: {reason}", file.display())
            }
            ConfigError::Refused(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for ConfigError {}

/// What `error` says, with the nearest known names when a name is unknown.
pub(super) fn reason(error: &ron::Error) -> String {
    match error {
        ron::Error::NoSuchStructField { expected, found, .. } => {
            unknown("there is no field", found, expected)
        }
        ron::Error::NoSuchEnumVariant { expected, found, .. } => {
            format!("there is no choice `{found}`; there are {}", expected.join(", "))
        }
        ron::Error::InvalidValueForType { expected, found } => {
            format!("expected {expected}, found {found}")
        }
        other => other.to_string(),
    }
}

fn unknown(what: &str, found: &str, known: &[&str]) -> String {
    let mut near: Vec<(usize, &str)> = known.iter().map(|name| (distance(found, name), *name)).collect();
    near.sort();
    let close = found.chars().count().div_ceil(2);
    let meant: Vec<&str> =
        near.iter().filter(|(far, _)| *far <= close).take(3).map(|(_, name)| *name).collect();
    if meant.is_empty() {
        format!("{what} `{found}`; known are {}", known.join(", "))
    } else {
        format!("{what} `{found}`; near it are {}", meant.join(", "))
    }
}

/// Edits between two names (Levenshtein): names are short, so the quadratic table is nothing.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("shards", "shards"), 0);
    }

    #[test]
    fn near_names_are_offered_and_far_ones_are_not() {
        let text = unknown("there is no field", "shard", &["shards", "listeners", "io"]);
        assert_eq!(text, "there is no field `shard`; near it are shards");
        let text = unknown("there is no field", "zzzz", &["shards", "listeners"]);
        assert_eq!(text, "there is no field `zzzz`; known are shards, listeners");
    }
}
