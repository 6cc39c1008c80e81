//! CAdES (ETSI EN 319 122-1, baseline B): signatures in CMS, with the document inside (enveloping) or elsewhere
//! (detached), several side by side (parallel), and signatures over signatures (counter signatures).

use crate::algorithm::{self, Signed};
use crate::{Draft, Error, Finding, Findings, Flaw, Signer};
use asn1::cms::{self, Attribute, SignedData, SignerInfo, UnsignedSigner};
use asn1::{X509, ber, oid, tlv};
use base::Timestamp;
use crypto::{Hash, PublicKey};
use der::Encode;
use std::borrow::Cow;

/// Most signatures of one document.
pub const SIGNATURES: usize = 100;

/// Attributes that this module makes itself: a caller's would contradict them.
const OWN: [der::asn1::ObjectIdentifier; 8] = [
    oid::CONTENT_HINTS,
    oid::MIME_TYPE,
    oid::CONTENT_TYPE,
    oid::MESSAGE_DIGEST,
    oid::SIGNING_TIME,
    oid::SIGNING_CERTIFICATE_V2,
    oid::SIGNING_CERTIFICATE,
    oid::COUNTER_SIGNATURE,
];

/// What goes into a signature besides what every one has: what the document is, and attributes of the caller, DER.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extra {
    /// What the document is called (content hints).
    pub description: Option<String>,
    /// Its media type.
    pub mime: Option<String>,
    /// Signed.
    pub signed: Vec<Vec<u8>>,
    /// Added without being signed.
    pub unsigned: Vec<Vec<u8>>,
}

impl Extra {
    /// Takes what can be put in and leaves out what would contradict this module's own attributes, or each other; the
    /// second part says whether something was left out (4273).
    pub fn sift(mut self) -> (Self, bool) {
        let (mut left_out, mut seen) = (false, Vec::new());
        let mut sift = |list: Vec<Vec<u8>>| {
            let kept = list.into_iter().filter(|der| {
                let oid = Attribute::parse(der).ok().map(|attribute| attribute.oid);
                let fits = oid.is_some_and(|oid| !OWN.contains(&oid) && !seen.contains(&oid));
                seen.extend(oid);
                left_out |= !fits;
                fits
            });
            kept.collect::<Vec<_>>()
        };
        let (signed, unsigned) = (
            sift(std::mem::take(&mut self.signed)),
            sift(std::mem::take(&mut self.unsigned)),
        );
        let sifted = Self {
            signed,
            unsigned,
            ..self
        };
        (sifted, left_out)
    }
}

/// A first signature over `document`, which goes inside if it is `enveloped`.
pub fn sign(document: Vec<u8>, enveloped: bool, signer: &Signer, extra: Extra) -> Result<Draft, Error> {
    let unsigned = prepare(
        signer,
        &document_attributes(&crypto::sha256([&document]), signer)?,
        &extra,
    )?;
    let certificate = signer.certificate.der().to_vec();
    let message = unsigned.message().to_vec();
    Ok(Draft::new(signer, vec![message], move |values, ocsp| {
        let data = SignedData {
            content_type: oid::CMS_DATA,
            content: enveloped.then_some(&document[..]),
            digests: vec![algorithm::sha256()?.into()],
            certificates: vec![certificate.into()],
            revocations: choices(ocsp)?,
            signers: vec![finished(&unsigned, values, 0, &extra)?.into()],
        };
        Ok(data.to_der()?)
    }))
}

type Assemble = Box<dyn FnOnce(&[Vec<u8>]) -> Result<Vec<u8>, Error> + Send + Sync>;

