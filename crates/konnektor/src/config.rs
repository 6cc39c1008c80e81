//! Configuration as read. TOML; unknown keys are errors, so that a typing mistake is seen.

use crate::abuse::AlarmSettings;
use crate::ldap::LdapSettings;
use crate::lifetime::LifetimeSettings;
use crate::model::Model;
use crate::net::NetworkSettings;
use crate::protocol::LogSettings;
use crate::vpn::VpnSettings;
use crate::{Failure, Identities};
use asn1::X509;
use base::Code;
use base::id::{CtId, Mac};
use crypto::tls::Identity;
use identity::Role;
use pki::space::Origin;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    /// Folder of the state; relative to the folder of this file.
    #[serde(default = "state_folder")]
    pub store: PathBuf,
    /// Where the device's own identities lie.
    pub identities: IdentityFiles,
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
    /// Address of the pages for people (HTTPS); without it there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_pages: Option<SocketAddr>,
    /// SHA-256 of client certificates of administrators, hexadecimal. With one of them no password is asked for.
    #[serde(default)]
    pub admin_certificates: BTreeSet<String>,
    /// File with the administrator's first password; read as long as none is set.
    #[serde(default)]
    pub admin_password_file: Option<PathBuf>,
    /// How practice systems authenticate.
    #[serde(default)]
    pub client_authentication: ClientAuthentication,
    /// Is the TI reachable (MGM_LU_ONLINE)?
    #[serde(default)]
    pub online: bool,
    /// Where the trust list is downloaded.
    #[serde(default)]
    pub tsl_url: Option<String>,
    /// Where the trust list is downloaded from the Internet, if the TI is out of reach; in this order. Beside each lie
    /// `.sig` and `.ocsp` (A_21182). An address may name a host by its number, for the case that names cannot be resolved.
    #[serde(default)]
    pub tsl_internet_urls: Vec<String>,
    /// Where the revocation list of the VPN access services is downloaded (CERT_CRL_DOWNLOAD_ADDRESS).
    #[serde(default)]
    pub crl_urls: Vec<String>,
    /// Qualified signatures (MGM_LU_SAK): without them the trusted list of the BNetzA is not looked after.
    #[serde(default = "yes")]
    pub lu_sak: bool,
    /// Signatures: single, batch and comfort.
    #[serde(default)]
    pub signature: SignatureSettings,
    /// Certificates: how they are checked and watched.
    #[serde(default)]
    pub certificates: CertificateSettings,
    /// Logs: what is written, and how long it is kept.
    #[serde(default)]
    pub log: LogSettings,
    /// The lifetime extension of the device's certificates.
    #[serde(default)]
    pub lifetime: LifetimeSettings,
    /// Updates of the device itself.
    #[serde(default)]
    pub update: crate::update::UpdateSettings,
    /// The tunnel into the TI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpn: Option<VpnSettings>,
    /// The directory service for practice systems.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ldap: Option<LdapSettings>,
    /// The device's place in the practice's network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkSettings>,
    /// When unusually many operations raise an alarm.
    #[serde(default)]
    pub alarm: AlarmSettings,
    /// Base URL of the VSDM intermediary, `https://host:port`.
    #[serde(default)]
    pub vsdm_url: Option<String>,
    /// Longest ReadVSD in seconds (MAXTIME_VSDM).
    #[serde(default = "thirty")]
    pub vsdm_max_seconds: u64,
    /// TIMEOUT_TI_OFFLINE in days: so long the insurers' services may be out of reach before receipts say 6 instead of 3.
    /// 0 is never.
    #[serde(default)]
    pub vsdm_offline_days: u32,
    /// Update eGKs by themselves when they are inserted (AutoUpdateVSD): for which terminals, and on whose behalf.
    #[serde(default)]
    pub auto_update: Option<AutoUpdate>,
    /// May PINs of SM-B be stored, so that they open by themselves? See `docs/security.md` before.
    #[serde(default)]
    pub smb_unlock: bool,
    /// Folder with PINs of SM-B in files `smb-pin.<ICCSN>`, for those that are not stored; by default the one systemd
    /// hands over (`LoadCredentialEncrypted=`). Only with `smb_unlock`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smb_pin_folder: Option<PathBuf>,
    /// CTM_SERVICE_DISCOVERY_CYCLE in minutes: how often terminals that are missing are looked for; 0 is never.
    #[serde(default = "ten")]
    pub discovery_minutes: u64,
    /// Where terminals announce themselves (CTM_SERVICE_ANNOUNCEMENT_PORT).
    #[serde(default = "announcements")]
    pub announcements: SocketAddr,
    /// CTM_KEEP_ALIVE_INTERVAL in seconds, 1 to 10.
    #[serde(default = "ten")]
    pub keep_alive_seconds: u64,
    /// CTM_KEEP_ALIVE_TRY_COUNT, 3 to 10.
    #[serde(default = "three")]
    pub keep_alive_tries: u32,
    /// CARD_TIMEOUT_CARD in seconds.
    #[serde(default = "ten")]
    pub card_timeout_seconds: u64,
    /// EVT_MAX_TRY: failed attempts in a row, about ten seconds apart, after which an address is unsubscribed.
    #[serde(default = "twenty")]
    pub event_max_tries: u32,
    /// Terminals known from the start.
    #[serde(default)]
    pub terminals: Vec<TerminalConfig>,
    /// Who may do what, until changed through administration.
    #[serde(default)]
    pub model: Model,
}

