//! `shardmq run`: configuration over defaults, command line over both, then a broker until a signal ends it.

use crate::auth::ScramSha256;
use crate::cli::RunFlags;
use crate::config::{
    self, ConfigError, Durability, Io, Listener, Placement, ProtocolVersion, Settings, SharedSubscriptions,
    Strategy, Transport,
};
use crate::{logging, signals};
use shardmq_shards::drivers::probe::IoChoice;
use shardmq_shards::server::placement::Placement as EnginePlacement;
use shardmq_shards::server::{Broker, BrokerConfig, ListenerConfig, StorageConfig, Watermark, Ways};
use shardmq_shards::session::Authentication;
use shardmq_shards::shard::Doorway;
use shardmq_shards::topics::{ShareStrategies, ShareStrategy};
use shardmq_shards::transport;
use shardmq_shards::wire::Version;
use std::process::ExitCode;
use std::sync::Arc;

/// Runs a broker; the exit code says whether it started and was ended in order.
pub fn run(flags: RunFlags) -> ExitCode {
    let settings = match settings(flags) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("shardmq: {error}");
            return ExitCode::FAILURE;
        }
    };
    logging::start(settings.log_level);
    // Before the broker: a signal during a long start must end it, too.
    let signals = match signals::Signals::catch() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!("cannot catch signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    let authentication = match authentication(&settings) {
        Ok(authentication) => authentication,
        Err(error) => {
            tracing::error!("cannot start: no random bytes for authentication: {error}");
            return ExitCode::FAILURE;
        }
    };
    match Broker::start(broker_config(&settings, authentication)) {
        Ok(broker) => signals.serve(broker),
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn settings(flags: RunFlags) -> Result<Settings, ConfigError> {
    let settings = match &flags.config {
        Some(file) => config::load(file)?,
        None => Settings::default(),
    };
    let settings = flags.over(settings);
    config::check(&settings)?;
    Ok(settings)
}

/// The methods of authentication that the settings have users for.
fn authentication(settings: &Settings) -> Result<Authentication, getrandom::Error> {
    let users = settings.authentication.users().expect("the settings were checked");
    if users.is_empty() {
        return Ok(Authentication::default());
    }
    let mut nonce_key = [0; 32];
    getrandom::fill(&mut nonce_key)?;
    let required = config::is_authentication_required(settings);
    Ok(Authentication { methods: vec![Arc::new(ScramSha256::new(users, nonce_key))], required })
}

fn broker_config(settings: &Settings, authentication: Authentication) -> BrokerConfig {
    BrokerConfig {
        listeners: settings.listeners.iter().map(listener_config).collect(),
        shards: settings.shards.map(|shards| shards.get()),
        io: match settings.io {
            Io::Auto => IoChoice::Auto,
            Io::Glommio => IoChoice::Glommio,
            Io::Epoll => IoChoice::Epoll,
        },
        placement: match &settings.placement {
            Placement::None => EnginePlacement::None,
            Placement::Cores => EnginePlacement::Cores,
            Placement::Physical => EnginePlacement::Physical,
            Placement::Nodes(nodes) => EnginePlacement::Nodes(nodes.clone()),
        },
        ring_entries: settings.ring_entries.get(),
        connection_warm_up: settings.connection_warm_up.get(),
        limits: settings.engine_limits(),
        authentication,
        share_strategies: share_strategies(&settings.shared_subscriptions),
        terms: settings.engine_terms(),
        extensions: settings.engine_extensions().expect("the configuration was checked before"),
        storage: storage(settings),
        stats_interval: settings.stats_interval.get(),
    }
}

/// Where and how durable state is kept, if it is.
fn storage(settings: &Settings) -> Option<StorageConfig> {
    let durable = match settings.durability {
        Durability::Fsync => true,
        Durability::Os => false,
        Durability::Memory => return None,
    };
    Some(StorageConfig {
        data_dir: settings.data_dir.clone(),
        durable,
        watermark: settings.disk_watermark.map_or(Watermark::Usual, |bytes| Watermark::Bytes(bytes.get())),
        // Whole blocks: what is written past the page cache is not less.
        segment_bytes: settings.log_segment.get::<u64>().next_multiple_of(4096),
        ways: Ways { direct: settings.debug.log_direct, recycle: settings.debug.log_recycle },
        cleaned: settings.debug.log_clean,
    })
}

fn share_strategies(shared: &SharedSubscriptions) -> ShareStrategies {
    let strategy = |strategy| match strategy {
        Strategy::RoundRobin => ShareStrategy::RoundRobin,
        Strategy::Random => ShareStrategy::Random,
        Strategy::Sticky => ShareStrategy::Sticky,
        Strategy::HashClient => ShareStrategy::HashClient,
        Strategy::HashTopic => ShareStrategy::HashTopic,
        Strategy::Local => ShareStrategy::Local,
    };
    let groups = shared.groups.iter().map(|group| (group.name.as_str().into(), strategy(group.strategy)));
    ShareStrategies::new(strategy(shared.strategy), groups.collect())
}

fn listener_config(listener: &Listener) -> ListenerConfig {
    let versions = match &listener.versions {
        None => Version::ALL.to_vec(),
        Some(versions) => versions
            .iter()
            .map(|version| match version {
                ProtocolVersion::V31 => Version::V31,
                ProtocolVersion::V311 => Version::V311,
                ProtocolVersion::V5 => Version::V5,
            })
            .collect(),
    };
    let transport = match listener.transport {
        Transport::Tcp => transport::Transport::Tcp,
        Transport::Websocket => transport::Transport::WebSocket,
    };
    ListenerConfig { address: listener.address, doorway: Doorway { versions, transport } }
}
