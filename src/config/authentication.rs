//! The configuration of users: who they are, and whether everybody else may connect too.

use super::error::ConfigError;
use super::settings::{ProtocolVersion, Settings};
use crate::auth::{Verifier, prepare_name};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Who may connect.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthenticationSettings {
    /// Users with a password.
    pub users: Vec<User>,
}

/// One user.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// What it is called.
    pub name: String,
    /// The keys of its password, as `shardmq hash-password` prints them.
    pub scram_sha_256: Verifier,
}

impl AuthenticationSettings {
    /// The users by their prepared names.
    ///
    /// # Errors
    /// A name that is none, or that two users have.
    pub fn users(&self) -> Result<BTreeMap<String, Verifier>, ConfigError> {
        let refused = |name: &str, what: &str| {
            Err(ConfigError::Refused(format!("authentication.users: {name:?} {what}")))
        };
        let mut users = BTreeMap::new();
        for user in &self.users {
            let Some(name) = prepare_name(&user.name) else {
                return refused(&user.name, "is no user name: it is empty or has control characters");
            };
            if users.insert(name, user.scram_sha_256.clone()).is_some() {
                return refused(&user.name, "is there twice");
            }
        }
        Ok(users)
    }
}

/// Whether clients must authenticate.
pub fn is_required(settings: &Settings) -> bool {
    !settings.authentication.users.is_empty() && settings.allow_anonymous != Some(true)
}

/// Refuses users that are not right, and listeners that let anyone in unsaid, or nobody.
pub fn check(settings: &Settings) -> Result<(), ConfigError> {
    settings.authentication.users()?;
    let required = is_required(settings);
    for listener in &settings.listeners {
        let address = listener.address;
        let only_v3 = listener.versions.as_ref().is_some_and(|all| !all.contains(&ProtocolVersion::V5));
        let refused = match settings.allow_anonymous {
            Some(true) => None,
            _ if required && only_v3 => Some(format!(
                "listener {address} accepts no MQTT 5, and only MQTT 5 clients can authenticate: nobody could \
                 connect; add V5 to its `versions`, or set `allow_anonymous: true`"
            )),
            _ if required => None,
            None if address.ip().is_loopback() => None,
            None => Some(format!(
                "listener {address} can be reached from other machines and no authentication is configured: \
                 set `authentication: (users: […])`, or `allow_anonymous: true` if anyone may connect, \
                 or listen on a loopback address such as 127.0.0.1:{}",
                address.port()
            )),
            Some(false) => Some(format!(
                "listener {address}: `allow_anonymous: false` needs authentication, and none is configured: \
                 nobody could connect"
            )),
        };
        if let Some(why) = refused {
            return Err(ConfigError::Refused(why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use std::path::Path;

    const KEYS: &str = "4096$W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=$wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    fn settings(fields: &str) -> Settings {
        let text = format!("({})", fields.replace("KEYS", &format!("scram_sha_256: {KEYS:?}")));
        parse(&text, Path::new("test.ron")).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn refusal(fields: &str) -> String {
        check(&settings(fields)).expect_err(fields).to_string()
    }

    #[test]
    fn users_are_known_by_their_prepared_names() {
        let settings = settings("authentication: (users: [(name: \"ann\", KEYS), (name: \"Ⅸ\", KEYS)])");
        check(&settings).expect("right");
        let users = settings.authentication.users().expect("right");
        assert_eq!(users.keys().collect::<Vec<_>>(), ["IX", "ann"]);
        assert_eq!(users["ann"].to_string(), KEYS);
        for (names, why) in [
            ("(name: \"IX\", KEYS), (name: \"Ⅸ\", KEYS)", "twice"),
            ("(name: \"\", KEYS)", "no user name"),
            ("(name: \"\\u{7}\", KEYS)", "no user name"),
        ] {
            let error = refusal(&format!("authentication: (users: [{names}])"));
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_wrong_verifier_is_named_without_its_text() {
        let text = "(authentication: (users: [(name: \"ann\", scram_sha_256: \"secret\")]))";
        let error = parse(text, Path::new("test.ron")).expect_err("no verifier").to_string();
        assert!(error.contains("authentication.users[0].scram_sha_256"), "{error}");
        assert!(error.contains("hash-password") && !error.contains("\"secret\""), "{error}");
    }

    #[test]
    fn users_open_the_network_and_close_it_to_strangers() {
        let users = "authentication: (users: [(name: \"ann\", KEYS)])";
        let network = "listeners: [(address: \"0.0.0.0:1883\")]";
        for (anonymous, required) in [("None", true), ("Some(false)", true), ("Some(true)", false)] {
            let settings = settings(&format!("{users}, {network}, allow_anonymous: {anonymous}"));
            check(&settings).expect("users are there");
            assert_eq!(is_required(&settings), required, "{anonymous}");
        }
        assert!(is_required(&settings(users)), "on loopback too");
        assert!(!is_required(&settings("")));
        let only_v3 = "listeners: [(address: \"127.0.0.1:1883\", versions: [V3_1_1])]";
        assert!(refusal(&format!("{users}, {only_v3}")).contains("no MQTT 5"));
        check(&settings(&format!("{users}, {only_v3}, allow_anonymous: true"))).expect("strangers may");
    }
}
