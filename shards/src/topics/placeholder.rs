//! `%c` and `%u` in an operator's topics: the client id and the user name.

/// `text` with the client's own names filled in. `None` when it asks for a user name and there is none, or when a name would not stay a name: with `+` or
/// `#` in its client id a client would get what is for others.
pub fn fill_in(text: &str, client_id: &str, user_name: Option<&str>) -> Option<String> {
    let mut filled = String::with_capacity(text.len() + client_id.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        filled += &rest[..at];
        let name = match rest.as_bytes().get(at + 1) {
            Some(b'c') => Some(client_id),
            Some(b'u') => Some(user_name?),
            _ => None,
        };
        filled += name.map_or(Some("%"), plain)?;
        rest = &rest[at + if name.is_some() { 2 } else { 1 }..];
    }
    filled += rest;
    Some(filled)
}

/// `name` if it has no wildcard.
pub(super) fn plain(name: &str) -> Option<&str> {
    (!name.contains(['+', '#'])).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in_unless_they_are_wildcards() {
        let fill = |text, client_id| fill_in(text, client_id, Some("root"));
        assert_eq!(fill("clients/%c/in", "ann").as_deref(), Some("clients/ann/in"));
        assert_eq!(fill("%u/%c", "ä").as_deref(), Some("root/ä"));
        assert_eq!(fill("100%/%x/%", "ann").as_deref(), Some("100%/%x/%"));
        assert_eq!(fill("a/#", "+").as_deref(), Some("a/#"), "it is not asked for");
        assert_eq!(fill("clients/%c/in", "+"), None);
        assert_eq!(fill("clients/%c", "a/#"), None);
        assert_eq!(fill("%c", "%u").as_deref(), Some("%u"), "what was filled in is text");
        assert_eq!(fill_in("%u", "ann", None), None);
    }
}