/// The `SAK_*` parameters of gemSpec_Kon 4.1.8 (TIP1-A_4680).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignatureSettings {
    /// SAK_SIMPLE_SIGNATURE_MODE: also a single document over the secured channel from the gSMC-K (SE#2) instead of plainly
    /// (SE#1).
    pub single_secured: bool,
    /// SAK_COMFORT_SIGNATURE: may doctors sign without their PIN for a while? Only with client authentication.
    pub comfort: bool,
    /// SAK_COMFORT_SIGNATURE_MAX, 1 to 250 signatures.
    pub comfort_max: u8,
    /// SAK_COMFORT_SIGNATURE_TIMER, 1 to 24 hours from the entry of the PIN.
    pub comfort_hours: u8,
}

impl Default for SignatureSettings {
    fn default() -> Self {
        Self {
            single_secured: false,
            comfort: false,
            comfort_max: 100,
            comfort_hours: 6,
        }
    }
}

impl SignatureSettings {
    fn check(&self, authentication: ClientAuthentication) -> Result<(), BadConfig> {
        let rules = [
            (
                !self.comfort || authentication != ClientAuthentication::None,
                "signature.comfort needs client authentication (SAK_COMFORT_SIGNATURE)",
            ),
            (
                (1..=250).contains(&self.comfort_max),
                "signature.comfort_max must be 1 to 250",
            ),
            (
                (1..=24).contains(&self.comfort_hours),
                "signature.comfort_hours must be 1 to 24",
            ),
        ];
        match rules.into_iter().find(|(kept, _)| !kept) {
            Some((_, rule)) => Err(BadConfig::Range(rule)),
            None => Ok(()),
        }
    }
}

/// The `CERT_*` parameters of gemSpec_Kon 4.1.9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CertificateSettings {
    /// CERT_TSL_DEFAULT_GRACE_PERIOD_DAYS, 1 to 30: how long a trust list serves after its end.
    pub tsl_grace_days: u32,
    /// CERT_OCSP_DEFAULT_GRACE_PERIOD_NONQES, 0 to 20 minutes: how long an answer about a status serves.
    pub ocsp_grace_minutes: u32,
    /// CERT_OCSP_TIMEOUT_NONQES, 1 to 120 s.
    pub ocsp_timeout_seconds: u32,
    /// CERT_OCSP_TIMEOUT_QES, 1 to 120 s.
    pub ocsp_timeout_qes_seconds: u32,
    /// CERT_EXPIRATION_WARN_DAYS, 0 to 180; 0 is never.
    pub warn_days: u32,
    /// CERT_EXPIRATION_CARD_CHECK_DAYS, 0 to 365; 0 is never.
    pub check_days: u32,
    /// CERT_BNETZA_VL_UPDATE_INTERVAL, 1 to 168 h.
    pub vl_update_hours: u32,
}

impl Default for CertificateSettings {
    fn default() -> Self {
        Self {
            tsl_grace_days: 30,
            ocsp_grace_minutes: 10,
            ocsp_timeout_seconds: 10,
            ocsp_timeout_qes_seconds: 10,
            warn_days: 90,
            check_days: 1,
            vl_update_hours: 24,
        }
    }
}

impl CertificateSettings {
    /// How OCSP responders are asked.
    pub fn ocsp(&self) -> pki::Settings {
        let seconds = |number: u32| Duration::from_secs(number.into());
        pki::Settings {
            grace: seconds(self.ocsp_grace_minutes * 60),
            timeout: seconds(self.ocsp_timeout_seconds),
            timeout_qes: seconds(self.ocsp_timeout_qes_seconds),
        }
    }

