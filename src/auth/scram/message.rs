//! The messages of a SCRAM client (RFC 5802 section 7), taken apart.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The first message of a client: who it is.
#[derive(PartialEq, Eq, Debug)]
pub struct ClientFirst<'a> {
    /// What the last message repeats in base64: the part before `bare`, commas included.
    pub gs2_header: &'a str,
    /// The rest, which is signed.
    pub bare: &'a str,
    /// Its name, decoded but not prepared.
    pub user: String,
    /// Its nonce.
    pub nonce: &'a str,
}

/// The last message of a client: its proof.
#[derive(PartialEq, Eq, Debug)]
pub struct ClientFinal<'a> {
    /// What is signed of it.
    pub without_proof: &'a str,
    /// The header of the first message, as it is sent again.
    pub gs2_header: Vec<u8>,
    /// Both nonces.
    pub nonce: &'a str,
    /// The proof.
    pub proof: Vec<u8>,
}

impl<'a> ClientFirst<'a> {
    /// Takes a message apart; an error says what is wrong with it.
    pub fn parse(data: &'a [u8]) -> Result<ClientFirst<'a>, &'static str> {
        let text = std::str::from_utf8(data).map_err(|_| "SCRAM: not UTF-8")?;
        let mut parts = text.splitn(3, ',');
        let mut part = || parts.next().ok_or("SCRAM: the first message is cut short");
        let (binding, acts_as, bare) = (part()?, part()?, part()?);
        match binding {
            "n" | "y" => {}
            _ if binding.starts_with("p=") => return Err("SCRAM: channel binding is not offered"),
            _ => return Err("SCRAM: no channel binding flag"),
        }
        let mut attributes = bare.split(',');
        // Whatever else stands first is an extension that must be understood ("m="), or no SCRAM.
        let user = attributes.next().and_then(|name| name.strip_prefix("n="));
        let user = decode_name(user.ok_or("SCRAM: no user name")?)?;
        let nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r="));
        let nonce = nonce.filter(|nonce| is_nonce(nonce)).ok_or("SCRAM: no nonce")?;
        if !acts_as.is_empty() {
            let other = acts_as.strip_prefix("a=").ok_or("SCRAM: no authorization identity")?;
            if decode_name(other)? != user {
                return Err("SCRAM: a client acts as itself only");
            }
        }
        let gs2_header = &text[..text.len() - bare.len()];
        Ok(ClientFirst { gs2_header, bare, user, nonce })
    }
}

impl<'a> ClientFinal<'a> {
    /// Takes a message apart; an error says what is wrong with it.
    pub fn parse(data: &'a [u8]) -> Result<ClientFinal<'a>, &'static str> {
        let text = std::str::from_utf8(data).map_err(|_| "SCRAM: not UTF-8")?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or("SCRAM: no proof")?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|binding| binding.strip_prefix("c="));
        let nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r="));
        let (Some(binding), Some(nonce)) = (binding, nonce) else {
            return Err("SCRAM: no channel binding or nonce in the last message");
        };
        let decode = |text: &str| BASE64.decode(text).map_err(|_| "SCRAM: not base64");
        Ok(ClientFinal { without_proof, gs2_header: decode(binding)?, nonce, proof: decode(proof)? })
    }
}

/// `saslname`: comma and equals sign are written `=2C` and `=3D`.
fn decode_name(text: &str) -> Result<String, &'static str> {
    let mut pieces = text.split('=');
    let mut name = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (sign, rest) = match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err("SCRAM: user name with a lone equals sign"),
        };
        name.push(sign);
        name.push_str(rest);
    }
    if name.is_empty() { Err("SCRAM: empty user name") } else { Ok(name) }
}

/// Printable characters, and no comma.
fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, 0x21..=0x2b | 0x2d..=0x7e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded() {
        let user = |text: &str| {
            let message = format!("n,,n={text},r=abc");
            ClientFirst::parse(message.as_bytes()).map(|first| first.user)
        };
        assert_eq!(user("ann"), Ok("ann".to_owned()));
        assert_eq!(user("a=2Cb=3Dc=3D=2C"), Ok("a,b=c=,".to_owned()));
        for wrong in ["", "a=", "a=2c", "=2", "a=b"] {
            assert!(user(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_first_message_has_header_name_and_nonce() {
        let parsed = ClientFirst::parse(b"y,a=ann,n=ann,r=n0,x=later").expect("right");
        assert_eq!((parsed.gs2_header, parsed.bare), ("y,a=ann,", "n=ann,r=n0,x=later"));
        for wrong in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=ann",
            "n,,n=ann,r=",
            "n,,n=ann,r=a\u{7f}",
            "n,,m=x,n=ann,r=abc",
            "n,,r=abc,n=ann",
            "p=tls-unique,,n=ann,r=abc",
            "x,,n=ann,r=abc",
            "n,a=bob,n=ann,r=abc",
            "n,bob,n=ann,r=abc",
        ] {
            assert!(ClientFirst::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(ClientFirst::parse(b"n,,n=\xff,r=abc").is_err());
    }

    #[test]
    fn a_last_message_has_binding_nonce_and_proof() {
        let parsed = ClientFinal::parse(b"c=biws,r=abc,x=y,p=AAEC").expect("right");
        assert_eq!((parsed.without_proof, parsed.nonce), ("c=biws,r=abc,x=y", "abc"));
        assert_eq!((&parsed.gs2_header[..], &parsed.proof[..]), (&b"n,,"[..], &[0, 1, 2][..]));
        for wrong in ["", "c=biws,r=abc", "r=abc,c=biws,p=AAEC", "c=b?ws,r=abc,p=AAEC", "c=biws,r=abc,p=A"] {
            assert!(ClientFinal::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