/// A detached signature over a digest, without signing time, as PDF carries it: what is to be signed, and how the CMS is
/// made from the value.
pub(crate) fn detached_over(digest: &[u8], signer: &Signer) -> Result<(Vec<u8>, Assemble), Error> {
    let mut attributes = document_attributes(digest, signer)?;
    let time = oid::SIGNING_TIME;
    attributes.retain(|der| Attribute::parse(der).is_ok_and(|attribute| attribute.oid != time));
    let unsigned = prepare(signer, &attributes, &Extra::default())?;
    let certificate = signer.certificate.der().to_vec();
    let message = unsigned.message().to_vec();
    let assemble = move |values: &[Vec<u8>]| {
        let data = SignedData {
            content_type: oid::CMS_DATA,
            content: None,
            digests: vec![algorithm::sha256()?.into()],
            certificates: vec![certificate.into()],
            revocations: Vec::new(),
            signers: vec![finished(&unsigned, values, 0, &Extra::default())?.into()],
        };
        Ok(data.to_der()?)
    };
    Ok((message, Box::new(assemble)))
}

/// A further signature beside those in `cms`. The document is inside or given; a CMS without it and without `document`
/// cannot be signed again.
pub fn sign_beside(
    cms: Vec<u8>,
    document: Option<&[u8]>,
    signer: &Signer,
    extra: Extra,
) -> Result<Draft, Error> {
    let cms = ber::to_der(&cms)?.into_owned();
    let data = SignedData::parse(&cms)?;
    room_for_another(&data)?;
    let content = data.content.or(document).ok_or(Error::DocumentMissing)?;
    let mut attributes = document_attributes(&crypto::sha256([content]), signer)?;
    if let Some(first) = attributes.first_mut() {
        *first = Attribute::encode(oid::CONTENT_TYPE, [data.content_type.to_der()?])?;
    }
    further(cms, &attributes, signer, extra)
}

/// A further signature beside those in a CMS whose document is elsewhere: over the digest that a signature inside vouches
/// for, which must hold itself.
pub fn sign_same(cms: Vec<u8>, signer: &Signer, extra: Extra) -> Result<Draft, Error> {
    let cms = ber::to_der(&cms)?.into_owned();
    let data = SignedData::parse(&cms)?;
    room_for_another(&data)?;
    let certificates: Vec<X509> = data
        .certificates
        .iter()
        .filter_map(|der| X509::parse(der).ok())
        .collect();
    let vouched = data.signers.iter().find_map(|raw| {
        let info = SignerInfo::parse(raw).ok()?;
        let digest = info.signed_attribute(oid::MESSAGE_DIGEST)?.value().ok()?;
        let digest = tlv::find(digest, 0x04)?.to_vec();
        let certificate = certificates.iter().find(|one| info.signer.means(one))?;
        let mut same = |_| digest.clone();
        let sha256 = info.digest.oid == oid::SHA256;
        let good = holds(&info, &mut same, Some(data.content_type), Some(certificate)).is_ok();
        (sha256 && good).then_some(digest)
    });
    let digest = vouched.ok_or(Error::DocumentMissing)?;
    further(cms, &document_attributes(&digest, signer)?, signer, extra)
}

fn further(cms: Vec<u8>, attributes: &[Vec<u8>], signer: &Signer, extra: Extra) -> Result<Draft, Error> {
    let unsigned = prepare(signer, attributes, &extra)?;
    let certificate = signer.certificate.der().to_vec();
    let message = unsigned.message().to_vec();
    Ok(Draft::new(signer, vec![message], move |values, ocsp| {
        let mut data = SignedData::parse(&cms)?;
        data.signers.push(finished(&unsigned, values, 0, &extra)?.into());
        complete(&mut data, certificate, ocsp)?;
        Ok(data.to_der()?)
    }))
}

