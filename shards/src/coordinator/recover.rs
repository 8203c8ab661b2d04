//! After a start: the coordinator knows again what the shards' logs say.

use super::directory::Home;
use super::{Coordinator, Epoch};
use crate::base::planted::Bug;
use crate::base::shard_set::ShardId;
use crate::log::ShardImage;

impl Coordinator {
    /// Takes in what the logs of all shards, in their order, say: where each client id lives, and who holds what exclusively. Before the first batch.
    /// The images agree: no two of them have the same client id.
    pub fn recover(&mut self, images: &[ShardImage]) {
        for (index, image) in images.iter().enumerate() {
            let home = ShardId::new(index);
            for session in image.sessions.values() {
                let Epoch(epoch) = session.epoch;
                if !self.planted.is(Bug::EpochsForgotten) {
                    self.newest_epoch = self.newest_epoch.max(epoch);
                }
                let entry = Home { home, epoch: session.epoch, moving: 0, released: false };
                self.directory.insert(session.client_id.clone(), entry);
                self.sessions[index] += 1;
            }
            for (filter, number) in image.exclusive().zip(1..) {
                self.exclusive.restore(filter, (home, number));
            }
        }
    }
}