    fn check(&self) -> Result<(), BadConfig> {
        let rules = [
            (
                (1..=30).contains(&self.tsl_grace_days),
                "tsl_grace_days must be 1 to 30",
            ),
            (
                self.ocsp_grace_minutes <= 20,
                "ocsp_grace_minutes must be 0 to 20",
            ),
            (
                (1..=120).contains(&self.ocsp_timeout_seconds),
                "ocsp_timeout_seconds must be 1 to 120",
            ),
            (
                (1..=120).contains(&self.ocsp_timeout_qes_seconds),
                "ocsp_timeout_qes_seconds must be 1 to 120",
            ),
            (self.warn_days <= 180, "warn_days must be 0 to 180"),
            (self.check_days <= 365, "check_days must be 0 to 365"),
            (
                (1..=168).contains(&self.vl_update_hours),
                "vl_update_hours must be 1 to 168",
            ),
        ];
        match rules.into_iter().find(|(kept, _)| !kept) {
            Some((_, rule)) => Err(BadConfig::Range(rule)),
            None => Ok(()),
        }
    }
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

/// PEM files of the device's identities (gSMC-K); relative to the folder of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityFiles {
    /// ID.AK.AUT on brainpoolP256r1: certificates, end entity first, and the key.
    pub ak_brainpool: PathBuf,
    /// ID.AK.AUT on P-256.
    pub ak_nist: PathBuf,
    /// ID.SAK.AUT.
    pub sak: PathBuf,
    /// ID.NK.VPN, if this device builds tunnels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nk: Option<PathBuf>,
    /// ID.AK.AUT with an RSA key, on a card that has both kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ak_rsa: Option<PathBuf>,
    /// ID.SAK.AUT with an RSA key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sak_rsa: Option<PathBuf>,
    /// ID.NK.VPN with an RSA key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nk_rsa: Option<PathBuf>,
    /// Certificate of the CA that certifies signers of trust lists.
    pub trust_anchor: PathBuf,
    /// Certificates of the TI's roots: they vouch for a trust anchor whose announcement was missed. Without them such a
    /// device needs a person with the lists in between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots: Option<PathBuf>,
    /// Object system of a gSMC-K as the simulator format has it: enciphers what an HBA signs in a batch. Without it doctors
    /// sign one document for each PIN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gsmc_k: Option<PathBuf>,
    /// Serial number of the gSMC-K.
    pub iccsn: String,
}

/// Who updates eGKs without being asked (FM_VSDM UC_02).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoUpdate {
    /// Terminals whose eGKs are updated.
    pub terminals: BTreeSet<CtId>,
    /// The tenant; one of its SM-B must be unlocked.
    pub mandant: base::id::MandantId,
}

fn state_folder() -> PathBuf {
    "state".into()
}

fn announcements() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 4742))
}

fn hostname() -> String {
    "LANGLAUF".into()
}

fn yes() -> bool {
    true
}

fn three() -> u32 {
    3
}