/// Counter signatures over all signatures in `cms`, which need not contain the document.
pub fn countersign(cms: Vec<u8>, signer: &Signer) -> Result<Draft, Error> {
    let cms = ber::to_der(&cms)?.into_owned();
    let data = SignedData::parse(&cms)?;
    room_for_another(&data)?;
    let mut all = Vec::new();
    for raw in &data.signers {
        let over = SignerInfo::parse(raw)?;
        // without content type: a counter signature has no content (RFC 5652, 11.4)
        let attributes = own_attributes(&crypto::sha256([over.signature]), signer)?;
        all.push(prepare(signer, &attributes, &Extra::default())?);
    }
    let certificate = signer.certificate.der().to_vec();
    let messages = all.iter().map(|one| one.message().to_vec()).collect();
    Ok(Draft::new(signer, messages, move |values, ocsp| {
        let mut data = SignedData::parse(&cms)?;
        for (position, (unsigned, raw)) in all.iter().zip(&mut data.signers).enumerate() {
            let counter = finished(unsigned, values, position, &Extra::default())?;
            let attribute = Attribute::encode(oid::COUNTER_SIGNATURE, [counter])?;
            let signed = SignerInfo::parse(raw)?.with_unsigned(&[attribute]);
            *raw = Cow::Owned(signed);
        }
        complete(&mut data, certificate, ocsp)?;
        Ok(data.to_der()?)
    }))
}

fn room_for_another(data: &SignedData<'_>) -> Result<(), Error> {
    match data.signers.len() {
        0 => Err(Error::NoSignature),
        1..SIGNATURES => Ok(()),
        _ => Err(Error::TooMuch("signatures")),
    }
}

/// Content type, digest, and what every signature has.
fn document_attributes(digest: &[u8], signer: &Signer) -> Result<Vec<Vec<u8>>, Error> {
    let mut attributes = vec![Attribute::encode(oid::CONTENT_TYPE, [oid::CMS_DATA.to_der()?])?];
    attributes.extend(own_attributes(digest, signer)?);
    Ok(attributes)
}

fn own_attributes(digest: &[u8], signer: &Signer) -> Result<Vec<Vec<u8>>, Error> {
    let certificate = &signer.certificate;
    // ESSCertIDv2 with its default SHA-256, and issuer and serial number as GeneralNames
    let name = tlv::encode(0x30, &tlv::encode(0xA4, &certificate.issuer_der()?));
    let issuer_serial = tlv::nest(0x30, [name, tlv::encode(0x02, certificate.serial())]);
    let hash = tlv::encode(0x04, &crypto::sha256([certificate.der()]));
    let ids = tlv::nest(0x30, [tlv::nest(0x30, [hash, issuer_serial])]);
    let time = cms::encode_time(signer.at.as_second())?;
    Ok(vec![
        Attribute::encode(oid::MESSAGE_DIGEST, [tlv::encode(0x04, digest)])?,
        Attribute::encode(oid::SIGNING_TIME, [time])?,
        Attribute::encode(oid::SIGNING_CERTIFICATE_V2, [tlv::nest(0x30, [ids])])?,
    ])
}

fn prepare(signer: &Signer, attributes: &[Vec<u8>], extra: &Extra) -> Result<UnsignedSigner, Error> {
    let mut all: Vec<Vec<u8>> = attributes.iter().chain(&extra.signed).cloned().collect();
    let text = |text: &str| tlv::encode(0x0C, text.as_bytes());
    if let Some(description) = &extra.description {
        let hints = tlv::nest(0x30, [text(description), oid::CMS_DATA.to_der()?]);
        all.push(Attribute::encode(oid::CONTENT_HINTS, [hints])?);
    }
    if let Some(mime) = &extra.mime {
        all.push(Attribute::encode(oid::MIME_TYPE, [text(mime)])?);
    }
    let algorithm = algorithm::signing(signer.scheme)?;
    Ok(UnsignedSigner::new(
        &signer.certificate,
        algorithm::sha256()?,
        all,
        algorithm,
    )?)
}

fn finished(
    unsigned: &UnsignedSigner,
    values: &[Vec<u8>],
    position: usize,
    extra: &Extra,
) -> Result<Vec<u8>, Error> {
    let value = values.get(position).ok_or(Error::BrokenValue)?;
    let info = unsigned.finish(value);
    match extra.unsigned.is_empty() {
        true => Ok(info),
        false => Ok(SignerInfo::parse(&info)?.with_unsigned(&extra.unsigned)),
    }
}

