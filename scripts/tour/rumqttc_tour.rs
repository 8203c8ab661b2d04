//! A tour of every MQTT feature that rumqttc speaks: 3.1.1 and 5, over TCP and WebSocket.
//!
//!     cargo run --example rumqttc_tour -- TCP_PORT WEBSOCKET_PORT
//!
//! Each stop is a function; it fails by a panic. What a broker may choose is not asserted, what the specification says is.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(10);
const QUIET: Duration = Duration::from_millis(400);

/// The ports of the broker.
#[derive(Clone, Copy)]
struct Ports {
    tcp: u16,
    web_socket: u16,
}

/// A stop and its name.
type Stop = (&'static str, fn(Ports));

/// A client id or topic level that no other stop uses.
fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("r{}-{}-{name}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The next event that `look` accepts; the others are passed over.
fn await_event<E, T>(events: &Receiver<E>, what: &str, mut look: impl FnMut(E) -> Option<T>) -> T {
    let end = Instant::now() + TIMEOUT;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let event = events.recv_timeout(left).unwrap_or_else(|_| panic!("no {what}"));
        if let Some(found) = look(event) {
            return found;
        }
    }
}

/// Passes on what comes in, until the connection ends: by its own DISCONNECT or the broker's close, it does not come back.
fn forward<E, X, P>(
    events: impl Iterator<Item = Result<E, X>>,
    sender: &Sender<P>,
    incoming: impl Fn(E) -> Option<P>,
) {
    for event in events {
        let Ok(event) = event else { return };
        if let Some(packet) = incoming(event)
            && sender.send(packet).is_err()
        {
            return;
        }
    }
}

/// No event that `look` accepts comes for a while.
fn await_none<E, T>(events: &Receiver<E>, mut look: impl FnMut(E) -> Option<T>) {
    let end = Instant::now() + QUIET;
    loop {
        match events.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(event) => assert!(look(event).is_none(), "nothing was to come"),
            Err(RecvTimeoutError::Timeout) => return,
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

mod v311 {
    use super::*;
    use rumqttc::{Client, Event, LastWill, MqttOptions, Packet, Publish, QoS, SubscribeFilter, Transport};

    /// A client with its event loop on a thread of its own.
    pub struct Tourist {
        pub client: Client,
        pub events: Receiver<Packet>,
        pub session_present: bool,
    }

    pub fn options(ports: Ports, web_socket: bool, name: &str) -> MqttOptions {
        let mut options = if web_socket {
            let mut options =
                MqttOptions::new(name, format!("ws://127.0.0.1:{}/mqtt", ports.web_socket), ports.web_socket);
            options.set_transport(Transport::Ws);
            options
        } else {
            MqttOptions::new(name, "127.0.0.1", ports.tcp)
        };
        options.set_keep_alive(Duration::from_secs(30)).set_max_packet_size(2_000_000, 2_000_000);
        options
    }

    pub fn connect(options: MqttOptions) -> Tourist {
        let (client, mut connection) = Client::new(options, 100);
        let (sender, events) = channel();
        thread::spawn(move || {
            forward(connection.iter(), &sender, |event| match event {
                Event::Incoming(packet) => Some(packet),
                Event::Outgoing(_) => None,
            });
        });
        let session_present = await_event(&events, "CONNACK", |packet| match packet {
            Packet::ConnAck(connack) => Some(connack.session_present),
            _ => None,
        });
        Tourist { client, events, session_present }
    }

    impl Tourist {
        pub fn subscribe(&self, filter: &str, qos: QoS) {
            self.client.subscribe(filter, qos).expect("the queue has room");
            await_event(&self.events, "SUBACK", |packet| matches!(packet, Packet::SubAck(_)).then_some(()));
        }

        pub fn publish(&self, topic: &str, qos: QoS, retain: bool, payload: impl Into<Vec<u8>>) {
            self.client.publish(topic, qos, retain, payload).expect("the queue has room");
            match qos {
                QoS::AtMostOnce => {}
                QoS::AtLeastOnce => await_event(&self.events, "PUBACK", |packet| {
                    matches!(packet, Packet::PubAck(_)).then_some(())
                }),
                QoS::ExactlyOnce => await_event(&self.events, "PUBCOMP", |packet| {
                    matches!(packet, Packet::PubComp(_)).then_some(())
                }),
            }
        }

        pub fn next(&self) -> Publish {
            await_event(&self.events, "message", |packet| match packet {
                Packet::Publish(publish) => Some(publish),
                _ => None,
            })
        }

        pub fn hears_nothing(&self) {
            await_none(&self.events, |packet| matches!(packet, Packet::Publish(_)).then_some(()));
        }
    }

    pub fn every_qos_and_transport(ports: Ports) {
        for web_socket in [false, true] {
            let topic = unique("order");
            let subscriber = connect(options(ports, web_socket, &unique("sub")));
            let publisher = connect(options(ports, !web_socket, &unique("pub")));
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                subscriber.subscribe(&format!("{topic}/{}", qos as u8), qos);
                for number in 0..50u8 {
                    publisher.publish(&format!("{topic}/{}", qos as u8), qos, false, [number]);
                }
                for number in 0..50 {
                    let message = subscriber.next();
                    assert_eq!((message.payload[0], message.qos), (number, qos));
                }
            }
            let large: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
            publisher.publish(&format!("{topic}/1"), QoS::AtLeastOnce, false, large.clone());
            assert_eq!(subscriber.next().payload, large);
            subscriber.client.disconnect().expect("the queue has room");
            publisher.client.disconnect().expect("the queue has room");
        }
    }

    pub fn sessions_retained_and_wills(ports: Ports) {
        let (name, topic) = (unique("durable"), unique("kept"));
        let durable = |name: &str| {
            let mut options = options(ports, false, name);
            options.set_clean_session(false);
            options
        };
        let first = connect(durable(&name));
        assert!(!first.session_present);
        first.subscribe(&format!("{topic}/#"), QoS::AtLeastOnce);
        first.client.disconnect().expect("the queue has room");
        let publisher = connect(options(ports, false, &unique("pub")));
        for number in 0..5u8 {
            publisher.publish(&format!("{topic}/live"), QoS::AtLeastOnce, number == 4, [number]);
        }
        let again = connect(durable(&name));
        assert!(again.session_present);
        for number in 0..5 {
            let message = again.next();
            assert_eq!((message.payload[0], message.retain), (number, false));
        }
        let late = connect(options(ports, false, &unique("late")));
        late.client
            .subscribe_many([SubscribeFilter::new(format!("{topic}/+"), QoS::AtLeastOnce)])
            .expect("the queue has room");
        let kept = late.next();
        assert_eq!((kept.payload[0], kept.retain), (4, true));
        publisher.publish(&format!("{topic}/live"), QoS::AtLeastOnce, true, []);
        assert!(again.next().payload.is_empty());
        // The second client takes the place of the first, whose will is due.
        let mut mortal = options(ports, false, &unique("mortal"));
        mortal.set_last_will(LastWill::new(format!("{topic}/will"), "gone", QoS::AtLeastOnce, false));
        let first = connect(mortal.clone());
        let second = connect(mortal);
        assert_eq!(again.next().payload, "gone");
        second.client.disconnect().expect("the queue has room");
        again.hears_nothing();
        drop(first);
        again.client.unsubscribe(format!("{topic}/#")).expect("the queue has room");
        await_event(&again.events, "UNSUBACK", |packet| matches!(packet, Packet::UnsubAck(_)).then_some(()));
        publisher.publish(&format!("{topic}/live"), QoS::AtLeastOnce, false, "after");
        again.hears_nothing();
    }
}

mod v5 {
    use super::*;
    use rumqttc::Transport;
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{
        ConnAck, ConnectProperties, Filter, LastWill, LastWillProperties, Packet, PubAckReason, Publish,
        PublishProperties, RetainForwardRule, SubscribeProperties, SubscribeReasonCode, UnsubAckReason,
    };
    use rumqttc::v5::{Client, Event, MqttOptions};

    pub struct Tourist {
        client: Client,
        events: Receiver<Packet>,
        connack: ConnAck,
    }

    fn options(ports: Ports, web_socket: bool, name: &str) -> MqttOptions {
        let mut options = if web_socket {
            let mut options =
                MqttOptions::new(name, format!("ws://127.0.0.1:{}/mqtt", ports.web_socket), ports.web_socket);
            options.set_transport(Transport::Ws);
            options
        } else {
            MqttOptions::new(name, "127.0.0.1", ports.tcp)
        };
        options.set_keep_alive(Duration::from_secs(30));
        options.set_max_packet_size(Some(2_000_000));
        options
    }

    fn connect(options: MqttOptions) -> Tourist {
        let (client, mut connection) = Client::new(options, 100);
        let (sender, events) = channel();
        thread::spawn(move || {
            forward(connection.iter(), &sender, |event| match event {
                Event::Incoming(packet) => Some(packet),
                Event::Outgoing(_) => None,
            });
        });
        let connack = await_event(&events, "CONNACK", |packet| match packet {
            Packet::ConnAck(connack) => Some(connack),
            _ => None,
        });
        Tourist { client, events, connack }
    }

    fn joined(ports: Ports) -> Tourist {
        connect(options(ports, false, &unique("client")))
    }

    impl Tourist {
        fn subscribe(&self, filter: Filter, id: Option<usize>) -> Vec<SubscribeReasonCode> {
            let properties = SubscribeProperties { id, user_properties: vec![("k".into(), "v".into())] };
            self.client.subscribe_many_with_properties([filter], properties).expect("the queue has room");
            await_event(&self.events, "SUBACK", |packet| match packet {
                Packet::SubAck(suback) => Some(suback.return_codes),
                _ => None,
            })
        }

        fn publish(
            &self,
            topic: &str,
            retain: bool,
            payload: &str,
            properties: PublishProperties,
        ) -> PubAckReason {
            self.client
                .publish_with_properties(topic, QoS::AtLeastOnce, retain, payload.to_owned(), properties)
                .expect("the queue has room");
            await_event(&self.events, "PUBACK", |packet| match packet {
                Packet::PubAck(puback) => Some(puback.reason),
                _ => None,
            })
        }

        fn say(&self, topic: &str, payload: &str) -> PubAckReason {
            self.publish(topic, false, payload, PublishProperties::default())
        }

        fn next(&self) -> Publish {
            await_event(&self.events, "message", |packet| match packet {
                Packet::Publish(publish) => Some(publish),
                _ => None,
            })
        }

        fn text(&self) -> String {
            String::from_utf8(self.next().payload.to_vec()).expect("text")
        }

        fn hears_nothing(&self) {
            await_none(&self.events, |packet| matches!(packet, Packet::Publish(_)).then_some(()));
        }
    }

    pub fn every_transport(ports: Ports) {
        for web_socket in [false, true] {
            let topic = unique("order");
            let subscriber = connect(options(ports, web_socket, &unique("sub")));
            let publisher = connect(options(ports, !web_socket, &unique("pub")));
            for (code, qos) in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].into_iter().enumerate() {
                let granted = subscriber.subscribe(Filter::new(format!("{topic}/{code}"), qos), None);
                assert_eq!(granted, [SubscribeReasonCode::Success(qos)]);
                for number in 0..50u8 {
                    publisher
                        .client
                        .publish(format!("{topic}/{code}"), qos, false, vec![number])
                        .expect("room");
                }
                for number in 0..50 {
                    assert_eq!(subscriber.next().payload[0], number);
                }
            }
        }
    }

    pub fn properties_and_options(ports: Ports) {
        let topic = unique("properties");
        let (client, other) = (joined(ports), joined(ports));
        let filter = Filter { nolocal: true, preserve_retain: true, ..Filter::new(&topic, QoS::AtLeastOnce) };
        client.subscribe(filter, Some(99));
        client.say(&topic, "own");
        let sent = PublishProperties {
            payload_format_indicator: Some(1),
            message_expiry_interval: Some(600),
            topic_alias: Some(1),
            response_topic: Some("answers/here".into()),
            correlation_data: Some((0..=255u8).collect::<Vec<_>>().into()),
            user_properties: vec![
                ("b".into(), "2".into()),
                ("a".into(), "1".into()),
                ("b".into(), "3".into()),
            ],
            content_type: Some("text/plain".into()),
            ..Default::default()
        };
        other.publish(&topic, true, "whole", sent.clone());
        let message = client.next();
        let got = message.properties.clone().expect("properties");
        assert!(message.retain && message.payload == "whole");
        assert_eq!(got.subscription_identifiers, [99]);
        assert_eq!(got.user_properties, sent.user_properties);
        assert_eq!(got.correlation_data, sent.correlation_data);
        assert_eq!((got.response_topic, got.content_type), (sent.response_topic, sent.content_type));
        assert!((598..=600).contains(&got.message_expiry_interval.expect("it expires")));
        // The alias stands for the topic from now on.
        let aliased = PublishProperties { topic_alias: Some(1), ..Default::default() };
        other.publish("", false, "by alias", aliased);
        assert_eq!(client.text(), "by alias");
        let rule =
            |retain_forward_rule| Filter { retain_forward_rule, ..Filter::new(&topic, QoS::AtLeastOnce) };
        client.subscribe(rule(RetainForwardRule::OnNewSubscribe), None);
        client.subscribe(rule(RetainForwardRule::Never), None);
        client.hears_nothing();
        client.subscribe(rule(RetainForwardRule::OnEverySubscribe), None);
        assert_eq!(client.text(), "whole");
    }

    pub fn sessions_and_expiry(ports: Ports) {
        let (name, topic) = (unique("durable"), unique("resume"));
        let durable = || {
            let mut options = options(ports, false, &name);
            options.set_clean_start(false).set_session_expiry_interval(Some(60)).set_receive_maximum(Some(2));
            options
        };
        let first = connect(durable());
        assert!(!first.connack.session_present);
        first.subscribe(Filter::new(&topic, QoS::AtLeastOnce), None);
        first.client.disconnect().expect("the queue has room");
        let publisher = joined(ports);
        let expires =
            |seconds| PublishProperties { message_expiry_interval: Some(seconds), ..Default::default() };
        publisher.publish(&topic, false, "short", expires(1));
        for number in 0..10 {
            publisher.publish(&topic, false, &number.to_string(), expires(100));
        }
        thread::sleep(Duration::from_millis(2_100));
        let again = connect(durable());
        assert!(again.connack.session_present);
        for number in 0..10 {
            assert_eq!(again.text(), number.to_string());
        }
    }

    pub fn wills(ports: Ports) {
        let topic = unique("will");
        let watcher = joined(ports);
        watcher.subscribe(Filter::new(format!("{topic}/#"), QoS::AtLeastOnce), None);
        for delay in [0, 1] {
            let mut options = options(ports, false, &unique("mortal"));
            let properties = LastWillProperties {
                delay_interval: Some(delay),
                payload_format_indicator: Some(1),
                message_expiry_interval: Some(50),
                content_type: Some("text/plain".into()),
                response_topic: None,
                correlation_data: None,
                user_properties: vec![("k".into(), "v".into())],
            };
            let will =
                LastWill::new(format!("{topic}/{delay}"), "gone", QoS::AtLeastOnce, false, Some(properties));
            options.set_last_will(will).set_session_expiry_interval(Some(60));
            let mortal = connect(options.clone());
            // Another connection of the id that ends without DISCONNECT would silence it: a breach ends this one.
            let started = Instant::now();
            mortal.client.publish("", QoS::AtLeastOnce, false, "no topic").expect("the queue has room");
            let message = watcher.next();
            assert!(started.elapsed() >= Duration::from_millis(900) * delay);
            assert_eq!(message.payload, "gone");
            let properties = message.properties.expect("properties");
            assert_eq!(properties.content_type.as_deref(), Some("text/plain"));
            assert_eq!(properties.user_properties, [("k".to_owned(), "v".to_owned())]);
        }
    }

    pub fn shared_and_overlapping(ports: Ports) {
        let topic = unique("jobs");
        let members: Vec<Tourist> = (0..5).map(|_| joined(ports)).collect();
        for member in &members {
            member.subscribe(Filter::new(format!("$share/workers/{topic}/#"), QoS::AtLeastOnce), None);
        }
        let publisher = joined(ports);
        for number in 0..100 {
            assert_eq!(
                publisher.say(&format!("{topic}/{}", number % 7), &number.to_string()),
                PubAckReason::Success
            );
        }
        thread::sleep(QUIET);
        let mut all = Vec::new();
        for member in &members {
            let share: Vec<u32> = member
                .events
                .try_iter()
                .filter_map(|packet| match packet {
                    Packet::Publish(publish) => Some(publish),
                    _ => None,
                })
                .map(|publish| String::from_utf8_lossy(&publish.payload).parse().expect("a number"))
                .collect();
            assert!((15..=25).contains(&share.len()), "{}", share.len());
            all.extend(share);
        }
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        let client = joined(ports);
        // rumqttc 0.25 counts one byte too many for each identifier, and would read two of three.
        for (id, filter) in [(1, "+"), (2, "#")] {
            client.subscribe(Filter::new(format!("{topic}-all/{filter}"), QoS::AtLeastOnce), Some(id));
        }
        publisher.say(&format!("{topic}-all/x"), "once");
        let mut ids = client.next().properties.expect("properties").subscription_identifiers;
        ids.sort_unstable();
        assert_eq!(ids, [1, 2]);
        client.hears_nothing();
    }

    pub fn reasons_and_limits(ports: Ports) {
        let topic = unique("nobody");
        let mut small = options(ports, false, "");
        let mut properties = ConnectProperties::new();
        properties.max_packet_size = Some(200);
        properties.request_response_info = Some(1);
        properties.topic_alias_max = Some(3);
        properties.user_properties = vec![("k".into(), "v".into())];
        small.set_connect_properties(properties);
        let small = connect(small);
        let told = small.connack.properties.clone().expect("properties");
        assert!(told.assigned_client_identifier.is_some() && told.receive_max.is_some());
        let publisher = joined(ports);
        assert_eq!(publisher.say(&topic, "x"), PubAckReason::NoMatchingSubscribers);
        small.subscribe(Filter::new(&topic, QoS::AtLeastOnce), None);
        publisher.say(&topic, &"x".repeat(500));
        for number in 0..20 {
            publisher.say(&topic, &number.to_string());
        }
        for number in 0..20 {
            assert_eq!(small.text(), number.to_string(), "what is too large passes by");
        }
        for expected in [UnsubAckReason::Success, UnsubAckReason::NoSubscriptionExisted] {
            small.client.unsubscribe(&topic).expect("the queue has room");
            let reasons = await_event(&small.events, "UNSUBACK", |packet| match packet {
                Packet::UnsubAck(unsuback) => Some(unsuback.reasons),
                _ => None,
            });
            assert_eq!(reasons, [expected]);
        }
    }
}

fn main() {
    let ports: Vec<u16> = std::env::args().skip(1).map(|port| port.parse().expect("a port")).collect();
    let ports = Ports { tcp: ports[0], web_socket: ports[1] };
    let stops: [Stop; 8] = [
        ("3.1.1, every QoS and transport", v311::every_qos_and_transport),
        ("3.1.1, sessions, retained and wills", v311::sessions_retained_and_wills),
        ("5, every transport", v5::every_transport),
        ("5, properties and options", v5::properties_and_options),
        ("5, sessions and expiry", v5::sessions_and_expiry),
        ("5, wills", v5::wills),
        ("5, shared and overlapping", v5::shared_and_overlapping),
        ("5, reasons and limits", v5::reasons_and_limits),
    ];
    for (name, stop) in stops {
        stop(ports);
        println!("ok: rumqttc, {name}");
    }
}
