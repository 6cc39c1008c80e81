//! Configuration as read. TOML; unknown keys are errors, so that a typing mistake is seen.

use crate::model::Model;
use base::id::{CtId, Mac};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// How practice systems authenticate (ANCL_CAUT_MANDATORY, ANCL_CAUT_MODE).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthentication {
    /// By client certificate (SOAP1): the safest, and the default.
    #[default]
    Certificate,
    /// By user and password inside TLS (SOAP2).
    Password,
    /// Not at all (SOAP3): only for a closed network.
    None,
}

/// Configuration of one instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the device, shown when pairing (MGM_KONN_HOSTNAME, at most 12 characters).
    #[serde(default = "hostname")]
    pub hostname: String,
    /// Address for practice systems (HTTPS).
    pub listen: SocketAddr,
    /// Base URL in `connector.sds`; by default made from `listen`.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Address for administration (HTTPS).
    pub listen_admin: SocketAddr,
    /// How practice systems authenticate.
    #[serde(default)]
    pub client_authentication: ClientAuthentication,
    /// Is the TI reachable (MGM_LU_ONLINE)?
    #[serde(default)]
    pub online: bool,
    /// Where the trust list is downloaded.
    #[serde(default)]
    pub tsl_url: Option<String>,
    /// Base URL of the VSDM intermediary, `https://host:port`.
    #[serde(default)]
    pub vsdm_url: Option<String>,
    /// Longest ReadVSD in seconds (MAXTIME_VSDM).
    #[serde(default = "thirty")]
    pub vsdm_max_seconds: u64,
    /// CTM_KEEP_ALIVE_INTERVAL in seconds, 1 to 10.
    #[serde(default = "ten")]
    pub keep_alive_seconds: u64,
    /// CTM_KEEP_ALIVE_TRY_COUNT, 3 to 10.
    #[serde(default = "three")]
    pub keep_alive_tries: u32,
    /// CARD_TIMEOUT_CARD in seconds.
    #[serde(default = "ten")]
    pub card_timeout_seconds: u64,
    /// EVT_MAX_TRY.
    #[serde(default = "three")]
    pub event_max_tries: u32,
    /// Terminals known from the start.
    #[serde(default)]
    pub terminals: Vec<TerminalConfig>,
    /// Who may do what, until changed through administration.
    #[serde(default)]
    pub model: Model,
}

/// A terminal added by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TerminalConfig {
    /// CtId.
    pub id: CtId,
    /// Host name.
    pub name: String,
    /// MAC address.
    pub mac: Mac,
    /// Address of its SICCT service.
    pub address: SocketAddr,
}

fn hostname() -> String {
    "LANGLAUF".into()
}

fn three() -> u32 {
    3
}

fn ten() -> u64 {
    10
}

fn thirty() -> u64 {
    30
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadConfig {
    /// Not TOML, or not ours.
    #[error("configuration: {0}")]
    Toml(#[from] toml::de::Error),
    /// A value out of its range.
    #[error("configuration: {0}")]
    Range(&'static str),
    /// The information model contradicts itself.
    #[error(transparent)]
    Model(#[from] crate::model::BadModel),
}

impl Config {
    /// Reads and checks a configuration.
    pub fn parse(text: &str) -> Result<Self, BadConfig> {
        let config: Self = toml::from_str(text)?;
        config.check()?;
        Ok(config)
    }

    /// Checks ranges and the model.
    pub fn check(&self) -> Result<(), BadConfig> {
        if !(1..=10).contains(&self.keep_alive_seconds) {
            return Err(BadConfig::Range("keep_alive_seconds must be 1 to 10"));
        }
        if !(3..=10).contains(&self.keep_alive_tries) {
            return Err(BadConfig::Range("keep_alive_tries must be 3 to 10"));
        }
        let name = self
            .hostname
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if self.hostname.is_empty() || self.hostname.len() > 12 || !name {
            return Err(BadConfig::Range(
                "hostname must have 1 to 12 letters, digits or minus",
            ));
        }
        if self.vsdm_max_seconds == 0 || self.card_timeout_seconds == 0 {
            return Err(BadConfig::Range("time limits must not be 0"));
        }
        self.model.validate()?;
        Ok(())
    }
}