fn choices(ocsp: &[Vec<u8>]) -> Result<Vec<Cow<'static, [u8]>>, Error> {
    let all = ocsp
        .iter()
        .map(|response| Ok(Cow::Owned(cms::ocsp_choice(response)?)));
    all.collect()
}

/// Adds certificate, hash algorithm and revocation data of a further signature, each once.
fn complete(data: &mut SignedData<'_>, certificate: Vec<u8>, ocsp: &[Vec<u8>]) -> Result<(), Error> {
    if !data.certificates.iter().any(|one| **one == certificate[..]) {
        data.certificates.push(certificate.into());
    }
    let digest = algorithm::sha256()?;
    let same = |one: &[u8]| tlv::path(one, &[0x30, 0x06]) == tlv::path(&digest, &[0x30, 0x06]);
    if !data.digests.iter().any(|one| same(one)) {
        data.digests.push(digest.into());
    }
    data.revocations.extend(choices(ocsp)?);
    Ok(())
}

/// The same CMS with further OCSP responses.
pub fn with_ocsp(cms: &[u8], ocsp: &[Vec<u8>]) -> Result<Vec<u8>, Error> {
    let cms = ber::to_der(cms)?;
    let mut data = SignedData::parse(&cms)?;
    data.revocations.extend(choices(ocsp)?);
    Ok(data.to_der()?)
}

/// Checks all signatures in `cms` over the document inside, or over `document` if it is elsewhere. `known` are
/// certificates that the caller adds.
pub fn verify(cms: &[u8], document: Option<&[u8]>, known: &[X509]) -> Result<Findings, Error> {
    let cms = ber::to_der(cms)?;
    let data = SignedData::parse(&cms)?;
    verify_data(&data, document, known)
}

pub(crate) fn verify_data(
    data: &SignedData<'_>,
    document: Option<&[u8]>,
    known: &[X509],
) -> Result<Findings, Error> {
    match data.signers.len() {
        0 => return Err(Error::NoSignature),
        1..=SIGNATURES => {}
        _ => return Err(Error::TooMuch("signatures")),
    }
    // a document that was given beside one that is inside must be the same
    let content = match (data.content, document) {
        (Some(inside), Some(given)) if inside != given => {
            return Err(Error::Variant(
                "the signature contains another document than the one given",
            ));
        }
        (inside, given) => inside.or(given).ok_or(Error::DocumentMissing)?,
    };
    let parsed = data.certificates.iter().filter_map(|der| X509::parse(der).ok());
    let certificates: Vec<X509> = parsed.chain(known.iter().cloned()).collect();
    let mut findings = Findings {
        certificates: data.certificates.iter().map(|der| der.to_vec()).collect(),
        ocsp: data.ocsp_responses(),
        ..Findings::default()
    };
    let mut hashed: Vec<(Hash, Vec<u8>)> = Vec::new();
    for raw in &data.signers {
        let info = SignerInfo::parse(raw)?;
        let mut digest_of = |hash: Hash| match hashed.iter().find(|(known, _)| *known == hash) {
            Some((_, value)) => value.clone(),
            None => {
                let value = hash.of([content]);
                hashed.push((hash, value.clone()));
                value
            }
        };
        let position = findings.signatures.len();
        let content_type = Some(data.content_type);
        let mut finding = examine(&info, &mut digest_of, content_type, &certificates)?;
        // somebody else's signed attributes, handed over as a document (RFC 5652 leaves that open)
        if info.to_be_verified().is_none() && are_attributes(content) {
            finding.outcome = Err(Flaw::Attributes);
        }
        findings.signatures.push(finding);
        findings.ocsp.extend(embedded_ocsp(&info));
        for counter in counters(&info) {
            if findings.signatures.len() == SIGNATURES {
                return Err(Error::TooMuch("signatures"));
            }
            let counter = SignerInfo::parse(counter)?;
            let mut digest_of = |hash: Hash| hash.of([info.signature]);
            let mut finding = examine(&counter, &mut digest_of, None, &certificates)?;
            finding.counters = Some(position);
            findings.signatures.push(finding);
        }
    }
    Ok(findings)
}

