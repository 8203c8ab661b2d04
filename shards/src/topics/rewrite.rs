//! Topic rewriting: rules by which the topic of a PUBLISH, or the filter of a SUBSCRIBE and UNSUBSCRIBE, is replaced by another, as in EMQX.
//!
//! Of the rules whose filter covers the topic the last one counts. If its pattern does not match, the topic stays as it is; no other rule is tried.
//! A rule whose target names the user (`%u`) leaves the topics of clients without user name as they are; so does one whose target names a client or
//! user with a wildcard in its name.

use super::filter::TopicFilter;
use super::placeholder::plain;
use crate::base::limits::{REWRITE_PROGRAM_BYTES_MAX, REWRITE_RULES_MAX};
use regex::{Captures, Regex, RegexBuilder};
use std::fmt;

/// What a rule is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RewriteAction {
    /// The topics of PUBLISH packets and wills.
    Publish,
    /// The filters of SUBSCRIBE and UNSUBSCRIBE packets; of shared ones the part behind the share name.
    Subscribe,
    /// Both.
    All,
}

/// A rule as the operator writes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RewriteRule<'a> {
    /// What it is for.
    pub action: RewriteAction,
    /// Which topics it is for: a topic filter.
    pub filter: &'a str,
    /// A regular expression, found anywhere in the topic unless it says `^` and `$`.
    pub pattern: &'a str,
    /// The new topic. `$1` to `$99` stand for what the pattern's groups have matched, `%c` for the client id, `%u` for the user name.
    pub to: &'a str,
}

/// What is wrong with a rule: its place in the list, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RewriteError {
    /// Counted from 0.
    pub rule: usize,
    /// For the operator.
    pub reason: String,
}

impl fmt::Display for RewriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rewrite[{}]: {}", self.rule, self.reason)
    }
}

impl std::error::Error for RewriteError {}

/// The rules of a broker. Each shard has a clone of its own, since a pattern's scratch memory is not to be shared between threads.
#[derive(Clone, Debug, Default)]
pub struct RewriteRules {
    publish: Vec<Rule>,
    subscribe: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    filter: Box<str>,
    pattern: Regex,
    to: Vec<Piece>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Text(Box<str>),
    Group(usize),
    ClientId,
    UserName,
}

