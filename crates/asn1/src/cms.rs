//! CMS: SignedData (RFC 5652) and AuthEnvelopedData (RFC 5083). Read from DER (see [`crate::ber`] for what is not),
//! borrowed from the input, so that a large document is not copied; written as DER.

use crate::{Error, oid, tlv};
use der::asn1::ObjectIdentifier as Oid;
use der::{Decode, Encode};
use std::borrow::Cow;
use tlv::Tlv;

const SEQUENCE: u32 = 0x30;
const SET: u32 = 0x31;
const INTEGER: u32 = 0x02;
const OCTETS: u32 = 0x04;
const OBJECT: u32 = 0x06;

/// Most signatures, certificates, recipients or attributes of one message.
const MANY: usize = 2_000;

/// Takes data objects one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self, tag: u32, name: &'static str) -> Result<Tlv<'a>, Error> {
        self.maybe(tag).ok_or(Error::Missing(name))
    }

    fn maybe(&mut self, tag: u32) -> Option<Tlv<'a>> {
        let (object, rest) = tlv::read(self.0).ok().filter(|(object, _)| object.tag == tag)?;
        self.0 = rest;
        Some(object)
    }
}

fn many<'a>(value: &'a [u8]) -> Result<Vec<Tlv<'a>>, Error> {
    let mut rest = value;
    let mut list = Vec::new();
    while !rest.is_empty() {
        let (object, after) = tlv::read(rest)?;
        if list.len() == MANY {
            return Err(Error::Malformed("too many elements in a CMS message"));
        }
        list.push(object);
        rest = after;
    }
    Ok(list)
}

fn oid_of(object: Tlv<'_>) -> Result<Oid, Error> {
    Ok(Oid::from_der(object.raw)?)
}

/// The content of a ContentInfo of this type.
fn content_info(der: &[u8], wanted: Oid) -> Result<&[u8], Error> {
    let (outer, _) = tlv::read(der)?;
    if outer.tag != SEQUENCE {
        return Err(Error::Malformed("ContentInfo"));
    }
    let mut fields = Fields(outer.value);
    if oid_of(fields.next(OBJECT, "content type")?)? != wanted {
        return Err(Error::Malformed("content type"));
    }
    let content = fields.next(0xA0, "content")?;
    Fields(content.value)
        .next(SEQUENCE, "content")
        .map(|object| object.value)
}

/// An algorithm with its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Algorithm<'a> {
    /// Which.
    pub oid: Oid,
    /// Parameters as DER, if there are any.
    pub parameters: Option<&'a [u8]>,
    /// The whole AlgorithmIdentifier.
    pub raw: &'a [u8],
}

impl<'a> Algorithm<'a> {
    fn read(object: Tlv<'a>) -> Result<Self, Error> {
        let mut fields = Fields(object.value);
        let oid = oid_of(fields.next(OBJECT, "algorithm")?)?;
        Ok(Self {
            oid,
            parameters: Some(fields.0).filter(|rest| !rest.is_empty()),
            raw: object.raw,
        })
    }
}

/// Whose certificate is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identifier<'a> {
    /// By issuer (DER name) and serial number (content bytes).
    IssuerSerial {
        /// DER name.
        issuer: &'a [u8],
        /// Content of the INTEGER.
        serial: &'a [u8],
    },
    /// By SubjectKeyIdentifier.
    KeyId(&'a [u8]),
}

impl<'a> Identifier<'a> {
    fn read(fields: &mut Fields<'a>) -> Result<Self, Error> {
        if let Some(key) = fields.maybe(0x80) {
            return Ok(Self::KeyId(key.value));
        }
        let both = fields.next(SEQUENCE, "issuer and serial number")?;
        let mut both = Fields(both.value);
        Ok(Self::IssuerSerial {
            issuer: both.next(SEQUENCE, "issuer")?.raw,
            serial: both.next(INTEGER, "serial number")?.value,
        })
    }

    /// Does it mean this certificate?
    pub fn means(&self, certificate: &crate::X509) -> bool {
        match self {
            Self::IssuerSerial { issuer, serial } => {
                certificate.serial() == *serial && certificate.issuer_der().is_ok_and(|name| name == *issuer)
            }
            Self::KeyId(key) => certificate.subject_key.as_deref() == Some(key),
        }
    }
}