/// Could this have been signed as the signed attributes of a signature?
fn are_attributes(content: &[u8]) -> bool {
    tlv::read(content).is_ok_and(|(set, rest)| {
        set.tag == 0x31 && rest.is_empty() && Attribute::list(set.value).is_ok_and(|all| !all.is_empty())
    })
}

fn counters<'a>(info: &SignerInfo<'a>) -> Vec<&'a [u8]> {
    let all = info.unsigned.iter();
    all.filter(|attribute| attribute.oid == oid::COUNTER_SIGNATURE)
        .flat_map(|attribute| attribute.values.clone())
        .collect()
}

/// BasicOCSPResponses in revocationValues (ETSI), as whole responses.
fn embedded_ocsp(info: &SignerInfo<'_>) -> Vec<Vec<u8>> {
    let values = info
        .unsigned
        .iter()
        .filter(|attribute| attribute.oid == oid::REVOCATION_VALUES)
        .flat_map(|attribute| attribute.values.clone());
    let list = values.filter_map(|value| tlv::path(value, &[0x30, 0xA1, 0x30]));
    let basics = list.flat_map(|list| tlv::read_all(list).unwrap_or_default());
    basics
        .filter_map(|basic| {
            let octets = tlv::encode(0x04, basic.raw);
            let bytes = tlv::nest(0x30, [oid::OCSP_BASIC.to_der().ok()?, octets]);
            Some(tlv::nest(
                0x30,
                [tlv::encode(0x0A, &[0]), tlv::encode(0xA0, &bytes)],
            ))
        })
        .collect()
}

fn examine(
    info: &SignerInfo<'_>,
    digest_of: &mut dyn FnMut(Hash) -> Vec<u8>,
    content_type: Option<der::asn1::ObjectIdentifier>,
    certificates: &[X509],
) -> Result<Finding, Error> {
    let certificate = certificates.iter().find(|one| info.signer.means(one)).cloned();
    let digest = Hash::from_oid(info.digest.oid);
    let time = info.signed_attribute(oid::SIGNING_TIME);
    let time = time.and_then(|attribute| cms::time(attribute.value().ok()?).ok());
    let policy = info.signed_attribute(oid::SIGNATURE_POLICY);
    let policy = policy.and_then(|attribute| policy_id(attribute.value().ok()?));
    let read = Signed::read(&info.algorithm, digest, info.signature);
    Ok(Finding {
        counters: None,
        outcome: holds(info, digest_of, content_type, certificate.as_ref()),
        signing_time: time.and_then(|seconds| Timestamp::from_second(seconds).ok()),
        time_stamp: time_stamp(info),
        algorithm: read.ok().map(|signed| (signed.scheme, signed.hash)),
        digest: digest.map(digest_of),
        certificate,
        value: info.signature.to_vec(),
        policy,
        whole: true,
        place: String::new(),
    })
}

fn policy_id(value: &[u8]) -> Option<String> {
    let inside = tlv::find(value, 0x30)?;
    let (object, _) = tlv::read(inside).ok()?;
    let oid: der::asn1::ObjectIdentifier = der::Decode::from_der(object.raw).ok()?;
    Some(format!("urn:oid:{oid}"))
}

