//! This shard's turn to clean its log: asked of the coordinator, who gives it to one shard at a time, and given back.

use crate::mesh::CleaningRequest;

/// Where the shard stands with its turn, and what the coordinator is still to be told of it.
///
/// ```text
/// None ── ask ──▶ Asked ── come ──▶ Mine
///   ▲               │                │
///   └── withdraw ───┴── give back ───┘
/// ```
#[derive(Default)]
pub(super) struct Turn {
    state: State,
    news: Option<CleaningRequest>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    None,
    Asked,
    Mine,
}

impl Turn {
    /// Whether it is not asked for. One that was given back just now is asked for when the coordinator has been told.
    pub(super) fn can_be_asked(&self) -> bool {
        self.state == State::None && self.news.is_none()
    }

    /// Asks for it, unless that is done.
    pub(super) fn ask(&mut self) {
        if self.can_be_asked() {
            self.state = State::Asked;
            self.news = Some(CleaningRequest::Turn);
        }
    }

    /// The coordinator has given it. A shard that has withdrawn meanwhile is not counted any more.
    pub(super) fn come(&mut self) {
        if self.state == State::Asked {
            self.state = State::Mine;
        }
    }

    /// Gives it back, if it is there.
    pub(super) fn give_back(&mut self) {
        if self.state == State::Mine {
            self.withdraw();
        }
    }

    /// Gives it back, or waits for it no longer.
    pub(super) fn withdraw(&mut self) {
        if std::mem::take(&mut self.state) != State::None {
            // One that the coordinator was not asked for yet is nothing to him.
            self.news = self.news.is_none().then_some(CleaningRequest::Over);
        }
    }

    pub(super) fn is_mine(&self) -> bool {
        self.state == State::Mine
    }

    pub(super) fn has_news(&self) -> bool {
        self.news.is_some()
    }

    /// What the coordinator is to be told.
    pub(super) fn take_news(&mut self) -> Option<CleaningRequest> {
        self.news.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_asked_for_once_and_given_back_once() {
        let mut turn = Turn::default();
        turn.give_back();
        assert!(!turn.has_news(), "there is nothing to give back");
        turn.ask();
        turn.ask();
        assert_eq!((turn.take_news(), turn.take_news()), (Some(CleaningRequest::Turn), None));
        turn.give_back();
        assert!(!turn.has_news() && !turn.is_mine(), "it waits on");
        turn.come();
        assert!(turn.is_mine());
        turn.give_back();
        turn.ask();
        assert_eq!((turn.take_news(), turn.is_mine()), (Some(CleaningRequest::Over), false));
        turn.ask();
        assert_eq!(turn.take_news(), Some(CleaningRequest::Turn));
    }

    #[test]
    fn who_withdraws_before_the_coordinator_knows_has_asked_for_nothing() {
        let mut turn = Turn::default();
        turn.ask();
        turn.withdraw();
        assert!(!turn.has_news());
        turn.ask();
        turn.take_news();
        turn.withdraw();
        assert_eq!(turn.take_news(), Some(CleaningRequest::Over));
        turn.come();
        assert!(!turn.is_mine(), "it was on its way");
    }
}