/// IssuerAndSerialNumber of a certificate.
pub fn issuer_and_serial(certificate: &crate::X509) -> Result<Vec<u8>, Error> {
    let serial = tlv::encode(INTEGER, certificate.serial());
    Ok(tlv::nest(SEQUENCE, [certificate.issuer_der()?, serial]))
}

/// An attribute with its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// What it is.
    pub oid: Oid,
    /// Its values, each as DER.
    pub values: Vec<&'a [u8]>,
    /// The whole attribute.
    pub raw: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// One attribute as DER.
    pub fn parse(der: &'a [u8]) -> Result<Self, Error> {
        let (object, rest) = tlv::read(der)?;
        if object.tag != SEQUENCE || !rest.is_empty() {
            return Err(Error::Malformed("attribute"));
        }
        Self::read(object)
    }

    fn read(object: Tlv<'a>) -> Result<Self, Error> {
        let mut fields = Fields(object.value);
        let oid = oid_of(fields.next(OBJECT, "attribute type")?)?;
        let values = many(fields.next(SET, "attribute values")?.value)?;
        Ok(Self {
            oid,
            values: values.into_iter().map(|value| value.raw).collect(),
            raw: object.raw,
        })
    }

    /// Its only value.
    pub fn value(&self) -> Result<&'a [u8], Error> {
        match self.values.as_slice() {
            [one] => Ok(one),
            _ => Err(Error::Malformed("attribute with one value expected")),
        }
    }

    /// The list in a SET.
    pub fn list(set: &'a [u8]) -> Result<Vec<Self>, Error> {
        many(set)?.into_iter().map(Self::read).collect()
    }

    /// Writes an attribute with these values.
    pub fn encode<V: AsRef<[u8]>>(oid: Oid, values: impl IntoIterator<Item = V>) -> Result<Vec<u8>, Error> {
        Ok(tlv::nest(SEQUENCE, [oid.to_der()?, set_of(values)]))
    }
}

/// SET OF in the order DER wants.
pub fn set_of<V: AsRef<[u8]>>(values: impl IntoIterator<Item = V>) -> Vec<u8> {
    let mut values: Vec<V> = values.into_iter().collect();
    values.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
    tlv::nest(SET, values)
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerInfo<'a> {
    /// Whose certificate belongs to it.
    pub signer: Identifier<'a>,
    /// Hash algorithm.
    pub digest: Algorithm<'a>,
    /// What is signed besides the content.
    pub signed: Vec<Attribute<'a>>,
    /// The same as the content of a SET, byte for byte; `None` if nothing but the content is signed.
    signed_raw: Option<&'a [u8]>,
    /// Signature algorithm.
    pub algorithm: Algorithm<'a>,
    /// Signature value.
    pub signature: &'a [u8],
    /// What was added later.
    pub unsigned: Vec<Attribute<'a>>,
    fixed: &'a [u8],
}

impl<'a> SignerInfo<'a> {
    /// One signature as DER, as counter signatures are.
    pub fn parse(der: &'a [u8]) -> Result<Self, Error> {
        let (object, _) = tlv::read(der)?;
        if object.tag != SEQUENCE {
            return Err(Error::Malformed("SignerInfo"));
        }
        Self::read(object)
    }

    fn read(object: Tlv<'a>) -> Result<Self, Error> {
        let mut fields = Fields(object.value);
        fields.next(INTEGER, "version of SignerInfo")?;
        let signer = Identifier::read(&mut fields)?;
        let digest = Algorithm::read(fields.next(SEQUENCE, "digest algorithm")?)?;
        let signed_raw = fields.maybe(0xA0).map(|object| object.value);
        let signed = signed_raw.map(Attribute::list).transpose()?.unwrap_or_default();
        let algorithm = Algorithm::read(fields.next(SEQUENCE, "signature algorithm")?)?;
        let signature = fields.next(OCTETS, "signature")?.value;
        let fixed = object
            .value
            .get(..object.value.len() - fields.0.len())
            .unwrap_or_default();
        let unsigned = fields.maybe(0xA1).map(|object| Attribute::list(object.value));
        Ok(Self {
            signer,
            digest,
            signed,
            signed_raw,
            algorithm,
            signature,
            unsigned: unsigned.transpose()?.unwrap_or_default(),
            fixed,
        })
    }

