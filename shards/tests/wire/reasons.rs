//! Reason codes: numbers, where they may stand, what v3 is told instead.

use shardmq_shards::wire::{ConnectReturnCode, PacketType, ReasonCode, Violation};

#[test]
fn every_number_is_its_code_or_none() {
    let defined: Vec<u8> =
        (0..=u8::MAX).filter_map(|n| ReasonCode::try_from(n).ok()).map(|code| code as u8).collect();
    let expected: Vec<u8> =
        [0x00, 0x01, 0x02, 0x04, 0x10, 0x11, 0x18, 0x19].into_iter().chain(0x80..=0xa2).collect();
    assert_eq!(defined, expected);
    assert_eq!(ReasonCode::try_from(0x03), Err(0x03));
}

/// Section 2.4, table 2-6, counted by its last column.
#[test]
fn codes_stand_where_the_table_lets_them() {
    let standing = |packet: PacketType| {
        ReasonCode::ALL
            .iter()
            .filter(|code| code.stands_in(packet))
            .map(|code| *code as u8)
            .collect::<Vec<_>>()
    };
    assert_eq!(standing(PacketType::Connack).len(), 22);
    assert_eq!(standing(PacketType::Puback), [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]);
    assert_eq!(standing(PacketType::Pubrec), standing(PacketType::Puback));
    assert_eq!(standing(PacketType::Pubrel), [0x00, 0x92]);
    assert_eq!(standing(PacketType::Pubcomp), [0x00, 0x92]);
    assert_eq!(
        standing(PacketType::Suback),
        [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2]
    );
    assert_eq!(standing(PacketType::Unsuback), [0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91]);
    assert_eq!(standing(PacketType::Disconnect).len(), 29);
    assert_eq!(standing(PacketType::Auth), [0x00, 0x18, 0x19]);
    assert_eq!(standing(PacketType::Publish), []);
}

#[test]
fn v3_is_told_the_nearest_of_its_five_refusals() {
    for (reason, code) in [
        (ReasonCode::Success, 0),
        (ReasonCode::UnsupportedProtocolVersion, 1),
        (ReasonCode::ClientIdentifierNotValid, 2),
        (ReasonCode::QuotaExceeded, 3),
        (ReasonCode::ServerUnavailable, 3),
        (ReasonCode::ServerBusy, 3),
        (ReasonCode::BadUserNameOrPassword, 4),
        (ReasonCode::NotAuthorized, 5),
    ] {
        assert_eq!(reason.to_connect_return() as u8, code);
    }
    for code in 0..=5 {
        let code = ConnectReturnCode::from_u8(code).expect("v3 defines 0 to 5");
        assert_eq!(code.to_reason().to_connect_return(), code);
    }
    assert_eq!(ConnectReturnCode::from_u8(6), None);
}

#[test]
fn a_violation_is_answered_with_an_error_and_says_its_clause() {
    for violation in Violation::ALL {
        let reason = violation.reason();
        assert!(reason.is_error(), "{violation:?}");
        let answers = [PacketType::Connack, PacketType::Disconnect];
        assert!(answers.iter().any(|packet| reason.stands_in(*packet)), "{violation:?} cannot be answered");
        let line = violation.to_string();
        assert!(line.ends_with(&format!("[{}]", violation.clause())) && !line.contains('\n'), "{line}");
    }
}
