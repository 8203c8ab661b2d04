//! The wildcard filters of this shard's own sessions, level by level.

use super::levels::{Levels, fold};
use super::tree::FilterId;
use crate::base::hash::HashKey;
use crate::base::parted::Parted;
use crate::base::slab::Slab;

/// A trie over levels. All literal children of all nodes stand in one parted table by (parent, level), so that a node with a million children costs no
/// more per child than one with two.
pub(super) struct Trie {
    key: HashKey,
    nodes: Slab<Node>,
    edges: Parted<u32>,
}

struct Node {
    parent: u32,
    /// The level that leads here from the parent; `None` for `+` and for the root.
    level: Option<Box<str>>,
    /// The child for `+`.
    plus: u32,
    /// The filter that ends here.
    filter: FilterId,
    /// The filter that ends here with `/#`; at the root, `#`.
    multi: FilterId,
    /// Literal children.
    children: u32,
}

const NO_NODE: u32 = u32::MAX;
const ROOT: u32 = 0;

impl Node {
    fn new(parent: u32, level: Option<Box<str>>) -> Node {
        let (filter, multi) = (FilterId::NONE, FilterId::NONE);
        Node { parent, level, plus: NO_NODE, filter, multi, children: 0 }
    }

    fn is_needed(&self) -> bool {
        self.filter != FilterId::NONE
            || self.multi != FilterId::NONE
            || self.plus != NO_NODE
            || self.children > 0
    }
}

fn edge_hash(parent: u32, level_hash: u64) -> u64 {
    fold(level_hash, u64::from(parent))
}

impl Trie {
    pub(super) fn new(key: HashKey) -> Trie {
        let mut nodes = Slab::new();
        let root = nodes.insert(Node::new(NO_NODE, None));
        assert_eq!(root.index() as u32, ROOT, "an empty slab starts at slot 0");
        Trie { key, nodes, edges: Parted::new() }
    }

    fn node(&self, id: u32) -> &Node {
        self.nodes.at(id).expect("a linked node exists")
    }

    fn node_mut(&mut self, id: u32) -> &mut Node {
        self.nodes.at_mut(id).expect("a linked node exists")
    }

    fn child(&self, parent: u32, levels: &Levels<'_>, depth: usize) -> Option<u32> {
        let hash = edge_hash(parent, levels.hash(depth));
        let is = |id: &u32| {
            let node = self.node(*id);
            node.parent == parent && node.level.as_deref() == Some(levels.level(depth))
        };
        self.edges.find(hash, is).copied()
    }

    /// How many levels lead to a filter's node, and whether it ends with `#`.
    fn path(filter: &Levels<'_>) -> (usize, bool) {
        let multi = filter.level(filter.count() - 1) == "#";
        (filter.count() - usize::from(multi), multi)
    }

    /// The filter of exactly these levels.
    pub(super) fn find(&self, filter: &Levels<'_>) -> Option<FilterId> {
        let (depth, multi) = Trie::path(filter);
        let mut at = ROOT;
        for index in 0..depth {
            at = if filter.level(index) == "+" {
                Some(self.node(at).plus).filter(|plus| *plus != NO_NODE)?
            } else {
                self.child(at, filter, index)?
            };
        }
        let node = self.node(at);
        Some(if multi { node.multi } else { node.filter }).filter(|id| *id != FilterId::NONE)
    }

    /// Puts `id` at the end of the filter's levels; returns the node, by which it is removed.
    pub(super) fn insert(&mut self, filter: &Levels<'_>, id: FilterId) -> u32 {
        let (depth, multi) = Trie::path(filter);
        let mut at = ROOT;
        for index in 0..depth {
            at = self.child_or_new(at, filter, index);
        }
        let node = self.node_mut(at);
        let end = if multi { &mut node.multi } else { &mut node.filter };
        assert_eq!(*end, FilterId::NONE, "a filter is inserted once");
        *end = id;
        at
    }

    fn child_or_new(&mut self, parent: u32, filter: &Levels<'_>, index: usize) -> u32 {
        let level = filter.level(index);
        if level == "+" {
            let plus = self.node(parent).plus;
            if plus != NO_NODE {
                return plus;
            }
            let new = self.nodes.insert(Node::new(parent, None)).index() as u32;
            self.node_mut(parent).plus = new;
            return new;
        }
        if let Some(child) = self.child(parent, filter, index) {
            return child;
        }
        let new = self.nodes.insert(Node::new(parent, Some(level.into()))).index() as u32;
        self.node_mut(parent).children += 1;
        let (key, nodes) = (&self.key, &self.nodes);
        self.edges.insert(edge_hash(parent, filter.hash(index)), new, |id| rehash(key, nodes, *id));
        new
    }

    /// Takes the filter out of its node, and the nodes that only it needed.
    pub(super) fn remove(&mut self, at: u32, multi: bool) {
        let node = self.node_mut(at);
        *(if multi { &mut node.multi } else { &mut node.filter }) = FilterId::NONE;
        let mut at = at;
        while at != ROOT && !self.node(at).is_needed() {
            let parent = self.node(at).parent;
            if self.node(at).level.is_some() {
                let (key, nodes) = (&self.key, &self.nodes);
                let hash = rehash(key, nodes, at);
                self.edges
                    .remove(hash, |id| *id == at, |id| rehash(key, nodes, *id))
                    .expect("a literal child stands in the table of edges");
                self.node_mut(parent).children -= 1;
            } else {
                self.node_mut(parent).plus = NO_NODE;
            }
            self.nodes.remove_at(at);
            at = parent;
        }
    }

    /// Calls `found` with every filter that matches `topic`, in a fixed order.
    pub(super) fn matches(&self, topic: &Levels<'_>, found: &mut impl FnMut(FilterId)) {
        self.visit(ROOT, 0, topic, found);
    }

    /// Recursion is as deep as the topic has levels, which `TOPIC_LEVELS_MAX` bounds.
    fn visit(&self, at: u32, depth: usize, topic: &Levels<'_>, found: &mut impl FnMut(FilterId)) {
        let node = self.node(at);
        // Topics that begin with `$` do not match a wildcard in the first level (MQTT-4.7.2-1).
        let wildcards = depth > 0 || !topic.text().starts_with('$');
        if wildcards && node.multi != FilterId::NONE {
            found(node.multi);
        }
        if depth == topic.count() {
            if node.filter != FilterId::NONE {
                found(node.filter);
            }
            return;
        }
        if wildcards && node.plus != NO_NODE {
            self.visit(node.plus, depth + 1, topic, found);
        }
        if node.children > 0
            && let Some(child) = self.child(at, topic, depth)
        {
            self.visit(child, depth + 1, topic, found);
        }
    }

    /// Nodes, the root included.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes of nodes and edges, without the texts of long levels.
    pub(super) fn memory_bytes(&self) -> usize {
        // 32 bytes: the smallest block of the allocator and its header, for the level's text.
        self.nodes.len() * (size_of::<Node>() + 8 + 32) + self.edges.memory_bytes()
    }
}

fn rehash(key: &HashKey, nodes: &Slab<Node>, id: u32) -> u64 {
    let node = nodes.at(id).expect("a linked node exists");
    let level = node.level.as_deref().expect("only literal children have an edge");
    edge_hash(node.parent, key.hash(level.as_bytes()))
}
