//! Queues larger than memory: what waits for a client that is away is on disk, and comes in order when it is back.

use crate::broker::{Broker, DataFolder, Driver, Setup};
use crate::client::Client;
use crate::misbehaviour::resident_bytes;
use shardmq_shards::wire::{Connect, QoS, Version};
use std::sync::Arc;
use std::time::Duration;

crate::on_both_drivers![
    sixty_four_megabytes_wait_on_disk_and_come_in_order_after_kill_9_too,
    without_a_queue_on_disk_what_memory_has_no_room_for_is_dropped,
];

const PAYLOAD_BYTES: usize = 16 * 1024;

/// What survives the process is all that is asked of the disk here.
fn setup(driver: Driver, data: &Arc<DataFolder>) -> Setup {
    Setup::new(driver).data(data).with("durability: os")
}

fn sleeper(broker: &Broker) -> (Client, bool) {
    let mut connect = Connect::new(Version::V5, "sleeper", false);
    connect.properties.session_expiry = Some(600);
    Client::connect_with(broker.address(), &connect)
}

/// So many messages with their numbers in front, all acknowledged.
fn publish(broker: &Broker, messages: u32) {
    let mut publisher = Client::connect(broker.address(), Version::V5, "publisher");
    let mut payload = vec![7; PAYLOAD_BYTES];
    let packet_id = |number: u32| (number % 1_000 + 1) as u16;
    for number in 0..messages {
        payload[..4].copy_from_slice(&number.to_be_bytes());
        publisher.send_publish("dreams", &payload, packet_id(number));
        if let Some(earlier) = number.checked_sub(32) {
            assert_eq!(publisher.puback_or_end(), Some(packet_id(earlier)));
        }
    }
    for number in messages.saturating_sub(32)..messages {
        assert_eq!(publisher.puback_or_end(), Some(packet_id(number)));
    }
}

fn receive(sleeper: &mut Client) -> u32 {
    let message = sleeper.receive();
    assert!(message.payload.len() == PAYLOAD_BYTES && message.payload[4..].iter().all(|byte| *byte == 7));
    u32::from_be_bytes(message.payload[..4].try_into().expect("four bytes"))
}

fn sixty_four_megabytes_wait_on_disk_and_come_in_order_after_kill_9_too(driver: Driver) {
    const MESSAGES: u32 = 4_096;
    let data = DataFolder::new();
    let broker = setup(driver, &data).start();
    let (mut client, _) = sleeper(&broker);
    client.subscribe("dreams", QoS::AtLeastOnce);
    client.disconnect();
    let before = resident_bytes(&broker);
    publish(&broker, MESSAGES);
    let grown = resident_bytes(&broker).saturating_sub(before);
    assert!(grown < 32 << 20, "a queue of 64 MiB made {grown} bytes resident");

    let (mut client, present) = sleeper(&broker);
    assert!(present);
    for number in 0..1_000 {
        assert_eq!(receive(&mut client), number);
    }
    broker.kill();
    let broker = setup(driver, &data).start();
    let (mut client, present) = sleeper(&broker);
    assert!(present);
    // What it had acknowledged last may not have been noted, and comes again.
    let first = receive(&mut client);
    assert!(first <= 1_000, "{first} messages are gone");
    for number in first + 1..MESSAGES {
        assert_eq!(receive(&mut client), number);
    }
    assert_eq!(client.receive_within(Duration::from_millis(100)), None);
}

fn without_a_queue_on_disk_what_memory_has_no_room_for_is_dropped(driver: Driver) {
    let data = DataFolder::new();
    let limits = "limits: (queue_bytes_max: \"256 KiB\", queue_disk_bytes_max: 0)";
    let broker = setup(driver, &data).with(limits).start();
    let (mut client, _) = sleeper(&broker);
    client.subscribe("dreams", QoS::AtLeastOnce);
    client.disconnect();
    publish(&broker, 100);
    let (mut client, present) = sleeper(&broker);
    assert!(present);
    for number in 0..15 {
        assert_eq!(receive(&mut client), number);
    }
    assert_eq!(client.receive_within(Duration::from_millis(100)), None);
}
