//! A certification authority for X.509: the profiles of gemSpec_PKI as a table, and the bytes they become.

use asn1::{Admission, X509, oid, tlv};
use base::Timestamp;
use crypto::{Key, PublicKey, SoftKey, sha1};
use der::Encode;
use der::asn1::ObjectIdentifier as Oid;

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The key did not work.
    #[error("signing: {0}")]
    Key(#[from] crypto::Error),
    /// A part could not be encoded.
    #[error("encoding: {0}")]
    Asn1(#[from] asn1::Error),
    /// A part could not be encoded.
    #[error("encoding: {0}")]
    Der(#[from] der::Error),
}

/// A distinguished name as pairs of short attribute name and value, in order.
#[derive(Debug, Clone, Default)]
pub struct Name(Vec<(&'static str, String)>);

impl Name {
    /// `C=DE`, an organisation and a common name.
    pub fn new(organisation: &str, common_name: &str) -> Self {
        Self(vec![
            ("C", "DE".into()),
            ("O", organisation.into()),
            ("CN", common_name.into()),
        ])
    }

    /// The same with one more attribute (`OU`, `SN`, `GN`, `SERIALNUMBER`, `L`, `POSTALCODE`, `STREET`).
    pub fn with(mut self, attribute: &'static str, value: &str) -> Self {
        self.0.push((attribute, value.into()));
        self
    }

    fn to_der(&self) -> Result<Vec<u8>, IssueError> {
        let mut rdns = Vec::new();
        for (attribute, value) in &self.0 {
            let (oid, tag) = match *attribute {
                "C" => ("2.5.4.6", 0x13),
                "O" => ("2.5.4.10", 0x0C),
                "OU" => ("2.5.4.11", 0x0C),
                "SN" => ("2.5.4.4", 0x0C),
                "GN" => ("2.5.4.42", 0x0C),
                "L" => ("2.5.4.7", 0x0C),
                "STREET" => ("2.5.4.9", 0x0C),
                "POSTALCODE" => ("2.5.4.17", 0x0C),
                "SERIALNUMBER" => ("2.5.4.5", 0x13),
                _ => ("2.5.4.3", 0x0C),
            };
            let value = tlv::encode(tag, value.as_bytes());
            rdns.push(tlv::nest(
                0x31,
                [tlv::nest(0x30, [Oid::new_unwrap(oid).to_der()?, value])],
            ));
        }
        Ok(tlv::nest(0x30, rdns))
    }
}

/// Bits of the key usage extension, in the order of X.509.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Usage {
    DigitalSignature = 0,
    NonRepudiation = 1,
    KeyEncipherment = 2,
    DataEncipherment = 3,
    KeyAgreement = 4,
    KeyCertSign = 5,
    CrlSign = 6,
}

/// A certificate profile: what the TI writes into a certificate of this type (gemSpec_PKI, digest 3.3).
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// Certificate type as policy; `None` for CAs and signers.
    pub policy: Option<Oid>,
    /// Key usage for elliptic keys.
    pub usage_ec: &'static [Usage],
    /// Key usage for RSA keys.
    pub usage_rsa: &'static [Usage],
    /// Extended key usages.
    pub extended: &'static [Oid],
    /// Does it say where its status can be asked?
    pub has_status: bool,
    /// Is it a CA?
    pub is_ca: bool,
    /// Does it claim to be qualified (QCStatements)?
    pub qualified: bool,
}

use Usage::{
    CrlSign, DataEncipherment, DigitalSignature, KeyAgreement, KeyCertSign, KeyEncipherment, NonRepudiation,
};

const AUTH: (&[Usage], &[Usage]) = (&[DigitalSignature], &[DigitalSignature, KeyEncipherment]);
const ENC: (&[Usage], &[Usage]) = (&[KeyAgreement], &[KeyEncipherment, DataEncipherment]);
const SIGN: (&[Usage], &[Usage]) = (&[NonRepudiation], &[NonRepudiation]);

const fn end_entity(
    policy: Oid,
    usage: (&'static [Usage], &'static [Usage]),
    extended: &'static [Oid],
    has_status: bool,
) -> Profile {
    Profile {
        policy: Some(policy),
        usage_ec: usage.0,
        usage_rsa: usage.1,
        extended,
        has_status,
        is_ca: false,
        qualified: false,
    }
}

/// The profiles.
#[allow(missing_docs)]
pub mod profile {
    use super::*;

    pub const CA: Profile = Profile {
        policy: None,
        usage_ec: &[KeyCertSign, CrlSign],
        usage_rsa: &[KeyCertSign, CrlSign],
        extended: &[],
        has_status: false,
        is_ca: true,
        qualified: false,
    };
    pub const OCSP_SIGNER: Profile = Profile {
        policy: None,
        usage_ec: &[NonRepudiation],
        usage_rsa: &[NonRepudiation],
        extended: &[oid::KP_OCSP_SIGNING],
        has_status: false,
        is_ca: false,
        qualified: false,
    };
    pub const TSL_SIGNER: Profile = Profile {
        policy: None,
        usage_ec: &[NonRepudiation],
        usage_rsa: &[NonRepudiation],
        extended: &[oid::KP_TSL_SIGNING],
        has_status: true,
        is_ca: false,
        qualified: false,
    };
    const BOTH: &[Oid] = &[oid::KP_SERVER_AUTH, oid::KP_CLIENT_AUTH];
    pub const NK_VPN: Profile = end_entity(oid::NK_VPN, AUTH, BOTH, true);
    pub const AK_AUT: Profile = end_entity(oid::AK_AUT, AUTH, BOTH, true);
    pub const SAK_AUT: Profile = end_entity(oid::SAK_AUT, AUTH, BOTH, true);
    pub const SMKT_AUT: Profile = end_entity(oid::SMKT_AUT, AUTH, &[oid::KP_SERVER_AUTH], false);
    pub const VPNK_VPN: Profile = end_entity(oid::VPNK_VPN, AUTH, BOTH, false);
    pub const FD_TLS_S: Profile = end_entity(oid::FD_TLS_S, AUTH, &[oid::KP_SERVER_AUTH], true);
    pub const SMC_B_AUT: Profile = end_entity(oid::SMC_B_AUT, AUTH, &[oid::KP_CLIENT_AUTH], true);
    pub const SMC_B_ENC: Profile = end_entity(oid::SMC_B_ENC, ENC, &[], true);
    pub const SMC_B_OSIG: Profile = end_entity(oid::SMC_B_OSIG, SIGN, &[], true);
    pub const HBA_AUT: Profile = end_entity(oid::HBA_AUT, AUTH, &[oid::KP_CLIENT_AUTH], true);
    pub const HBA_ENC: Profile = end_entity(oid::HBA_ENC, ENC, &[], true);
    pub const HBA_QES: Profile = Profile {
        qualified: true,
        ..end_entity(oid::HBA_QES, SIGN, &[], true)
    };
    pub const ZD_TLS_S: Profile = end_entity(oid::ZD_TLS_S, AUTH, &[oid::KP_SERVER_AUTH], true);
    /// Signs the revocation list of the VPN access services.
    pub const CRL_SIGNER: Profile = Profile {
        policy: None,
        usage_ec: &[CrlSign],
        usage_rsa: &[CrlSign],
        extended: &[],
        has_status: false,
        is_ca: false,
        qualified: false,
    };
    pub const EGK_AUT: Profile = end_entity(oid::EGK_AUT, AUTH, &[oid::KP_CLIENT_AUTH], true);
    pub const EGK_ENC: Profile = end_entity(oid::EGK_ENC, ENC, &[], true);
    /// A practice system's certificate for client authentication: not of the TI.
    pub const CLIENT: Profile = Profile {
        policy: None,
        usage_ec: AUTH.0,
        usage_rsa: AUTH.1,
        extended: &[oid::KP_CLIENT_AUTH],
        has_status: false,
        is_ca: false,
        qualified: false,
    };
}

/// What goes into one certificate.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Profile.
    pub profile: &'a Profile,
    /// Who gets it.
    pub subject: Name,
    /// The key.
    pub key: PublicKey,
    /// Role and Telematik-ID.
    pub admission: Option<Admission>,
    /// DNS names.
    pub dns: &'a [&'a str],
    /// IP addresses.
    pub addresses: &'a [std::net::IpAddr],
    /// First moment.
    pub from: Timestamp,
    /// Last moment.
    pub to: Timestamp,
}

