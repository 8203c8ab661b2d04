//! Who publishes or subscribes, as far as permission and topic rules have to know.

use std::net::SocketAddr;

/// A client as it stands in a question about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Author<'a> {
    /// Its client id.
    pub client_id: &'a str,
    /// As whom it has authenticated; where the broker has no users, the user name that it gave in CONNECT.
    pub user_name: Option<&'a str>,
    /// The address it connected from.
    pub peer: SocketAddr,
}

/// An [`Author`] of whom no connection is left when the question comes: that of a will.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptAuthor {
    client_id: Box<str>,
    user_name: Option<Box<str>>,
    peer: SocketAddr,
}

impl KeptAuthor {
    /// The author as it was.
    pub fn as_author(&self) -> Author<'_> {
        Author { client_id: &self.client_id, user_name: self.user_name.as_deref(), peer: self.peer }
    }
}

impl From<Author<'_>> for KeptAuthor {
    fn from(author: Author<'_>) -> KeptAuthor {
        KeptAuthor {
            client_id: author.client_id.into(),
            user_name: author.user_name.map(Into::into),
            peer: author.peer,
        }
    }
}
