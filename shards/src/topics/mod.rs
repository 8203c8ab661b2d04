//! Topics: validated names and filters, where a topic goes (own subscriptions, the other shards' interest, the match
//! cache over both), and the retained messages.
//!
//! A shard owns one [`TopicIndex`] (DESIGN.md section 5) and one [`RetainedStore`](retained::RetainedStore). Files, from the outside in:
//! `index` is the façade; `tree` (with `trie`, `subscribers`, `filter_set`) holds the own sessions' subscriptions in full detail; `interest`
//! counts them per fingerprint and tells the peers; `replica` is what the peers told; `shape` names wildcard patterns for both; `cache` remembers
//! `routes` per topic; `one_session` asks for a single session. `groups` (with `group`, `members`) are the shared subscriptions, which are neither counted by fingerprint nor part of the tree; `share` is
//! their side of the façade.

pub mod filter;
pub mod filter_set;
pub mod group;
pub mod groups;
pub mod index;
pub mod interest;
pub mod members;
pub mod name;
pub mod retained;
pub mod rewrite;
pub mod routes;
pub mod shape;
pub mod share_strategy;
pub mod subscribers;
pub mod tree;

mod cache;
mod levels;
mod one_session;
mod placeholder;
mod replica;
mod share;
mod sizes;
mod trie;

pub use cache::CacheStats;
pub use filter::TopicFilter;
pub use filter_set::FilterSet;
pub use group::{GroupId, GroupKey, Pick};
pub use index::{Subscribed, TopicIndex};
pub use interest::{Fingerprinted, GroupChange, InterestBatch, InterestChange, Ticket};
pub use members::Standing;
pub use name::{TopicError, TopicName};
pub use placeholder::fill_in;
pub use rewrite::{RewriteAction, RewriteError, RewriteRule, RewriteRules};
pub use routes::{Receiver, Routes};
pub use shape::Shape;
pub use share_strategy::{ShareStrategies, ShareStrategy};
pub use subscribers::Subscriber;
pub use tree::{FilterId, SubscriptionTree};
