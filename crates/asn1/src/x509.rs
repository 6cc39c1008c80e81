use crate::{Error, oid, tlv};
use der::asn1::ObjectIdentifier as Oid;
use der::{Decode, Encode};
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, BasicConstraints, CertificatePolicies,
    ExtendedKeyUsage, KeyUsage, SubjectAltName, SubjectKeyIdentifier,
};

/// The admission extension (GS-A_4717): what its holder is admitted as, and the Telematik-ID.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admission {
    /// Profession or role as text, e.g. `Ärztin/Arzt`.
    pub items: Vec<String>,
    /// Profession or role as object identifiers.
    pub oids: Vec<Oid>,
    /// Telematik-ID (registrationNumber), if there is one.
    pub registration: Option<String>,
}

impl Admission {
    fn parse(der: &[u8]) -> Result<Self, Error> {
        const SEQUENCE: u32 = 0x30;
        let syntax = tlv::find(der, SEQUENCE).ok_or(Error::Malformed("admission"))?;
        let contents = tlv::find(syntax, SEQUENCE).ok_or(Error::Malformed("admission contents"))?;
        let mut admission = Self::default();
        for admissions in tlv::read_all(contents)? {
            let infos = tlv::find(admissions.value, SEQUENCE).ok_or(Error::Malformed("admission infos"))?;
            for info in tlv::read_all(infos)? {
                let mut lists = tlv::read_all(info.value)?
                    .into_iter()
                    .filter(|part| part.tag < 0xA0);
                let items = lists.next().ok_or(Error::Malformed("profession items"))?;
                for item in tlv::read_all(items.value)? {
                    admission
                        .items
                        .push(String::from_utf8_lossy(item.value).into_owned());
                }
                for part in lists {
                    match part.tag {
                        SEQUENCE => {
                            for object in tlv::read_all(part.value)? {
                                admission.oids.push(Oid::from_der(object.raw)?);
                            }
                        }
                        0x13 => {
                            admission.registration = Some(String::from_utf8_lossy(part.value).into_owned())
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(admission)
    }

    /// The extension value (one Admissions, one ProfessionInfo).
    pub fn to_der(&self) -> Result<Vec<u8>, Error> {
        let items = self.items.iter().map(|item| tlv::encode(0x0C, item.as_bytes()));
        let oids = self
            .oids
            .iter()
            .map(|oid| oid.to_der())
            .collect::<Result<Vec<_>, _>>()?;
        let mut parts = vec![tlv::nest(0x30, items), tlv::nest(0x30, oids)];
        if let Some(registration) = &self.registration {
            parts.push(tlv::encode(0x13, registration.as_bytes()));
        }
        let info = tlv::nest(0x30, parts);
        let infos = tlv::nest(0x30, [info]);
        Ok(tlv::nest(0x30, [tlv::nest(0x30, [tlv::nest(0x30, [infos])])]))
    }
}

/// A certificate, read once: what the TI's rules ask about, and the exact bytes that were signed.
#[derive(Debug, Clone)]
pub struct X509 {
    der: Vec<u8>,
    tbs: std::ops::Range<usize>,
    cert: CertificateInner<Raw>,
    /// Key usage bits, if the extension is there.
    pub key_usage: Option<KeyUsage>,
    /// Extended key usages.
    pub extended_key_usage: Vec<Oid>,
    /// Certificate policies: oid_policy_gem_or_cp and the certificate type.
    pub policies: Vec<Oid>,
    /// Admission, if the extension is there.
    pub admission: Option<Admission>,
    /// Where to ask for the status.
    pub ocsp: Option<String>,
    /// Is it a CA?
    pub is_ca: bool,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// SubjectKeyIdentifier.
    pub subject_key: Option<Vec<u8>>,
    /// AuthorityKeyIdentifier (its key identifier).
    pub authority_key: Option<Vec<u8>>,
    /// Statements of the QCStatements extension, if it is there.
    pub qc_statements: Option<Vec<Oid>>,
    /// Critical extensions that nobody here understands.
    pub unknown_critical: Vec<Oid>,
}

impl PartialEq for X509 {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for X509 {}

impl X509 {
    /// Reads a DER certificate; trailing bytes (a card's file filler) are refused.
    pub fn parse(der: &[u8]) -> Result<Self, Error> {
        let (outer, rest) = tlv::read(der)?;
        if outer.tag != 0x30 || !rest.is_empty() {
            return Err(Error::Malformed("certificate"));
        }
        let (tbs, _) = tlv::read(outer.value)?;
        let start = outer.raw.len() - outer.value.len();
        let cert = CertificateInner::<Raw>::from_der(der)?;
        let mut this = Self {
            der: der.to_vec(),
            tbs: start..start + tbs.raw.len(),
            cert,
            key_usage: None,
            extended_key_usage: Vec::new(),
            policies: Vec::new(),
            admission: None,
            ocsp: None,
            is_ca: false,
            dns_names: Vec::new(),
            subject_key: None,
            authority_key: None,
            qc_statements: None,
            unknown_critical: Vec::new(),
        };
        this.read_extensions()?;
        Ok(this)
    }

    /// Reads a certificate from the front of a card file, whose end is filler.
    pub fn parse_file(bytes: &[u8]) -> Result<Self, Error> {
        let (outer, _) = tlv::read(bytes)?;
        Self::parse(outer.raw)
    }

    fn read_extensions(&mut self) -> Result<(), Error> {
        let extensions = self
            .cert
            .tbs_certificate()
            .extensions()
            .cloned()
            .unwrap_or_default();
        for extension in &extensions {
            let value = extension.extn_value.as_bytes();
            match extension.extn_id.to_string().as_str() {
                "2.5.29.15" => self.key_usage = Some(KeyUsage::from_der(value)?),
                "2.5.29.37" => self.extended_key_usage = ExtendedKeyUsage::from_der(value)?.0,
                "2.5.29.19" => self.is_ca = BasicConstraints::from_der(value)?.ca,
                "2.5.29.32" => {
                    let policies = CertificatePolicies::from_der(value)?;
                    self.policies = policies
                        .0
                        .into_iter()
                        .map(|policy| policy.policy_identifier)
                        .collect();
                }
                "2.5.29.17" => {
                    for name in SubjectAltName::from_der(value)?.0 {
                        if let GeneralName::DnsName(name) = name {
                            self.dns_names.push(name.to_string());
                        }
                    }
                }
                "1.3.6.1.5.5.7.1.1" => {
                    let access = AuthorityInfoAccessSyntax::from_der(value)?;
                    self.ocsp = access
                        .0
                        .into_iter()
                        .find(|a| a.access_method == oid::AD_OCSP)
                        .and_then(|a| match a.access_location {
                            GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
                            _ => None,
                        });
                }
                "2.5.29.14" => {
                    self.subject_key = Some(SubjectKeyIdentifier::from_der(value)?.0.as_bytes().to_vec());
                }
                "2.5.29.35" => {
                    let identifier = AuthorityKeyIdentifier::from_der(value)?.key_identifier;
                    self.authority_key = identifier.map(|id| id.as_bytes().to_vec());
                }
                "1.3.6.1.5.5.7.1.3" => self.qc_statements = Some(qc_statements(value)?),
                "1.3.36.8.3.3" => self.admission = Some(Admission::parse(value)?),
                _ if extension.critical => self.unknown_critical.push(extension.extn_id),
                _ => {}
            }
        }
        Ok(())
    }

    /// The whole certificate.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The bytes under the signature.
    pub fn tbs(&self) -> &[u8] {
        self.der.get(self.tbs.clone()).unwrap_or_default()
    }

    /// Signature algorithm and signature bytes.
    pub fn signature(&self) -> (Oid, &[u8]) {
        (
            self.cert.signature_algorithm().oid,
            self.cert.signature().raw_bytes(),
        )
    }

    /// Subject public key info, DER.
    pub fn spki(&self) -> Result<Vec<u8>, Error> {
        Ok(self.cert.tbs_certificate().subject_public_key_info().to_der()?)
    }

    /// Raw bits of the public key (the point, or the RSA key's DER): what a CertID hashes.
    pub fn key_bits(&self) -> &[u8] {
        self.cert
            .tbs_certificate()
            .subject_public_key_info()
            .subject_public_key
            .raw_bytes()
    }

    /// Is its key an RSA key?
    pub fn is_rsa(&self) -> bool {
        let info = self.cert.tbs_certificate().subject_public_key_info();
        [oid::RSA_ENCRYPTION, oid::RSA_PSS].contains(&info.algorithm.oid)
    }

    /// Subject as RFC 4514 text.
    pub fn subject(&self) -> String {
        self.cert.tbs_certificate().subject().to_string()
    }

    /// Issuer as RFC 4514 text.
    pub fn issuer(&self) -> String {
        self.cert.tbs_certificate().issuer().to_string()
    }

    /// Subject, DER.
    pub fn subject_der(&self) -> Result<Vec<u8>, Error> {
        Ok(self.cert.tbs_certificate().subject().to_der()?)
    }

    /// Issuer, DER.
    pub fn issuer_der(&self) -> Result<Vec<u8>, Error> {
        Ok(self.cert.tbs_certificate().issuer().to_der()?)
    }

    /// One attribute of the subject by its object identifier, e.g. `2.5.4.3` for the common name.
    pub fn subject_attribute(&self, attribute: &str) -> Vec<String> {
        let subject = self.cert.tbs_certificate().subject();
        let matching = subject.iter().filter(|atv| atv.oid.to_string() == attribute);
        matching
            .map(|atv| String::from_utf8_lossy(atv.value.value()).into_owned())
            .collect()
    }

    /// Common name of the subject.
    pub fn common_name(&self) -> Option<String> {
        self.subject_attribute("2.5.4.3").into_iter().next()
    }

    /// Serial number as big-endian bytes without sign padding.
    pub fn serial(&self) -> &[u8] {
        crate::crl::unpadded(self.cert.tbs_certificate().serial_number().as_bytes())
    }

    /// Serial number in decimal, as X509IssuerSerial wants it.
    pub fn serial_decimal(&self) -> String {
        // base 256 to base 10 by long division; serial numbers have at most 20 bytes
        let mut digits: Vec<u8> = vec![0];
        for byte in self.serial() {
            let mut carry = u32::from(*byte);
            for digit in &mut digits {
                carry += u32::from(*digit) * 256;
                *digit = (carry % 10) as u8;
                carry /= 10;
            }
            while carry > 0 {
                digits.push((carry % 10) as u8);
                carry /= 10;
            }
        }
        digits.iter().rev().map(|d| char::from(b'0' + d)).collect()
    }

    /// Start and end of the validity, Unix seconds.
    pub fn validity(&self) -> (i64, i64) {
        let validity = self.cert.tbs_certificate().validity();
        let seconds = |time: &x509_cert::time::Time| time.to_unix_duration().as_secs() as i64;
        (seconds(&validity.not_before), seconds(&validity.not_after))
    }

    /// Is this moment (Unix seconds) inside the validity (TUC_PKI_002)?
    pub fn is_valid_at(&self, moment: i64) -> bool {
        let (from, to) = self.validity();
        (from..=to).contains(&moment)
    }

    /// Does it carry this policy (certificate type)?
    pub fn has_policy(&self, policy: Oid) -> bool {
        self.policies.contains(&policy)
    }

    /// Does its admission name this role?
    pub fn has_role(&self, role: Oid) -> bool {
        self.admission
            .as_ref()
            .is_some_and(|admission| admission.oids.contains(&role))
    }
}

/// Identifiers of the statements; what they say beyond that is not ours to judge.
fn qc_statements(der: &[u8]) -> Result<Vec<Oid>, Error> {
    let all = tlv::find(der, 0x30).ok_or(Error::Malformed("QCStatements"))?;
    let mut statements = Vec::new();
    for statement in tlv::read_all(all)? {
        let first = tlv::read_all(statement.value)?.into_iter().next();
        let first = first.ok_or(Error::Malformed("QCStatement"))?;
        statements.push(Oid::from_der(first.raw)?);
    }
    Ok(statements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admission_round_trip() {
        let admission = Admission {
            items: vec!["Betriebsstätte Arzt".into()],
            oids: vec![oid::INSTITUTION_PRAXIS_ARZT],
            registration: Some("1-2012345678".into()),
        };
        assert_eq!(Admission::parse(&admission.to_der().unwrap()).unwrap(), admission);
    }

    #[test]
    fn garbage_is_refused() {
        for bytes in [
            &b""[..],
            b"\x30\x03\x02\x01\x01",
            b"\x30\x82\xff\xff",
            &[0x30, 0x80, 0, 0],
        ] {
            assert!(X509::parse(bytes).is_err());
        }
    }
}