fn twenty() -> u32 {
    20
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

impl IdentityFiles {
    /// Reads all of them; `folder` is where relative paths start.
    pub fn load(&self, folder: &Path) -> Result<Identities, Failure> {
        let failed = |path: &Path, error: &dyn std::fmt::Display| {
            Failure::new(Code::INTERNAL, format!("{}: {error}", path.display()))
        };
        let text = |path: &Path| {
            let path = folder.join(path);
            std::fs::read_to_string(&path).map_err(|error| failed(&path, &error))
        };
        let identity = |path: &Path| Identity::from_pem(&text(path)?).map_err(|error| failed(path, &error));
        let anchor = crypto::pem::decode_all("CERTIFICATE", &text(&self.trust_anchor)?);
        let anchor = anchor.map_err(|error| failed(&self.trust_anchor, &error))?;
        let [anchor] = anchor.as_slice() else {
            return Err(failed(&self.trust_anchor, &"one certificate expected"));
        };
        let roots = match &self.roots {
            None => Vec::new(),
            Some(path) => crypto::pem::decode_all("CERTIFICATE", &text(path)?)
                .map_err(|error| failed(path, &error))?
                .iter()
                .map(|der| X509::parse(der).map_err(|error| failed(path, &error)))
                .collect::<Result<_, _>>()?,
        };
        let rsa = [
            (Role::AkAut, &self.ak_rsa),
            (Role::SakAut, &self.sak_rsa),
            (Role::NkVpn, &self.nk_rsa),
        ];
        let rsa = rsa
            .into_iter()
            .filter_map(|(role, path)| Some((role, path.as_deref()?)))
            .map(|(role, path)| Ok((role, identity(path)?)))
            .collect::<Result<_, Failure>>()?;
        Ok(Identities {
            ak_brainpool: identity(&self.ak_brainpool)?,
            ak_nist: identity(&self.ak_nist)?,
            sak: identity(&self.sak)?,
            nk: self.nk.as_deref().map(identity).transpose()?,
            rsa,
            origin: Origin {
                anchor: X509::parse(anchor).map_err(|error| failed(&self.trust_anchor, &error))?,
                roots,
            },
            gsmc_k: match &self.gsmc_k {
                None => None,
                Some(path) => Some(card::image::read(&text(path)?).map_err(|error| failed(path, &error))?),
            },
            iccsn: self.iccsn.clone(),
        })
    }
}

impl Config {
    /// What one gets without saying anything but where to listen; the identities are still to be named.
    pub fn minimal(listen: SocketAddr, listen_admin: SocketAddr) -> Self {
        Self {
            store: state_folder(),
            identities: IdentityFiles::default(),
            hostname: hostname(),
            listen,
            base_url: None,
            listen_admin,
            listen_pages: None,
            admin_certificates: BTreeSet::new(),
            admin_password_file: None,
            client_authentication: ClientAuthentication::default(),
            online: false,
            tsl_url: None,
            tsl_internet_urls: Vec::new(),
            crl_urls: Vec::new(),
            lu_sak: yes(),
            signature: SignatureSettings::default(),
            certificates: CertificateSettings::default(),
            log: LogSettings::default(),
            lifetime: LifetimeSettings::default(),
            update: crate::update::UpdateSettings::default(),
            vpn: None,
            network: None,
            ldap: None,
            alarm: AlarmSettings::default(),
            vsdm_url: None,
            vsdm_max_seconds: thirty(),
            vsdm_offline_days: 0,
            auto_update: None,
            smb_unlock: false,
            smb_pin_folder: None,
            discovery_minutes: ten(),
            announcements: announcements(),
            keep_alive_seconds: ten(),
            keep_alive_tries: three(),
            card_timeout_seconds: ten(),
            event_max_tries: twenty(),
            terminals: Vec::new(),
            model: Model::default(),
        }
    }

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
        self.signature.check(self.client_authentication)?;
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
        if self.event_max_tries == 0 {
            return Err(BadConfig::Range("event_max_tries must not be 0"));
        }
        if self.vsdm_max_seconds == 0 || self.card_timeout_seconds == 0 {
            return Err(BadConfig::Range("time limits must not be 0"));
        }
        self.certificates.check()?;
        self.log.check().map_err(BadConfig::Range)?;
        self.lifetime.check().map_err(BadConfig::Range)?;
        self.update.check().map_err(BadConfig::Range)?;
        if let Some(ldap) = &self.ldap {
            ldap.check().map_err(BadConfig::Range)?;
        }
        if let Some(network) = &self.network {
            network.check().map_err(BadConfig::Range)?;
        }
        if let Some(vpn) = &self.vpn {
            vpn.check().map_err(BadConfig::Range)?;
        }
        let network = self.network.as_ref();
        let sis = network.is_some_and(|network| network.internet == network::Internet::Sis);
        let fixed = self.vpn.as_ref().filter(|vpn| vpn.domain.is_none());
        if sis && fixed.is_some_and(|vpn| vpn.sis_concentrators.is_empty()) {
            return Err(BadConfig::Range(
                "network.internet = \"sis\" needs vpn.sis_concentrators",
            ));
        }
        if sis && self.vpn.as_ref().is_none_or(|vpn| vpn.user_space) {
            // charon has one interface for all its tunnels: nobody could tell their packets apart
            return Err(BadConfig::Range(
                "network.internet = \"sis\" needs vpn, and the kernel's ESP",
            ));
        }
        self.alarm.check().map_err(BadConfig::Range)?;
        self.model.validate()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each setting of a group on both sides of its limits.
    #[test]
    fn signature_settings_have_limits() {
        let outcome = |lines: &str, authentication| {
            let settings: SignatureSettings = toml::from_str(lines).unwrap();
            settings.check(authentication).map_err(|error| error.to_string())
        };
        let certificate = ClientAuthentication::Certificate;
        for good in [
            "",
            "comfort_max = 1",
            "comfort_max = 250",
            "comfort_hours = 1",
            "comfort_hours = 24",
        ] {
            assert_eq!(outcome(good, certificate), Ok(()), "{good}");
        }
        for (bad, named) in [
            ("comfort_max = 0", "comfort_max"),
            ("comfort_max = 251", "comfort_max"),
            ("comfort_hours = 0", "comfort_hours"),
            ("comfort_hours = 25", "comfort_hours"),
        ] {
            assert!(
                outcome(bad, certificate).is_err_and(|error| error.contains(named)),
                "{bad}"
            );
        }
        assert!(toml::from_str::<SignatureSettings>("comfort_max = 256").is_err());
        assert!(toml::from_str::<SignatureSettings>("comfrot = true").is_err());
        let comfort = |authentication| outcome("comfort = true", authentication);
        assert_eq!(comfort(certificate), Ok(()));
        assert_eq!(comfort(ClientAuthentication::Password), Ok(()));
        assert!(comfort(ClientAuthentication::None).is_err());
    }
}