    /// The bytes that the signature value covers if there are signed attributes.
    pub fn to_be_verified(&self) -> Option<Vec<u8>> {
        self.signed_raw.map(|raw| tlv::encode(SET, raw))
    }

    /// The signed attribute of this type.
    pub fn signed_attribute(&self, oid: Oid) -> Option<&Attribute<'a>> {
        self.signed.iter().find(|attribute| attribute.oid == oid)
    }

    /// The same with further unsigned attributes, as DER.
    pub fn with_unsigned(&self, more: &[Vec<u8>]) -> Vec<u8> {
        let old = self.unsigned.iter().map(|attribute| attribute.raw);
        let mut all: Vec<&[u8]> = old.chain(more.iter().map(Vec::as_slice)).collect();
        all.sort_unstable();
        let unsigned = match all.is_empty() {
            true => Vec::new(),
            false => tlv::nest(0xA1, all),
        };
        tlv::nest(SEQUENCE, [self.fixed, &unsigned])
    }
}

/// Signatures over a content that is inside or elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedData<'a> {
    /// Type of the content.
    pub content_type: Oid,
    /// The content, unless it is elsewhere.
    pub content: Option<&'a [u8]>,
    /// Hash algorithms, each as DER.
    pub digests: Vec<Cow<'a, [u8]>>,
    /// Certificates, DER.
    pub certificates: Vec<Cow<'a, [u8]>>,
    /// Revocation information, each as a DER RevocationInfoChoice.
    pub revocations: Vec<Cow<'a, [u8]>>,
    /// Signatures, each as a DER SignerInfo.
    pub signers: Vec<Cow<'a, [u8]>>,
}

impl<'a> SignedData<'a> {
    /// Reads a ContentInfo with SignedData.
    pub fn parse(der: &'a [u8]) -> Result<Self, Error> {
        let mut fields = Fields(content_info(der, oid::CMS_SIGNED_DATA)?);
        fields.next(INTEGER, "version of SignedData")?;
        let raw = |objects: Vec<Tlv<'a>>| {
            objects
                .into_iter()
                .map(|object| Cow::Borrowed(object.raw))
                .collect()
        };
        let digests = raw(many(fields.next(SET, "digest algorithms")?.value)?);
        let mut inner = Fields(fields.next(SEQUENCE, "encapsulated content")?.value);
        let content_type = oid_of(inner.next(OBJECT, "content type")?)?;
        let content = match inner.maybe(0xA0) {
            Some(explicit) => Some(Fields(explicit.value).next(OCTETS, "content")?.value),
            None => None,
        };
        let certificates = fields.maybe(0xA0).map_or(Ok(Vec::new()), |set| many(set.value))?;
        let revocations = fields.maybe(0xA1).map_or(Ok(Vec::new()), |set| many(set.value))?;
        let signers = raw(many(fields.next(SET, "signers")?.value)?);
        Ok(Self {
            content_type,
            content,
            digests,
            // other choices than an X.509 certificate have context tags
            certificates: raw(certificates
                .into_iter()
                .filter(|one| one.tag == SEQUENCE)
                .collect()),
            revocations: raw(revocations),
            signers,
        })
    }

    /// The OCSP responses among the revocation information (RFC 5940), DER OCSPResponse.
    pub fn ocsp_responses(&self) -> Vec<Vec<u8>> {
        let all = self.revocations.iter();
        all.filter_map(|choice| ocsp_in_choice(choice)).collect()
    }

    /// A ContentInfo. The content is copied once.
    pub fn to_der(&self) -> Result<Vec<u8>, Error> {
        let version: u8 = match (self.content_type, self.revocations.is_empty()) {
            (_, false) => 5,
            (oid::CMS_DATA, true) => 1,
            _ => 3,
        };
        let digests = set_of(&self.digests);
        let mut tail = Vec::new();
        if !self.certificates.is_empty() {
            tail.extend(retag(0xA0, &self.certificates));
        }
        if !self.revocations.is_empty() {
            tail.extend(retag(0xA1, &self.revocations));
        }
        tail.extend(set_of(&self.signers));
        let head = |tag: u8, length: usize| {
            let mut head = vec![tag];
            tlv::write_length(length, &mut head);
            head
        };
        // from the inside out, so that only lengths are handled and the content is copied once
        let content = self.content.unwrap_or_default();
        let mut before = Vec::new();
        if self.content.is_some() {
            before = head(0x04, content.len());
            before.splice(0..0, head(0xA0, before.len() + content.len()));
        }
        before.splice(0..0, self.content_type.to_der()?);
        before.splice(0..0, head(0x30, before.len() + content.len()));
        before.splice(0..0, digests);
        before.splice(0..0, [0x02, 0x01, version]);
        before.splice(0..0, head(0x30, before.len() + content.len() + tail.len()));
        before.splice(0..0, head(0xA0, before.len() + content.len() + tail.len()));
        before.splice(0..0, oid::CMS_SIGNED_DATA.to_der()?);
        before.splice(0..0, head(0x30, before.len() + content.len() + tail.len()));
        before.reserve_exact(content.len() + tail.len());
        before.extend_from_slice(content);
        before.append(&mut tail);
        Ok(before)
    }
}

