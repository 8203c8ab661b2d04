//! Topic rewriting where packets come in: see [`crate::topics::rewrite`] for the rules. Permission has been asked for the topic as the client named it.

use super::delayed::{DelayedTopic, is_delayed_filter};
use super::{ConnectionKey, Shard};
use crate::session::Author;
use crate::topics::TopicFilter;

impl Shard {
    /// What the topic of a PUBLISH or a will becomes; `None` when it stays. A rule may turn a topic into a delayed one. Where a delayed one is not covered
    /// as a whole, the topic behind the delay is.
    pub(super) fn rewrite_topic(
        &self,
        author: Author<'_>,
        asked: Option<DelayedTopic<'_>>,
        topic: &str,
    ) -> Option<String> {
        let rules = &self.extensions.rewrite;
        let rewritten = |topic| rules.published(topic, author.client_id, author.user_name);
        match (rewritten(topic), asked) {
            (None, Some(DelayedTopic::After(_, inner))) => {
                let prefix = topic.strip_suffix(inner).expect("the topic behind the delay is its end");
                Some(format!("{prefix}{}", rewritten(inner)?))
            }
            (whole, _) => whole,
        }
    }

    /// What the filter of a SUBSCRIBE or UNSUBSCRIBE becomes; `None` when it stays. Of a shared one only the part behind the share name changes.
    pub(super) fn rewrite_filter(&self, key: ConnectionKey, filter: TopicFilter<'_>) -> Option<String> {
        let rules = &self.extensions.rewrite;
        if rules.is_empty() {
            return None;
        }
        let author = self.author_of(key)?;
        let inner = filter.shared().map_or(filter, |(_, inner)| inner).as_str();
        let rewritten = rules.subscribed(inner, author.client_id, author.user_name)?;
        let prefix =
            filter.as_str().strip_suffix(inner).expect("the filter behind the share name is its end");
        Some(format!("{prefix}{rewritten}"))
    }
    /// The filter that is subscribed; `None` when rewriting has made it none, or another kind than the packet was checked for, and when it is for what
    /// nobody may subscribe to: messages whose delay is not over.
    pub(super) fn filter_in_use<'a>(
        &self,
        rewritten: Option<&'a str>,
        filter: TopicFilter<'a>,
    ) -> Option<TopicFilter<'a>> {
        let shared = filter.shared().is_some();
        let filter = rewritten.map_or(Ok(filter), TopicFilter::new).ok()?;
        let inner = filter.shared().map_or(filter, |(_, inner)| inner);
        let early = self.extensions.delayed && is_delayed_filter(inner.as_str());
        (filter.shared().is_some() == shared && !early).then_some(filter)
    }
}