fn holds(
    info: &SignerInfo<'_>,
    digest_of: &mut dyn FnMut(Hash) -> Vec<u8>,
    content_type: Option<der::asn1::ObjectIdentifier>,
    certificate: Option<&X509>,
) -> Result<(), Flaw> {
    let digest = Hash::from_oid(info.digest.oid).ok_or(Flaw::Algorithm)?;
    let algorithm = Signed::read(&info.algorithm, Some(digest), info.signature)?;
    let certificate = certificate.ok_or(Flaw::NoCertificate)?;
    let spki = certificate.spki().map_err(|_| Flaw::Algorithm)?;
    let key = PublicKey::from_spki(&spki).map_err(|_| Flaw::Algorithm)?;
    let signed = match info.to_be_verified() {
        Some(attributes) => {
            let one = |oid| {
                info.signed_attribute(oid)
                    .and_then(|attribute| attribute.value().ok())
            };
            let claimed = one(oid::MESSAGE_DIGEST).and_then(|value| tlv::find(value, 0x04));
            if claimed.ok_or(Flaw::Attributes)? != digest_of(digest) {
                return Err(Flaw::Digest);
            }
            if let Some(wanted) = content_type {
                let named = one(oid::CONTENT_TYPE).and_then(|value| der::Decode::from_der(value).ok());
                if named != Some(wanted) {
                    return Err(Flaw::Attributes);
                }
            }
            names_certificate(info, certificate)?;
            algorithm.hash.of([attributes])
        }
        None => digest_of(algorithm.hash),
    };
    algorithm.verify(&key, &signed).map_err(|_| Flaw::Value)
}

/// The signed reference to the certificate, if there is one: without it somebody could exchange the certificate.
fn names_certificate(info: &SignerInfo<'_>, certificate: &X509) -> Result<(), Flaw> {
    let first = |oid| {
        let attribute = info.signed_attribute(oid)?;
        // SigningCertificateV2 { certs { ESSCertIDv2 ... } ... }
        tlv::path(attribute.value().ok()?, &[0x30, 0x30, 0x30]).map(<[u8]>::to_vec)
    };
    let der = certificate.der();
    let (id, expected) = if let Some(id) = first(oid::SIGNING_CERTIFICATE_V2) {
        let hash = match tlv::read(&id) {
            Ok((algorithm, _)) if algorithm.tag == 0x30 => {
                let (object, _) = tlv::read(algorithm.value).map_err(|_| Flaw::Attributes)?;
                let oid = der::Decode::from_der(object.raw).map_err(|_| Flaw::Attributes)?;
                Hash::from_oid(oid).ok_or(Flaw::Algorithm)?
            }
            _ => Hash::Sha256,
        };
        (id, hash.of([der]))
    } else if let Some(id) = first(oid::SIGNING_CERTIFICATE) {
        (id, crypto::sha1([der]).to_vec())
    } else {
        return Ok(());
    };
    match tlv::find(&id, 0x04) {
        Some(named) if named == expected => Ok(()),
        _ => Err(Flaw::OtherCertificate),
    }
}

/// The time in a time stamp over the signature value, if one is there and belongs to it.
fn time_stamp(info: &SignerInfo<'_>) -> Option<Timestamp> {
    let mut all = info.unsigned.iter();
    let token = all.find(|attribute| attribute.oid == oid::TIME_STAMP_TOKEN)?;
    time_in_token(token.value().ok()?, info.signature)
}

/// The time of an RFC 3161 token over these bytes.
pub(crate) fn time_in_token(token: &[u8], stamped: &[u8]) -> Option<Timestamp> {
    let data = SignedData::parse(token).ok()?;
    if data.content_type != oid::TST_INFO {
        return None;
    }
    let fields = tlv::read_all(tlv::find(data.content?, 0x30)?).ok()?;
    let imprint = fields.iter().find(|field| field.tag == 0x30)?;
    let (object, _) = tlv::read(tlv::find(imprint.value, 0x30)?).ok()?;
    let hash = Hash::from_oid(der::Decode::from_der(object.raw).ok()?)?;
    if tlv::find(imprint.value, 0x04)? != hash.of([stamped]) {
        return None;
    }
    let time = fields.iter().find(|field| field.tag == 0x18)?;
    // a fraction of a second may follow, which DER Time does not know
    let text = std::str::from_utf8(time.value).ok()?;
    let whole = format!("{}Z", text.get(..14)?);
    let seconds = cms::time(&tlv::encode(0x18, whole.as_bytes())).ok()?;
    Timestamp::from_second(seconds).ok()
}
