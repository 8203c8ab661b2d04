//! The opening handshake of RFC 6455 section 4.2, with the subprotocol of MQTT 5 chapter 6.

use std::fmt;
use tungstenite::error::{Error, ProtocolError};
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::HeaderValue;

/// The subprotocol of MQTT 5 and 3.1.1 [MQTT-6.0.0-4].
const SUBPROTOCOL: &str = "mqtt";
/// What clients of MQTT 3.1 offer, which is older than the standard.
const SUBPROTOCOL_V31: &str = "mqttv3.1";
const SUBPROTOCOL_HEADER: &str = "Sec-WebSocket-Protocol";

/// Why a request is not upgraded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandshakeError {
    /// It is no HTTP request.
    NotHttp,
    /// Its head is longer than [`crate::base::limits::WEB_SOCKET_HEAD_BYTES_MAX`].
    TooLarge,
    /// It is HTTP without an upgrade to WebSocket.
    NoUpgrade,
    /// It asks for another WebSocket version than 13.
    Version,
    /// Its `Sec-WebSocket-Key` is missing or wrong.
    Key,
    /// It does not offer the subprotocol `mqtt`.
    Subprotocol,
    /// More follows the request, before it was answered.
    Pipelined,
}

impl HandshakeError {
    /// For a person: what is wrong and what to do.
    pub fn text(self) -> &'static str {
        match self {
            HandshakeError::NotHttp => {
                "this listener expects an HTTP request that upgrades to WebSocket; connect MQTT without WebSocket to another listener"
            }
            HandshakeError::TooLarge => "the HTTP request's head is too large",
            HandshakeError::NoUpgrade => "only requests that upgrade to WebSocket are served here",
            HandshakeError::Version => "only WebSocket version 13 is spoken",
            HandshakeError::Key => "Sec-WebSocket-Key must be 16 bytes in base64",
            HandshakeError::Subprotocol => "offer the WebSocket subprotocol `mqtt`",
            HandshakeError::Pipelined => "nothing may follow the request before it is answered",
        }
    }

    /// The HTTP answer, whole.
    fn answer(self) -> Vec<u8> {
        let (status, more) = match self {
            HandshakeError::TooLarge => ("431 Request Header Fields Too Large", ""),
            HandshakeError::NoUpgrade => ("426 Upgrade Required", "Upgrade: websocket\r\n"),
            HandshakeError::Version => ("426 Upgrade Required", "Sec-WebSocket-Version: 13\r\n"),
            _ => ("400 Bad Request", ""),
        };
        let text = self.text();
        format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\n{more}Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}\n",
            text.len() + 1
        )
        .into_bytes()
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// What the head of a request came to.
#[derive(Debug)]
pub(super) enum Shaken {
    /// It is not complete.
    Partial,
    /// It is accepted with this answer.
    Accepted {
        /// The HTTP answer, whole.
        answer: Vec<u8>,
        /// Only the subprotocol of MQTT 3.1 was offered.
        v31: bool,
    },
    /// It is refused with this answer.
    Refused(HandshakeError, Vec<u8>),
}

/// Answers the request at the start of `head`, which nothing may follow.
pub(super) fn answer(head: &[u8], bytes_max: usize) -> Shaken {
    let refused = |error: HandshakeError| Shaken::Refused(error, error.answer());
    let (bytes, request) = match Request::try_parse(head) {
        Ok(Some(whole)) => whole,
        Ok(None) if head.len() < bytes_max => return Shaken::Partial,
        Ok(None) => return refused(HandshakeError::TooLarge),
        Err(Error::Protocol(ProtocolError::WrongHttpMethod | ProtocolError::WrongHttpVersion)) => {
            return refused(HandshakeError::NoUpgrade);
        }
        Err(_) => return refused(HandshakeError::NotHttp),
    };
    if bytes < head.len() {
        return refused(HandshakeError::Pipelined);
    }
    let mut response = match create_response(&request) {
        Ok(response) => response,
        Err(Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader)) => {
            return refused(HandshakeError::Version);
        }
        Err(Error::Protocol(
            ProtocolError::MissingSecWebSocketKey | ProtocolError::InvalidSecWebSocketKey,
        )) => return refused(HandshakeError::Key),
        Err(_) => return refused(HandshakeError::NoUpgrade),
    };
    let Some(subprotocol) = [SUBPROTOCOL, SUBPROTOCOL_V31].into_iter().find(|name| offers(&request, name))
    else {
        return refused(HandshakeError::Subprotocol);
    };
    response.headers_mut().insert(SUBPROTOCOL_HEADER, HeaderValue::from_static(subprotocol));
    let mut answer = Vec::new();
    write_response(&mut answer, &response).expect("a vector takes everything, and the headers are text");
    Shaken::Accepted { answer, v31: subprotocol == SUBPROTOCOL_V31 }
}

fn offers(request: &Request, subprotocol: &str) -> bool {
    let offers = request.headers().get_all(SUBPROTOCOL_HEADER).iter();
    offers
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim() == subprotocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 8 * 1024;

    fn request(change: impl Fn(String) -> String) -> Shaken {
        let text = "GET /mqtt HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: x, mqtt\r\n\r\n";
        answer(change(text.to_owned()).as_bytes(), MAX)
    }

    fn refusal(change: impl Fn(String) -> String) -> (HandshakeError, String) {
        match request(change) {
            Shaken::Refused(error, answer) => (error, String::from_utf8(answer).expect("text")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_sample_of_the_rfc_is_accepted_with_its_key() {
        let Shaken::Accepted { answer, v31: false } = request(|text| text) else { panic!("accepted") };
        let answer = String::from_utf8(answer).expect("text").to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 101 "), "{answer}");
        assert!(
            answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"),
            "RFC 6455 section 1.3: {answer}"
        );
        assert!(answer.contains("sec-websocket-protocol: mqtt\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"));
    }

    #[test]
    fn a_cut_head_waits_up_to_its_limit() {
        assert!(matches!(request(|text| text[..text.len() - 2].to_owned()), Shaken::Partial));
        let (error, answer) = refusal(|text| {
            let mut long = text.replace("\r\n\r\n", "\r\nX: ");
            long.push_str(&"y".repeat(MAX));
            long
        });
        assert_eq!(error, HandshakeError::TooLarge);
        assert!(answer.starts_with("HTTP/1.1 431 "));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases: [(&str, &str, HandshakeError, &str); 8] = [
            ("GET", "\x10\0", HandshakeError::NotHttp, "400"),
            ("GET", "POST", HandshakeError::NoUpgrade, "426"),
            ("HTTP/1.1", "HTTP/1.0", HandshakeError::NoUpgrade, "426"),
            ("Upgrade: websocket\r\n", "", HandshakeError::NoUpgrade, "426"),
            ("Version: 13", "Version: 8", HandshakeError::Version, "426"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "short", HandshakeError::Key, "400"),
            ("x, mqtt", "mqttv5, MQTT", HandshakeError::Subprotocol, "400"),
            ("\r\n\r\n", "\r\n\r\nmore", HandshakeError::Pipelined, "400"),
        ];
        for (from, to, expected, status) in cases {
            let (error, answer) = refusal(|text| text.replace(from, to));
            assert_eq!(error, expected, "{from} → {to}");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            assert!(answer.contains(error.text()));
        }
    }
}
