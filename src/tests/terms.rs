//! What the configuration offers clients, over sockets.

use crate::broker::{Driver, Setup};
use crate::client::{Client, Ended};
use rustix::process::Signal;
use shardmq_shards::wire::{Connack, Connect, Packet, QoS, ReasonCode, Split, Version, split};

crate::on_both_drivers![
    capabilities_are_told_and_enforced,
    clients_are_sent_to_the_other_server,
    clients_are_sent_to_the_other_server_when_the_broker_stops,
    payloads_are_looked_at,
];

/// Sends `connect` and looks at the CONNACK of a broker that closes then, or that is made to.
fn connack_of<T>(mut client: Client, connect: &Connect<'_>, look: impl FnOnce(&Connack<'_>) -> T) -> T {
    client.send(&Packet::Connect(*connect));
    client.send(&Packet::Connect(*connect));
    let bytes = client.raw_answer();
    let Ok(Split::Whole(frame)) = split(&bytes, usize::MAX) else { panic!("a whole packet: {bytes:x?}") };
    match Packet::decode(frame, connect.version) {
        Ok(Packet::Connack(connack)) => look(&connack),
        other => panic!("CONNACK comes first: {other:?}"),
    }
}

fn capabilities_are_told_and_enforced(driver: Driver) {
    let settings = "capabilities: (maximum_qos: 1, retain: false, wildcard_subscriptions: false, \
                    subscription_identifiers: false, shared_subscriptions: false), \
                    response_information: \"resp/{client_id}/\"";
    let broker = Setup::new(driver).with(settings).start();
    let mut connect = Connect::new(Version::V5, "ann", true);
    connect.properties.request_response_information = Some(true);
    connack_of(Client::open(broker.address(), Version::V5), &connect, |connack| {
        let properties = connack.properties;
        assert_eq!(properties.maximum_qos, Some(QoS::AtLeastOnce));
        assert_eq!(properties.retain_available, Some(false));
        assert_eq!(properties.wildcard_available, Some(false));
        assert_eq!(properties.subscription_ids_available, Some(false));
        assert_eq!(properties.shared_available, Some(false));
        assert_eq!(properties.response_information, Some("resp/ann/"));
    });
    let breaches: [(&[u8], ReasonCode); 4] = [
        (b"\x34\x06\x00\x01a\x00\x01\x00", ReasonCode::QoSNotSupported),
        (b"\x31\x04\x00\x01a\x00", ReasonCode::RetainNotSupported),
        (b"\x82\x07\x00\x01\x00\x00\x01#\x00", ReasonCode::WildcardSubscriptionsNotSupported),
        (b"\x82\x09\x00\x01\x02\x0b\x01\x00\x01a\x00", ReasonCode::SubscriptionIdentifiersNotSupported),
    ];
    for (breach, reason) in breaches {
        let mut client = Client::connect(broker.address(), Version::V5, "breaker");
        client.try_send_bytes(breach);
        assert_eq!(client.end(), Ended::Told(reason));
    }
}

fn clients_are_sent_to_the_other_server(driver: Driver) {
    let broker = Setup::new(driver).with("redirect: (to: \"other:1883\", permanent: true)").start();
    let connect = Connect::new(Version::V5, "ann", true);
    connack_of(Client::open(broker.address(), Version::V5), &connect, |connack| {
        assert_eq!(connack.reason, ReasonCode::ServerMoved);
        assert_eq!(connack.properties.server_reference, Some("other:1883"));
    });
    let mut old = Client::open(broker.address(), Version::V311);
    let (_, reason) = old.introduce(&Connect::new(Version::V311, "bob", true));
    assert_eq!(reason, ReasonCode::ServerUnavailable);
    assert_eq!(old.end(), Ended::Silently);
}

fn clients_are_sent_to_the_other_server_when_the_broker_stops(driver: Driver) {
    let broker = Setup::new(driver).with("redirect: (to: \"other:1883\", when: stopping)").start();
    let mut client = Client::connect(broker.address(), Version::V5, "ann");
    broker.signal(Signal::TERM);
    assert_eq!(client.end(), Ended::Told(ReasonCode::UseAnotherServer));
}

fn payloads_are_looked_at(driver: Driver) {
    let broker = Setup::new(driver).with("check_payload_format: true").start();
    let mut client = Client::connect(broker.address(), Version::V5, "ann");
    client.send_bytes(b"\x30\x07\x00\x01a\x02\x01\x01\xff");
    assert_eq!(client.end(), Ended::Told(ReasonCode::PayloadFormatInvalid));
}
