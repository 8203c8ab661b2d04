//! A foreign client library agrees: what our own codec might get wrong on both sides, rumqttc would not.

use crate::broker::{Driver, PATIENCE, Setup};
use std::time::Duration;

crate::on_both_drivers![rumqttc_speaks_3_1_1, rumqttc_speaks_5];

const MESSAGES: usize = 30;

fn rumqttc_speaks_3_1_1(driver: Driver) {
    use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
    let broker = Setup::new(driver).shards(2).start();
    let mut options = MqttOptions::new("rumqttc", "127.0.0.1", broker.address().port());
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut connection) = Client::new(options, 100);
    client.subscribe("check/+", QoS::ExactlyOnce).expect("the queue has room");
    let mut got = Vec::new();
    while got.len() < MESSAGES {
        let event = connection.recv_timeout(PATIENCE).expect("events keep coming").expect("no error");
        match event {
            Event::Incoming(Packet::SubAck(_)) => {
                for n in 0..MESSAGES {
                    let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][n % 3];
                    client.publish(format!("check/{}", n % 3), qos, false, vec![n as u8]).expect("room");
                }
            }
            Event::Incoming(Packet::Publish(publish)) => got.push((publish.qos as usize, publish.payload[0])),
            _ => {}
        }
    }
    assert_in_order(&got);
}

fn rumqttc_speaks_5(driver: Driver) {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
    use rumqttc::v5::{Client, Event, MqttOptions};
    let broker = Setup::new(driver).shards(2).start();
    let mut options = MqttOptions::new("rumqttc", "127.0.0.1", broker.address().port());
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut connection) = Client::new(options, 100);
    client.subscribe("check/+", QoS::ExactlyOnce).expect("the queue has room");
    let user = vec![("b".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())];
    let sent = PublishProperties {
        payload_format_indicator: Some(1),
        response_topic: Some("answers".to_owned()),
        correlation_data: Some("x".into()),
        user_properties: user,
        content_type: Some("text/plain".to_owned()),
        ..PublishProperties::default()
    };
    let mut got = Vec::new();
    while got.len() < MESSAGES {
        let event = connection.recv_timeout(PATIENCE).expect("events keep coming").expect("no error");
        match event {
            Event::Incoming(Packet::SubAck(_)) => {
                for n in 0..MESSAGES {
                    let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][n % 3];
                    let topic = format!("check/{}", n % 3);
                    client
                        .publish_with_properties(topic, qos, false, vec![n as u8], sent.clone())
                        .expect("room");
                }
            }
            Event::Incoming(Packet::Publish(publish)) => {
                assert_eq!(publish.properties.as_ref(), Some(&sent), "every property, in order");
                got.push((publish.qos as usize, publish.payload[0]));
            }
            _ => {}
        }
    }
    assert_in_order(&got);
}

/// Every message once, in publish order within each topic.
fn assert_in_order(got: &[(usize, u8)]) {
    for qos in 0..3 {
        let of_qos: Vec<u8> = got.iter().filter(|(at, _)| *at == qos).map(|(_, n)| *n).collect();
        let expected: Vec<u8> = (0..MESSAGES as u8).filter(|n| usize::from(n % 3) == qos).collect();
        assert_eq!(of_qos, expected);
    }
}
