//! Certificate revocation lists (RFC 5280), also indirect ones: the TI's list for VPN concentrators is signed by a CRL
//! signer and names the issuer with each entry.

use crate::{Error, tlv};
use der::asn1::ObjectIdentifier as Oid;
use der::{Decode, Encode};
use x509_cert::certificate::Raw;
use x509_cert::crl::CertificateList;
use x509_cert::ext::pkix::name::{GeneralName, GeneralNames};

const CRL_NUMBER: &str = "2.5.29.20";
const ISSUING_DISTRIBUTION_POINT: &str = "2.5.29.28";
const CERTIFICATE_ISSUER: &str = "2.5.29.29";

/// One revoked certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedEntry {
    /// Issuer of the certificate, DER.
    pub issuer: Vec<u8>,
    /// Its serial number without sign padding.
    pub serial: Vec<u8>,
    /// Since when, Unix seconds.
    pub since: i64,
}

/// A list, read once; nothing judged.
#[derive(Debug, Clone)]
pub struct Crl {
    der: Vec<u8>,
    tbs: std::ops::Range<usize>,
    algorithm: Oid,
    signature: Vec<u8>,
    /// Who signed it, DER.
    pub issuer: Vec<u8>,
    /// Made at, Unix seconds.
    pub this_update: i64,
    /// Next one at the latest at, Unix seconds.
    pub next_update: i64,
    /// Number of the list as big-endian bytes, if it has one.
    pub number: Option<Vec<u8>>,
    /// What is revoked.
    pub entries: Vec<RevokedEntry>,
    /// Critical extensions that nobody here understands.
    pub unknown_critical: Vec<Oid>,
}

impl Crl {
    /// Reads a DER list. `nextUpdate` is mandatory here, as in every list of the TI.
    pub fn parse(der: &[u8]) -> Result<Self, Error> {
        let (outer, rest) = tlv::read(der)?;
        if outer.tag != 0x30 || !rest.is_empty() {
            return Err(Error::Malformed("revocation list"));
        }
        let (tbs, _) = tlv::read(outer.value)?;
        let start = outer.raw.len() - outer.value.len();
        let list = CertificateList::<Raw>::from_der(der)?;
        let content = list.tbs_cert_list;
        let seconds = |time: &x509_cert::time::Time| time.to_unix_duration().as_secs() as i64;
        let next_update = content
            .next_update
            .as_ref()
            .ok_or(Error::Missing("nextUpdate of the revocation list"))?;
        let mut this = Self {
            der: der.to_vec(),
            tbs: start..start + tbs.raw.len(),
            algorithm: list.signature_algorithm.oid,
            signature: list.signature.raw_bytes().to_vec(),
            issuer: content.issuer.to_der()?,
            this_update: seconds(&content.this_update),
            next_update: seconds(next_update),
            number: None,
            entries: Vec::new(),
            unknown_critical: Vec::new(),
        };
        for extension in content.crl_extensions.iter().flatten() {
            match extension.extn_id.to_string().as_str() {
                CRL_NUMBER => {
                    let number = tlv::find(extension.extn_value.as_bytes(), 0x02);
                    this.number = number.map(|bytes| unpadded(bytes).to_vec());
                }
                // says that the list is indirect: entries name their issuer, which is read below
                ISSUING_DISTRIBUTION_POINT => {}
                _ if extension.critical => this.unknown_critical.push(extension.extn_id),
                _ => {}
            }
        }
        // an entry without an issuer of its own has that of the entry before it (RFC 5280, 5.3.3)
        let mut issuer = this.issuer.clone();
        for entry in content.revoked_certificates.iter().flatten() {
            for extension in entry.crl_entry_extensions.iter().flatten() {
                if extension.extn_id.to_string() == CERTIFICATE_ISSUER {
                    let names = GeneralNames::from_der(extension.extn_value.as_bytes())?;
                    let name = names.into_iter().find_map(|name| match name {
                        GeneralName::DirectoryName(name) => Some(name),
                        _ => None,
                    });
                    issuer = name.ok_or(Error::Malformed("certificateIssuer"))?.to_der()?;
                }
            }
            this.entries.push(RevokedEntry {
                issuer: issuer.clone(),
                serial: unpadded(entry.serial_number.as_bytes()).to_vec(),
                since: seconds(&entry.revocation_date),
            });
        }
        Ok(this)
    }

    /// The whole list.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The bytes under the signature.
    pub fn tbs(&self) -> &[u8] {
        self.der.get(self.tbs.clone()).unwrap_or_default()
    }

    /// Signature algorithm and signature bytes.
    pub fn signature(&self) -> (Oid, &[u8]) {
        (self.algorithm, &self.signature)
    }
}

/// Without the zero that keeps a number positive.
pub(crate) fn unpadded(bytes: &[u8]) -> &[u8] {
    match bytes {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    }
}
