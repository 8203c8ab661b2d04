//! The logs of all shards made to agree.
//!
//! Each log ends where its own disk had it. So one may have a message that another shard sent and lost before it was on disk: nobody was told of it,
//! its publisher will send it again, and what it did elsewhere is taken back. And one may name destinations that have the message by now.
//!
//! All of it follows from the logs alone: a recovery that is interrupted is simply made again.

use super::image::{BodyImage, ShardImage};
use super::record::{BodyId, CopyState, Origin};
use crate::base::limits::ENDED_INCARNATIONS_MAX;
use crate::base::lsn::{Incarnation, Lsn};
use crate::base::shard_set::ShardId;
use std::collections::BTreeSet;

/// Makes the images of all shards of one topology, in the order of the shards, agree, and settles each. When it is done
/// [`ShardImage::ended`] is what the log's next `Start` says, and every message that is left is one that happened ([`Origin::Own`]).
pub fn resolve(images: &mut [ShardImage]) {
    let ends = all_ends(images);
    let unreal = unreal_arrivals(images, &ends);
    for (index, image) in images.iter_mut().enumerate() {
        let shard = ShardId::new(index);
        if !unreal.is_empty() {
            image.take_back(|body| unreal.contains(&(shard, body)));
        }
        for (source, mark) in &mut image.marks {
            *mark = ends.get(source.index()).map_or(*mark, |ends| ends.highest_real(*mark));
        }
    }
    trim_outboxes(images);
    drop_superseded(images);
    for (image, ends) in images.iter_mut().zip(ends) {
        image.ended = ends.0;
        image.settle();
        image.bodies.values_mut().for_each(|body| body.origin = Origin::Own);
    }
}

/// Of each incarnation the last number that one log has, oldest first, without gaps. All that is left of older ones is known to be real.
struct Ends(Vec<(Incarnation, Lsn)>);

impl Ends {
    /// The highest number up to `lsn` of a record that happened.
    fn highest_real(&self, lsn: Lsn) -> Lsn {
        let behind = self.0.partition_point(|(of, _)| *of <= lsn.incarnation());
        match self.0[..behind].last() {
            Some((of, end)) if *of == lsn.incarnation() => lsn.min(*end),
            Some((_, end)) => *end,
            None => lsn,
        }
    }

    fn is_real(&self, lsn: Lsn) -> bool {
        self.highest_real(lsn) == lsn
    }
}

/// What the logs say, completed by the incarnations of which a log has nothing: those ended where they began.
fn all_ends(images: &[ShardImage]) -> Vec<Ends> {
    let newest = images.iter().map(|image| image.newest.incarnation()).max().unwrap_or_default();
    // An arrival that never happened is logged in the incarnation that sent it. Where no log goes back that far, none is left.
    let logged = images.iter().filter(|image| image.oldest != Lsn::NONE);
    let oldest = logged.map(|image| image.oldest.incarnation()).min().unwrap_or_default();
    let kept = Incarnation(newest.0.saturating_sub(ENDED_INCARNATIONS_MAX as u32 - 1));
    images.iter().map(|image| ends_of(image, oldest.max(kept), newest)).collect()
}

fn ends_of(image: &ShardImage, oldest: Incarnation, newest: Incarnation) -> Ends {
    let mut known = image.ended.clone();
    let own = image.newest.incarnation();
    if image.newest != Lsn::NONE && known.last().is_none_or(|(last, _)| *last < own) {
        known.push((own, image.newest));
    }
    // Where a log's beginning is lost, what came before it is taken for real rather than lost as well.
    let first = known.first().map_or(oldest, |(first, _)| oldest.max(*first));
    let end_of = |incarnation: Incarnation| {
        let at = known.binary_search_by_key(&incarnation, |(of, _)| *of);
        (incarnation, at.map_or(Lsn::before(incarnation), |at| known[at].1))
    };
    Ends((first.0..=newest.0).map(|number| end_of(Incarnation(number))).collect())
}

/// Messages that came from a record that its log does not have, or from one that came from such a one.
fn unreal_arrivals(images: &[ShardImage], ends: &[Ends]) -> BTreeSet<(ShardId, BodyId)> {
    let mut unreal = BTreeSet::new();
    loop {
        let before = unreal.len();
        for (index, image) in images.iter().enumerate() {
            for (body, BodyImage { origin, .. }) in image.bodies.iter() {
                let Origin::Peer { source, lsn } = *origin else { continue };
                let is_real = ends.get(source.index()).is_none_or(|ends| ends.is_real(lsn));
                if !is_real || unreal.contains(&(source, BodyId(lsn))) {
                    unreal.insert((ShardId::new(index), *body));
                }
            }
        }
        if unreal.len() == before {
            return unreal;
        }
    }
}

impl ShardImage {
    /// Undoes what the messages did that never happened. Retained messages stay: what the topic had before is gone, and nobody was promised
    /// either.
    fn take_back(&mut self, is_unreal: impl Fn(BodyId) -> bool) {
        for session in self.sessions.values_mut() {
            // What a client has is no more to be taken back; it waited for the source's commit, so this is damage.
            session
                .copies
                .retain(|_, (body, copy)| matches!(copy.state, CopyState::Arrived(_)) || !is_unreal(*body));
        }
        self.outbox.retain(|_, (body, _)| !is_unreal(*body));
        self.parked.retain(|_, parked| !is_unreal(parked.body));
        self.open.retain(|body, _| !is_unreal(*body));
        self.bodies.retain(|body, _| !is_unreal(*body));
    }
}

/// Leaves in each outbox the destinations whose log does not have the message.
fn trim_outboxes(images: &mut [ShardImage]) {
    for index in 0..images.len() {
        let source = ShardId::new(index);
        let marks: Vec<Lsn> =
            images.iter().map(|image| image.marks.get(&source).copied().unwrap_or_default()).collect();
        images[index].outbox.retain(|lsn, (_, destinations)| {
            destinations.retain(|to| marks.get(to.shard.index()).is_none_or(|mark| mark < lsn));
            !destinations.is_empty()
        });
    }
}

/// One session has a client id, the one of the highest claim: an id goes to another session only when the end of the one before is on disk.
fn drop_superseded(images: &mut [ShardImage]) {
    let mut claims = Vec::new();
    for (shard, image) in images.iter().enumerate() {
        let sessions = image.sessions.iter();
        claims.extend(sessions.map(|(number, session)| (&*session.client_id, session.epoch, *number, shard)));
    }
    claims.sort_unstable();
    let lost = claims.windows(2).filter(|pair| pair[0].0 == pair[1].0);
    let lost: Vec<_> = lost.map(|pair| (pair[0].3, pair[0].2)).collect();
    for (shard, number) in lost {
        images[shard].sessions.remove(&number);
        images[shard].superseded.push(number);
        images[shard].oddities.superseded += 1;
    }
}

#[cfg(test)]
mod damaged;
#[cfg(test)]
mod tests;