/// A certification authority: a name, a key, its certificate and where it answers for its certificates' status.
#[derive(Debug, Clone)]
pub struct Authority {
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    /// Its name.
    pub name: Name,
    /// Address of its OCSP responder.
    pub ocsp: String,
    /// Address of the revocation list of its certificates without a status service, and who signs that (its name, DER): another
    /// than this CA (Tab_PKI_245).
    pub revocation_list: Option<(String, Vec<u8>)>,
    key: SoftKey,
}

impl Authority {
    /// A self-signed root.
    pub fn root(
        name: Name,
        key: SoftKey,
        ocsp: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Self, IssueError> {
        let mut root = Self {
            certificate: Vec::new(),
            name: name.clone(),
            ocsp: ocsp.into(),
            revocation_list: None,
            key,
        };
        let key = root.key.public();
        root.certificate = root.issue(&Request {
            profile: &profile::CA,
            subject: name,
            key,
            admission: None,
            dns: &[],
            addresses: &[],
            from,
            to,
        })?;
        Ok(root)
    }

    /// A CA below this one.
    pub fn subordinate(
        &self,
        name: Name,
        key: SoftKey,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Self, IssueError> {
        let certificate = self.cross(&name, &key.public(), from, to)?;
        Ok(Self {
            certificate,
            name,
            ocsp: self.ocsp.clone(),
            revocation_list: None,
            key,
        })
    }

    /// A CA certificate for another CA's name and key: a cross certificate.
    pub fn cross(
        &self,
        name: &Name,
        key: &PublicKey,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<u8>, IssueError> {
        self.issue(&Request {
            profile: &profile::CA,
            subject: name.clone(),
            key: key.clone(),
            admission: None,
            dns: &[],
            addresses: &[],
            from,
            to,
        })
    }

    /// The signing key.
    pub fn key(&self) -> &SoftKey {
        &self.key
    }

    /// Issues one certificate with a random serial number.
    pub fn issue(&self, request: &Request<'_>) -> Result<Vec<u8>, IssueError> {
        let mut serial: [u8; 8] = crypto::random()?;
        serial = serial.map(|b| b & 0x7F);
        let [first, ..] = &mut serial;
        *first |= 0x01; // positive and without leading zeros
        let algorithm = match &self.key {
            SoftKey::Ec(_) => tlv::nest(0x30, [oid::ECDSA_WITH_SHA256.to_der()?]),
            SoftKey::Rsa(_) => tlv::nest(0x30, [oid::SHA256_WITH_RSA.to_der()?, vec![0x05, 0x00]]),
        };
        let validity = tlv::nest(0x30, [time(request.from), time(request.to)]);
        let tbs = tlv::nest(
            0x30,
            [
                tlv::nest(0xA0, [tlv::encode(0x02, &[2])]),
                tlv::encode(0x02, &serial),
                algorithm.clone(),
                self.name.to_der()?,
                validity,
                request.subject.to_der()?,
                request.key.to_spki()?,
                tlv::nest(0xA3, [tlv::nest(0x30, self.extensions(request)?)]),
            ],
        );
        let signature = self.key.sign(self.key.scheme(), &tbs)?;
        let bits = [&[0x00], &signature[..]].concat();
        Ok(tlv::nest(0x30, [tbs, algorithm, tlv::encode(0x03, &bits)]))
    }

    fn extensions(&self, request: &Request<'_>) -> Result<Vec<Vec<u8>>, IssueError> {
        let profile = request.profile;
        let mut out = Vec::new();
        let usage = match request.key {
            PublicKey::Ec(_) => profile.usage_ec,
            PublicKey::Rsa(_) => profile.usage_rsa,
        };
        out.push(extension(
            "2.5.29.14",
            false,
            &tlv::encode(0x04, &sha1([key_bits(&request.key)])),
        )?);
        let issuer_key = tlv::nest(0x30, [tlv::encode(0x80, &sha1([key_bits(&self.key.public())]))]);
        out.push(extension("2.5.29.35", false, &issuer_key)?);
        out.push(extension("2.5.29.15", true, &usage_bits(usage))?);
        let constraints = if profile.is_ca {
            tlv::nest(0x30, [tlv::encode(0x01, &[0xFF])])
        } else {
            tlv::encode(0x30, &[])
        };
        out.push(extension("2.5.29.19", true, &constraints)?);
        let policies: Vec<Oid> = match profile.policy {
            Some(policy) => vec![oid::POLICY_GEM_OR_CP, policy],
            None if profile.is_ca => vec![oid::POLICY_GEM_OR_CP],
            None => Vec::new(),
        };
        if !policies.is_empty() {
            let list = policies
                .iter()
                .map(|policy| Ok(tlv::nest(0x30, [policy.to_der()?])));
            out.push(extension(
                "2.5.29.32",
                false,
                &tlv::nest(0x30, list.collect::<Result<Vec<_>, der::Error>>()?),
            )?);
        }
        if !profile.extended.is_empty() {
            let list = profile
                .extended
                .iter()
                .map(|purpose| purpose.to_der())
                .collect::<Result<Vec<_>, _>>()?;
            let critical = profile.extended.contains(&oid::KP_TSL_SIGNING);
            out.push(extension("2.5.29.37", critical, &tlv::nest(0x30, list))?);
        }
        let mut names: Vec<Vec<u8>> = request
            .dns
            .iter()
            .map(|name| tlv::encode(0x82, name.as_bytes()))
            .collect();
        names.extend(request.addresses.iter().map(|address| match address {
            std::net::IpAddr::V4(v4) => tlv::encode(0x87, &v4.octets()),
            std::net::IpAddr::V6(v6) => tlv::encode(0x87, &v6.octets()),
        }));
        if !names.is_empty() {
            out.push(extension("2.5.29.17", false, &tlv::nest(0x30, names))?);
        }
        if profile.has_status {
            let location = tlv::encode(0x86, self.ocsp.as_bytes());
            let access = tlv::nest(0x30, [oid::AD_OCSP.to_der()?, location]);
            out.push(extension("1.3.6.1.5.5.7.1.1", false, &tlv::nest(0x30, [access]))?);
        }
        if let Some((url, signer)) = self
            .revocation_list
            .as_ref()
            .filter(|_| profile.policy.is_some() && !profile.has_status)
        {
            let place = tlv::nest(0xA0, [tlv::nest(0xA0, [tlv::encode(0x86, url.as_bytes())])]);
            let signer = tlv::nest(0xA2, [tlv::nest(0xA4, [signer.clone()])]);
            let points = tlv::nest(0x30, [tlv::nest(0x30, [place, signer])]);
            out.push(extension("2.5.29.31", false, &points)?);
        }
        if profile.qualified {
            let statement = tlv::nest(0x30, [oid::QC_COMPLIANCE.to_der()?]);
            out.push(extension(
                "1.3.6.1.5.5.7.1.3",
                false,
                &tlv::nest(0x30, [statement]),
            )?);
        }
        if let Some(admission) = &request.admission {
            out.push(extension("1.3.36.8.3.3", false, &admission.to_der()?)?);
        }
        Ok(out)
    }
}

/// One entry of a revocation list: issuer's certificate, certificate, since when.
pub type Revocation<'a> = (&'a X509, &'a X509, Timestamp);

/// Makes an indirect revocation list: every entry names the issuer of its certificate.
pub fn revocation_list(
    signer: &X509,
    key: &SoftKey,
    revoked: &[Revocation<'_>],
    number: u32,
    this_update: Timestamp,
    next_update: Timestamp,
) -> Result<Vec<u8>, IssueError> {
    let algorithm = tlv::nest(0x30, [oid::ECDSA_WITH_SHA256.to_der()?]);
    let mut entries = Vec::new();
    for (issuer, certificate, since) in revoked {
        let name = tlv::encode(0xA4, &issuer.subject_der()?);
        let named = extension("2.5.29.29", true, &tlv::nest(0x30, [name]))?;
        let serial = positive(certificate.serial());
        entries.push(tlv::nest(0x30, [serial, time(*since), tlv::nest(0x30, [named])]));
    }
    let indirect = tlv::nest(0x30, [tlv::encode(0x84, &[0xFF])]);
    let extensions = [
        extension("2.5.29.20", false, &positive(&number.to_be_bytes()))?,
        extension("2.5.29.28", true, &indirect)?,
    ];
    let mut parts = vec![
        tlv::encode(0x02, &[1]),
        algorithm.clone(),
        signer.subject_der()?,
        time(this_update),
        time(next_update),
    ];
    if !entries.is_empty() {
        parts.push(tlv::nest(0x30, entries));
    }
    parts.push(tlv::nest(0xA0, [tlv::nest(0x30, extensions)]));
    let tbs = tlv::nest(0x30, parts);
    let signature = key.sign(key.scheme(), &tbs)?;
    let bits = [&[0x00], &signature[..]].concat();
    Ok(tlv::nest(0x30, [tbs, algorithm, tlv::encode(0x03, &bits)]))
}

/// A non-negative INTEGER in the shortest form.
fn positive(bytes: &[u8]) -> Vec<u8> {
    let skip = bytes.iter().take_while(|byte| **byte == 0).count();
    let number = bytes
        .get(skip.min(bytes.len().saturating_sub(1))..)
        .unwrap_or_default();
    let padded = match number.first() {
        Some(first) if first & 0x80 == 0 => number.to_vec(),
        _ => [&[0], number].concat(),
    };
    tlv::encode(0x02, &padded)
}

/// The bits that identify a key: the point, or the PKCS#1 structure.
fn key_bits(key: &PublicKey) -> Vec<u8> {
    match key {
        PublicKey::Ec(key) => key.point(),
        PublicKey::Rsa(key) => key.to_pkcs1().unwrap_or_default(),
    }
}

fn extension(id: &str, critical: bool, value: &[u8]) -> Result<Vec<u8>, IssueError> {
    let id = Oid::new(id).map_err(|_| der::Error::from(der::ErrorKind::Failed))?;
    let mut parts = vec![id.to_der()?];
    if critical {
        parts.push(tlv::encode(0x01, &[0xFF]));
    }
    parts.push(tlv::encode(0x04, value));
    Ok(tlv::nest(0x30, parts))
}

fn usage_bits(usage: &[Usage]) -> Vec<u8> {
    let byte = usage.iter().fold(0u8, |bits, usage| bits | 0x80 >> *usage as u8);
    let unused = if byte == 0 { 0 } else { byte.trailing_zeros() as u8 };
    tlv::encode(0x03, &[unused, byte])
}

/// UTCTime until 2049, GeneralizedTime after.
fn time(moment: Timestamp) -> Vec<u8> {
    let text = moment.strftime("%Y%m%d%H%M%SZ").to_string();
    match text.get(..4).and_then(|year| year.parse::<u16>().ok()) {
        Some(1950..=2049) => tlv::encode(0x17, text.get(2..).unwrap_or_default().as_bytes()),
        _ => tlv::encode(0x18, text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crypto::{Curve, EcPrivate};

    #[test]
    fn issued_certificates_say_what_the_profile_says_and_openssl_believes_them() {
        let (from, to) = (
            "2026-01-01T00:00:00Z".parse().unwrap(),
            "2036-01-01T00:00:00Z".parse().unwrap(),
        );
        let key = || SoftKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1).unwrap());
        let root =
            Authority::root(Name::new("Langlauf TEST", "RCA"), key(), "http://ocsp", from, to).unwrap();
        let ca = root
            .subordinate(Name::new("Langlauf TEST", "SMCB-CA"), key(), from, to)
            .unwrap();
        let own = key();
        let admission = Admission {
            items: vec!["Betriebsstätte Arzt".into()],
            oids: vec![oid::INSTITUTION_PRAXIS_ARZT],
            registration: Some("1-20123".into()),
        };
        let request = Request {
            profile: &profile::SMC_B_AUT,
            subject: Name::new("Praxis", "Praxis Müller"),
            key: own.public(),
            admission: Some(admission),
            dns: &[],
            addresses: &[],
            from,
            to,
        };
        let der = ca.issue(&request).unwrap();
        let certificate = X509::parse(&der).unwrap();
        assert!(certificate.has_policy(oid::SMC_B_AUT));
        assert!(certificate.has_role(oid::INSTITUTION_PRAXIS_ARZT));
        assert_eq!(certificate.ocsp.as_deref(), Some("http://ocsp"));
        assert_eq!(certificate.common_name().as_deref(), Some("Praxis Müller"));
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, der: &[u8]| std::fs::write(dir.path().join(name), der).unwrap();
        write("root.der", &root.certificate);
        write("ca.der", &ca.certificate);
        write("ee.der", &der);
        let script = "for f in root ca ee; do openssl x509 -inform DER -in $f.der -out $f.pem || exit 1; done
            openssl verify -CAfile root.pem -untrusted ca.pem ee.pem";
        let out = std::process::Command::new("sh")
            .args(["-c", script])
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
}