/// SET OF under another tag.
fn retag<V: AsRef<[u8]>>(tag: u32, values: &[V]) -> Vec<u8> {
    let mut values: Vec<&[u8]> = values.iter().map(AsRef::as_ref).collect();
    values.sort_unstable();
    tlv::nest(tag, values)
}

fn ocsp_in_choice(choice: &[u8]) -> Option<Vec<u8>> {
    let (object, _) = tlv::read(choice).ok()?;
    if object.tag != 0xA1 {
        return None;
    }
    let mut fields = Fields(object.value);
    match oid_of(fields.maybe(OBJECT)?).ok()? {
        oid::RI_OCSP_RESPONSE => Some(fields.maybe(SEQUENCE)?.raw.to_vec()),
        // some carry the BasicOCSPResponse alone
        oid::OCSP_BASIC => {
            let basic = tlv::encode(OCTETS, fields.maybe(SEQUENCE)?.raw);
            let bytes = tlv::nest(SEQUENCE, [oid::OCSP_BASIC.to_der().ok()?, basic]);
            let status = tlv::encode(0x0A, &[0]);
            Some(tlv::nest(SEQUENCE, [status, tlv::encode(0xA0, &bytes)]))
        }
        _ => None,
    }
}

/// A DER OCSPResponse as RevocationInfoChoice (RFC 5940).
pub fn ocsp_choice(response: &[u8]) -> Result<Vec<u8>, Error> {
    Ok(tlv::nest(0xA1, [&oid::RI_OCSP_RESPONSE.to_der()?[..], response]))
}

/// The fixed part of a signature whose attributes are still to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsignedSigner {
    signer: Vec<u8>,
    digest: Vec<u8>,
    attributes: Vec<u8>,
    algorithm: Vec<u8>,
}

impl UnsignedSigner {
    /// `attributes` as DER each; `digest` and `algorithm` as DER AlgorithmIdentifiers.
    pub fn new(
        certificate: &crate::X509,
        digest: Vec<u8>,
        attributes: Vec<Vec<u8>>,
        algorithm: Vec<u8>,
    ) -> Result<Self, Error> {
        Ok(Self {
            signer: issuer_and_serial(certificate)?,
            digest,
            attributes: set_of(attributes),
            algorithm,
        })
    }

    /// What is to be signed.
    pub fn message(&self) -> &[u8] {
        &self.attributes
    }

    /// The SignerInfo.
    pub fn finish(&self, signature: &[u8]) -> Vec<u8> {
        let mut attributes = self.attributes.clone();
        if let Some(tag) = attributes.first_mut() {
            *tag = 0xA0;
        }
        let parts = [
            tlv::encode(INTEGER, &[1]),
            self.signer.clone(),
            self.digest.clone(),
            attributes,
            self.algorithm.clone(),
            tlv::encode(OCTETS, signature),
        ];
        tlv::nest(SEQUENCE, parts)
    }
}