impl RewriteRules {
    /// Compiles the rules, in the operator's order.
    ///
    /// # Errors
    /// The first rule that is wrong, or one too many.
    pub fn new(rules: &[RewriteRule<'_>]) -> Result<RewriteRules, RewriteError> {
        let mut compiled = RewriteRules::default();
        for (number, rule) in rules.iter().enumerate() {
            let wrong = |reason| RewriteError { rule: number, reason };
            if number >= REWRITE_RULES_MAX {
                return Err(wrong(format!("there may be {REWRITE_RULES_MAX} rules")));
            }
            let one = Rule::new(rule).map_err(wrong)?;
            if rule.action != RewriteAction::Subscribe {
                compiled.publish.push(one.clone());
            }
            if rule.action != RewriteAction::Publish {
                compiled.subscribe.push(one);
            }
        }
        Ok(compiled)
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.publish.is_empty() && self.subscribe.is_empty()
    }

    /// What `topic` of a PUBLISH becomes; `None` when it stays. Whether that is a topic name is for the caller to check.
    pub fn published(&self, topic: &str, client_id: &str, user_name: Option<&str>) -> Option<String> {
        rewrite(&self.publish, topic, client_id, user_name)
    }

    /// What `filter` of a SUBSCRIBE or UNSUBSCRIBE becomes, as [`RewriteRules::published`].
    pub fn subscribed(&self, filter: &str, client_id: &str, user_name: Option<&str>) -> Option<String> {
        rewrite(&self.subscribe, filter, client_id, user_name)
    }
}

fn rewrite(rules: &[Rule], topic: &str, client_id: &str, user_name: Option<&str>) -> Option<String> {
    let rule = rules.iter().rev().find(|rule| covers(&rule.filter, topic))?;
    let captures = rule.pattern.captures(topic)?;
    rule.expand(&captures, client_id, user_name)
}

/// Whether `filter` matches `topic`, which may be a filter itself: its wildcards are words then, and only `#` covers a `#`.
fn covers(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for level in filter.split('/') {
        if level == "#" {
            return true;
        }
        match levels.next() {
            Some(other) if other == level || level == "+" && other != "#" => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

impl Rule {
    fn new(rule: &RewriteRule<'_>) -> Result<Rule, String> {
        let filter = TopicFilter::new(rule.filter).map_err(|error| format!("filter: {error}"))?;
        if filter.shared().is_some() {
            return Err("filter: rules are for what stands behind `$share/NAME/`".to_owned());
        }
        let pattern = RegexBuilder::new(rule.pattern)
            .size_limit(REWRITE_PROGRAM_BYTES_MAX)
            .dfa_size_limit(REWRITE_PROGRAM_BYTES_MAX)
            .build()
            .map_err(|error| format!("pattern: {error}"))?;
        let to = pieces(rule.to);
        let groups = pattern.captures_len() - 1;
        if rule.to.is_empty() {
            return Err("to: a topic has at least one character".to_owned());
        }
        for piece in &to {
            if let Piece::Group(group) = piece
                && !(1..=groups).contains(group)
            {
                return Err(format!("to: ${group} stands for nothing, the pattern has {groups} groups"));
            }
        }
        Ok(Rule { filter: rule.filter.into(), pattern, to })
    }

    fn expand(&self, captures: &Captures<'_>, client_id: &str, user_name: Option<&str>) -> Option<String> {
        let mut topic = String::new();
        for piece in &self.to {
            topic += match piece {
                Piece::Text(text) => text,
                // A group that took no part in the match is empty.
                Piece::Group(group) => captures.get(*group).map_or("", |found| found.as_str()),
                Piece::ClientId => plain(client_id)?,
                Piece::UserName => plain(user_name?)?,
            };
        }
        Some(topic)
    }
}

/// A target in its pieces. What is no variable is text, `$` and `%` too.
fn pieces(to: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = to;
    while let Some(first) = rest.chars().next() {
        let digits = rest.bytes().skip(1).take_while(u8::is_ascii_digit).take(2).count();
        let (piece, bytes) = match first {
            '$' if digits > 0 => (rest[1..=digits].parse().ok().map(Piece::Group), 1 + digits),
            '%' if rest.starts_with("%c") => (Some(Piece::ClientId), 2),
            '%' if rest.starts_with("%u") => (Some(Piece::UserName), 2),
            _ => (None, first.len_utf8()),
        };
        match piece {
            Some(piece) => {
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text).into()));
                }
                pieces.push(piece);
            }
            None => text += &rest[..bytes],
        }
        rest = &rest[bytes..];
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text.into()));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule<'a>(filter: &'a str, pattern: &'a str, to: &'a str) -> RewriteRule<'a> {
        RewriteRule { action: RewriteAction::All, filter, pattern, to }
    }

    fn rewritten(rules: &[RewriteRule<'_>], topic: &str) -> Option<String> {
        let rules = RewriteRules::new(rules).expect("the rules are right");
        let as_topic = rules.published(topic, "ann", Some("root"));
        assert_eq!(as_topic, rules.subscribed(topic, "ann", Some("root")));
        as_topic
    }

    /// The examples of EMQX's documentation.
    #[test]
    fn the_last_rule_that_covers_the_topic_counts() {
        let rules = [
            rule("y/+/z/#", "^y/(.+)/z/(.+)$", "y/z/$2"),
            rule("x/#", "^x/y/(.+)$", "z/y/x/$1"),
            rule("x/y/+", r"^x/y/(\d+)$", "z/y/$1"),
        ];
        assert_eq!(rewritten(&rules, "y/def"), None);
        assert_eq!(rewritten(&rules, "y/a/z/b").as_deref(), Some("y/z/b"));
        assert_eq!(rewritten(&rules, "x/1/2"), None);
        assert_eq!(rewritten(&rules, "x/y/2").as_deref(), Some("z/y/2"));
        assert_eq!(rewritten(&rules, "x/y/z"), None, "covered by the last, whose pattern does not match");
        assert_eq!(rewritten(&rules, "x/y/z/q").as_deref(), Some("z/y/x/z/q"));
    }

    #[test]
    fn targets_name_groups_client_and_user() {
        let to = |to| rewritten(&[rule("#", "^(ä|b)(/(.))?", to)], "b/c");
        assert_eq!(to("%c/$1/%u/$3").as_deref(), Some("ann/b/root/c"));
        assert_eq!(to("$delayed/5/$3").as_deref(), Some("$delayed/5/c"));
        assert_eq!(to("ü%%c$%x$").as_deref(), Some("ü%ann$%x$"));
        assert_eq!(rewritten(&[rule("#", "^(ä)(/x)?", "$1$2!")], "ä/c").as_deref(), Some("ä!"));
        let named = RewriteRules::new(&[rule("#", "", "%u")]).expect("right");
        assert_eq!(named.published("a", "ann", None), None, "there is no user name to fill in");
        assert_eq!(named.published("a", "ann", Some("+")), None, "nor would that be a name");
    }

    #[test]
    fn filters_are_covered_as_topics_are_and_only_a_hash_covers_a_hash() {
        for (filter, topic, covered) in [
            ("a/+", "a/+", true),
            ("a/+", "a/#", false),
            ("a/#", "a/#", true),
            ("a/#", "a", true),
            ("#", "+/#", true),
            ("a", "a/b", false),
            ("+/b", "$SYS/b", false),
            ("$SYS/+", "$SYS/b", true),
        ] {
            assert_eq!(covers(filter, topic), covered, "{filter} {topic}");
        }
    }

    #[test]
    fn rules_are_for_what_they_say() {
        let mut one = rule("a", "a", "b");
        one.action = RewriteAction::Publish;
        let rules = RewriteRules::new(&[one.clone()]).expect("right");
        assert!(rules.published("a", "", None).is_some() && rules.subscribed("a", "", None).is_none());
        one.action = RewriteAction::Subscribe;
        let rules = RewriteRules::new(&[one]).expect("right");
        assert!(rules.published("a", "", None).is_none() && rules.subscribed("a", "", None).is_some());
        assert!(!rules.is_empty() && RewriteRules::default().is_empty());
    }

    #[test]
    fn a_wrong_rule_is_named_with_what_is_wrong() {
        let right = rule("a", "a", "b");
        let huge = format!("({}){{200}}", "x".repeat(2_000));
        for (wrong, what) in [
            (rule("a/#/b", "a", "b"), "filter: "),
            (rule("$share/g/a", "a", "b"), "filter: "),
            (rule("a", "(", "b"), "pattern: "),
            (rule("a", &huge, "b"), "pattern: "),
            (rule("a", "(a)", "$2"), "to: $2 stands for nothing, the pattern has 1 groups"),
            (rule("a", "a", "$0"), "to: $0"),
            (rule("a", "a", ""), "to: "),
        ] {
            let error = RewriteRules::new(&[right.clone(), wrong]).expect_err(what);
            assert_eq!(error.rule, 1);
            assert!(error.reason.starts_with(what), "{error}");
        }
        let many = vec![right; REWRITE_RULES_MAX + 1];
        assert_eq!(RewriteRules::new(&many).expect_err("too many").rule, REWRITE_RULES_MAX);
    }
}
