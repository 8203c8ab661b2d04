//! The end of the process, and a new one that finds what the logs had.

use crate::world::{Settings, World, start};
use shardmq_shards::base::kept::SessionNumber;
use shardmq_shards::base::lsn::{Incarnation, Lsn};
use shardmq_shards::log::{CopyEntry, CopyState, Record, SessionImage, ShardImage, resolve};
use shardmq_shards::shard::{DurableView, End};
use std::time::Duration;

impl World {
    /// A broker with logs.
    pub fn durable(shards: usize) -> World {
        World::with(Settings { shards, logs: true, ..Settings::default() })
    }

    /// Kill or power loss, and a new start: sockets are gone, and each shard has what its log had committed.
    pub fn crash(&mut self) {
        self.crash_leaving(&[]);
    }

    /// As [`World::crash`]; of what was not committed the first so many records of each shard's log were on disk all the same.
    pub fn crash_leaving(&mut self, more: &[usize]) {
        self.die_leaving(more);
        self.start();
    }

    /// [`World::crash_leaving`] before the new start, so that time may pass in between.
    pub fn die_leaving(&mut self, more: &[usize]) {
        assert!(self.settings.logs, "only a log outlives a crash");
        for shard in 0..self.places.len() {
            let tape = self.places[shard].seat.shard.log().tape();
            let committed = tape.len() - self.uncommitted(shard);
            let left = committed + more.get(shard).copied().unwrap_or(0);
            self.disks[shard].extend_from_slice(&tape[..left.min(tape.len())]);
        }
        self.places.clear();
        for wire in &mut self.wires {
            wire.to_broker.clear();
            wire.ended = Some(End::Failed);
            wire.closed = true;
            wire.closed_told = true;
        }
    }

    /// What each log says.
    pub fn images(&self) -> Vec<ShardImage> {
        if self.settings.segment_bytes.is_some() { self.images_of_segments() } else { images(&self.disks) }
    }

    /// The orderly end.
    pub fn die_orderly(&mut self) {
        self.request_shutdown();
        self.run();
        assert!(self.places.iter().all(|place| place.seat.shard.is_drained()));
        self.die_leaving(&[]);
    }

    /// Starts a broker that has died.
    pub fn start(&mut self) {
        self.incarnation = Incarnation(self.incarnation.0 + 1);
        let images = self.images();
        self.platters.iter_mut().enumerate().for_each(|(shard, platter)| platter.tidy_up(shard));
        (self.places, self.handle) =
            start(&self.settings, self.now, self.incarnation, Some(images), &self.platters);
        self.run();
        assert!(self.places.iter().all(|place| place.seat.shard.is_restored()), "the listeners may open");
    }

    /// The orderly end, and a new start.
    pub fn restart(&mut self) {
        self.die_orderly();
        self.start();
    }

    /// The broker is down for so long.
    pub fn crash_for(&mut self, span: Duration) {
        self.die_leaving(&[]);
        self.now += span;
        self.start();
    }

    /// Records of a shard that a crash may lose.
    pub fn uncommitted(&self, shard: usize) -> usize {
        let place = &self.places[shard];
        let tape = place.seat.shard.log().tape();
        tape.len() - tape.partition_point(|(lsn, _)| *lsn <= place.committed)
    }
}

/// What the logs say, all of them, is what the shards have.
pub fn check_logs(world: &World) {
    if !world.settings.logs {
        return;
    }
    let mut disks = world.disks.clone();
    for (disk, place) in disks.iter_mut().zip(&world.places) {
        disk.extend_from_slice(place.seat.shard.log().tape());
    }
    let segments = world.settings.segment_bytes.is_some();
    let images = if segments { world.images_of_segments() } else { images(&disks) };
    for (image, place) in images.iter().zip(&world.places) {
        let shard = &place.seat.shard;
        let logged: Vec<_> = image.sessions.iter().map(|(number, session)| view(*number, session)).collect();
        let mut live = shard.durable_sessions();
        for (live, logged) in live.iter_mut().zip(&logged) {
            // A claim that was refused speaks for nobody; only this run has to remember it.
            live.epoch = live.epoch.min(logged.epoch);
        }
        assert_eq!(logged, live, "shard {:?}: as logged, and as it is", shard.id());
        assert_eq!(image.retained.len(), shard.retained_len(), "retained messages");
        let oddities = image.oddities;
        if segments {
            assert_eq!(oddities.bodiless, 0, "messages are there");
            continue;
        }
        assert_eq!((oddities.unknown_sessions, oddities.unknown_copies, oddities.bodiless), (0, 0, 0));
    }
}

fn view(number: SessionNumber, session: &SessionImage) -> DurableView {
    let on_its_way = |copy: &CopyEntry| !matches!(copy.state, CopyState::Arrived(_));
    let copies = session.copies.values().filter(|(_, copy)| on_its_way(copy));
    DurableView {
        number,
        client_id: session.client_id.clone(),
        user: session.user.clone(),
        epoch: session.epoch,
        expiry_seconds: session.expiry_seconds,
        offline_since: session.offline_since,
        has_will: session.will.is_some(),
        filters: session.subscriptions.keys().map(|filter| String::from(&**filter)).collect(),
        received: session.received.clone(),
        copies: copies.map(|(_, copy)| copy.number).collect(),
    }
}

/// What the tapes say.
pub fn images(disks: &[Vec<(Lsn, Record<'static>)>]) -> Vec<ShardImage> {
    let mut images: Vec<_> = disks
        .iter()
        .map(|disk| {
            let mut image = ShardImage::default();
            disk.iter().for_each(|(lsn, record)| image.apply(*lsn, record));
            image
        })
        .collect();
    resolve(&mut images);
    images
}