/// Who can open an envelope, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient<'a> {
    /// Whose certificate it was made for.
    pub id: Identifier<'a>,
    /// How the content key was enciphered.
    pub algorithm: Algorithm<'a>,
    /// The enciphered content key.
    pub key: &'a [u8],
}

/// A document enciphered and authenticated for several recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthEnvelopedData<'a> {
    /// Who can open it: those with key transport; others are skipped.
    pub recipients: Vec<Recipient<'a>>,
    /// Type of the content.
    pub content_type: Oid,
    /// Content encryption algorithm.
    pub algorithm: Algorithm<'a>,
    /// Nonce of AES-GCM.
    pub nonce: &'a [u8],
    /// What is enciphered.
    pub cryptogram: Cow<'a, [u8]>,
    /// Authenticated attributes as the SET that counts as associated data; mostly empty.
    pub associated: Vec<u8>,
    /// The authentication tag.
    pub mac: &'a [u8],
    /// Attributes that nobody protects.
    pub unprotected: Vec<Attribute<'a>>,
}

impl<'a> AuthEnvelopedData<'a> {
    /// Reads a ContentInfo with AuthEnvelopedData.
    pub fn parse(der: &'a [u8]) -> Result<Self, Error> {
        let mut fields = Fields(content_info(der, oid::CMS_AUTH_ENVELOPED_DATA)?);
        fields.next(INTEGER, "version of AuthEnvelopedData")?;
        fields.maybe(0xA0);
        let mut recipients = Vec::new();
        for object in many(fields.next(SET, "recipients")?.value)? {
            if object.tag != SEQUENCE {
                continue;
            }
            let mut inner = Fields(object.value);
            inner.next(INTEGER, "version of the recipient")?;
            recipients.push(Recipient {
                id: Identifier::read(&mut inner)?,
                algorithm: Algorithm::read(inner.next(SEQUENCE, "key encryption algorithm")?)?,
                key: inner.next(OCTETS, "enciphered key")?.value,
            });
        }
        let mut inner = Fields(fields.next(SEQUENCE, "enciphered content")?.value);
        let content_type = oid_of(inner.next(OBJECT, "content type")?)?;
        let algorithm = Algorithm::read(inner.next(SEQUENCE, "content encryption algorithm")?)?;
        let parameters = algorithm
            .parameters
            .ok_or(Error::Missing("parameters of AES-GCM"))?;
        let gcm = Fields(parameters).next(SEQUENCE, "parameters of AES-GCM")?;
        let nonce = Fields(gcm.value).next(OCTETS, "nonce")?.value;
        let cryptogram = match (inner.maybe(0x80), inner.maybe(0xA0)) {
            (Some(whole), _) => crate::ber::implicit_octets(false, whole.value)?,
            (None, Some(pieces)) => crate::ber::implicit_octets(true, pieces.value)?,
            (None, None) => return Err(Error::Missing("enciphered content")),
        };
        let associated = fields.maybe(0xA1).map(|object| tlv::encode(SET, object.value));
        let mac = fields.next(OCTETS, "authentication tag")?.value;
        let unprotected = fields.maybe(0xA2).map(|object| loose_attributes(object.value));
        Ok(Self {
            recipients,
            content_type,
            algorithm,
            nonce,
            cryptogram,
            associated: associated.unwrap_or_default(),
            mac,
            unprotected: unprotected.unwrap_or_default(),
        })
    }
}

/// Attributes that nobody protects may be anything; gematik's own mails have values outside of their set.
fn loose_attributes(value: &[u8]) -> Vec<Attribute<'_>> {
    Attribute::list(value).unwrap_or_default()
}

/// An enciphered content key for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// IssuerAndSerialNumber, DER.
    pub recipient: Vec<u8>,
    /// AlgorithmIdentifier, DER.
    pub algorithm: Vec<u8>,
    /// The cryptogram.
    pub key: Vec<u8>,
}

/// Writes a ContentInfo with AuthEnvelopedData: id-data, AES-256-GCM, key transport. `unprotected` are DER attributes.
pub fn auth_enveloped_data(
    recipients: &[WrappedKey],
    nonce: &[u8; 12],
    cryptogram: &[u8],
    mac: &[u8],
    unprotected: &[Vec<u8>],
) -> Result<Vec<u8>, Error> {
    let infos = recipients.iter().map(|one| {
        let parts = [
            tlv::encode(INTEGER, &[0]),
            one.recipient.clone(),
            one.algorithm.clone(),
            tlv::encode(OCTETS, &one.key),
        ];
        tlv::nest(SEQUENCE, parts)
    });
    let gcm = tlv::nest(
        SEQUENCE,
        [
            tlv::encode(OCTETS, nonce),
            tlv::encode(INTEGER, &[mac.len() as u8]),
        ],
    );
    let algorithm = tlv::nest(SEQUENCE, [oid::AES256_GCM.to_der()?, gcm]);
    let content = tlv::nest(
        SEQUENCE,
        [
            &oid::CMS_DATA.to_der()?[..],
            &algorithm,
            &tlv::encode(0x80, cryptogram),
        ],
    );
    let mut parts = vec![
        tlv::encode(INTEGER, &[0]),
        set_of(infos),
        content,
        tlv::encode(OCTETS, mac),
    ];
    if !unprotected.is_empty() {
        parts.push(retag(0xA2, unprotected));
    }
    let data = tlv::nest(0xA0, [tlv::nest(SEQUENCE, parts)]);
    Ok(tlv::nest(
        SEQUENCE,
        [oid::CMS_AUTH_ENVELOPED_DATA.to_der()?, data],
    ))
}

/// Seconds since 1970 of a DER Time (UTCTime or GeneralizedTime).
pub fn time(der: &[u8]) -> Result<i64, Error> {
    let time = x509_cert::time::Time::from_der(der)?;
    i64::try_from(time.to_unix_duration().as_secs()).map_err(|_| Error::Malformed("time"))
}

/// DER Time of a moment in seconds since 1970: UTCTime until 2049, as RFC 5652 wants.
pub fn encode_time(seconds: i64) -> Result<Vec<u8>, Error> {
    use x509_cert::time::Time;
    let since = std::time::Duration::from_secs(seconds.try_into().map_err(|_| Error::Malformed("time"))?);
    let time = match der::asn1::UtcTime::from_unix_duration(since) {
        Ok(utc) => Time::UtcTime(utc),
        Err(_) => Time::GeneralTime(der::asn1::GeneralizedTime::from_unix_duration(since)?),
    };
    Ok(time.to_der()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_data_round_trip() {
        let data = SignedData {
            content_type: oid::CMS_DATA,
            content: Some(&[7; 70_000]),
            digests: vec![tlv::nest(SEQUENCE, [oid::SHA256.to_der().unwrap()]).into()],
            certificates: Vec::new(),
            revocations: vec![ocsp_choice(&[0x30, 0]).unwrap().into()],
            signers: Vec::new(),
        };
        let der = data.to_der().unwrap();
        assert!(matches!(crate::ber::to_der(&der).unwrap(), Cow::Borrowed(_)));
        let again = SignedData::parse(&der).unwrap();
        assert_eq!(again, data);
        assert_eq!(again.ocsp_responses(), [vec![0x30, 0]]);
    }

    #[test]
    fn envelope_round_trip() {
        let key = WrappedKey {
            recipient: tlv::nest(SEQUENCE, [tlv::encode(SEQUENCE, &[]), tlv::encode(INTEGER, &[5])]),
            algorithm: tlv::nest(SEQUENCE, [oid::ECIES.to_der().unwrap()]),
            key: vec![1, 2, 3],
        };
        let der = auth_enveloped_data(&[key], &[9; 12], b"cipher", &[4; 16], &[]).unwrap();
        let read = AuthEnvelopedData::parse(&der).unwrap();
        assert_eq!(
            (read.nonce, &read.cryptogram[..], read.mac),
            (&[9; 12][..], &b"cipher"[..], &[4; 16][..])
        );
        assert_eq!(read.recipients.len(), 1);
        assert_eq!(read.recipients[0].algorithm.oid, oid::ECIES);
        for end in 0..der.len() {
            assert!(AuthEnvelopedData::parse(&der[..end]).is_err());
        }
    }

    #[test]
    fn times() {
        for seconds in [0, 1_800_000_000, 2_600_000_000] {
            assert_eq!(time(&encode_time(seconds).unwrap()).unwrap(), seconds);
        }
    }
}
