//! OCSP (RFC 6960) with the extensions of the TI: requests and answers as structures, nothing decided here.

use crate::{Error, oid};
use der::asn1::{Any, BitString, GeneralizedTime, Int, Null, ObjectIdentifier as Oid, OctetString};
use der::{Choice, Decode, Encode, Enumerated, Sequence};
use spki::AlgorithmIdentifierOwned;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::ext::Extension;
use x509_cert::name::Name;

/// Which certificate is asked about. Hashes are SHA-1 (GS-A_5131), a name and not a protection.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
#[allow(missing_docs)]
pub struct CertId {
    pub hash_algorithm: AlgorithmIdentifierOwned,
    pub issuer_name_hash: OctetString,
    pub issuer_key_hash: OctetString,
    pub serial_number: Int,
}

impl CertId {
    /// From the SHA-1 hashes of the issuer's name and key, and the serial number.
    pub fn new(issuer_name_hash: &[u8], issuer_key_hash: &[u8], serial: &[u8]) -> Result<Self, Error> {
        let positive: Vec<u8> = match serial.first() {
            Some(first) if first & 0x80 != 0 => [&[0], serial].concat(),
            _ => serial.to_vec(),
        };
        Ok(Self {
            hash_algorithm: AlgorithmIdentifierOwned {
                oid: oid::SHA1,
                parameters: Some(Any::null()),
            },
            issuer_name_hash: OctetString::new(issuer_name_hash)?,
            issuer_key_hash: OctetString::new(issuer_key_hash)?,
            serial_number: Int::new(&positive)?,
        })
    }

    /// Same certificate? Compares hashes and serial number, not how the algorithm was written.
    pub fn same(&self, other: &Self) -> bool {
        self.hash_algorithm.oid == other.hash_algorithm.oid
            && self.issuer_name_hash == other.issuer_name_hash
            && self.issuer_key_hash == other.issuer_key_hash
            && self.serial_number == other.serial_number
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
struct Request {
    cert_id: CertId,
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    extensions: Option<Vec<Extension>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
struct TbsRequest {
    #[asn1(context_specific = "0", default = "version_1", tag_mode = "EXPLICIT")]
    version: u8,
    #[asn1(context_specific = "1", optional = "true", tag_mode = "EXPLICIT")]
    requestor: Option<Any>,
    requests: Vec<Request>,
    #[asn1(context_specific = "2", optional = "true", tag_mode = "EXPLICIT")]
    extensions: Option<Vec<Extension>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
struct OcspRequest {
    tbs: TbsRequest,
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    signature: Option<Any>,
}

fn version_1() -> u8 {
    0
}

/// An unsigned request about one certificate, with a nonce if given.
pub fn encode_request(cert_id: CertId, nonce: Option<&[u8]>) -> Result<Vec<u8>, Error> {
    let extensions = nonce
        .map(nonce_extension)
        .transpose()?
        .map(|extension| vec![extension]);
    let requests = vec![Request {
        cert_id,
        extensions: None,
    }];
    let tbs = TbsRequest {
        version: 0,
        requestor: None,
        requests,
        extensions,
    };
    Ok(OcspRequest { tbs, signature: None }.to_der()?)
}

/// What a responder needs of a request: the certificates asked about and the nonce.
pub fn decode_request(der: &[u8]) -> Result<(Vec<CertId>, Option<Vec<u8>>), Error> {
    let request = OcspRequest::from_der(der)?;
    let nonce = find_nonce(request.tbs.extensions.as_deref());
    Ok((
        request.tbs.requests.into_iter().map(|r| r.cert_id).collect(),
        nonce,
    ))
}

fn nonce_extension(nonce: &[u8]) -> Result<Extension, Error> {
    let value = OctetString::new(nonce)?.to_der()?;
    Ok(Extension {
        extn_id: oid::OCSP_NONCE,
        critical: false,
        extn_value: OctetString::new(value)?,
    })
}

fn find_nonce(extensions: Option<&[Extension]>) -> Option<Vec<u8>> {
    let extension = extensions?.iter().find(|e| e.extn_id == oid::OCSP_NONCE)?;
    let inner = OctetString::from_der(extension.extn_value.as_bytes()).ok()?;
    Some(inner.as_bytes().to_vec())
}

/// Outcome of the request as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enumerated)]
#[asn1(type = "ENUMERATED")]
#[repr(u8)]
#[allow(missing_docs)]
pub enum ResponseStatus {
    Successful = 0,
    MalformedRequest = 1,
    InternalError = 2,
    TryLater = 3,
    SigRequired = 5,
    Unauthorized = 6,
}

#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
struct ResponseBytes {
    response_type: Oid,
    response: OctetString,
}

#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
struct OcspResponse {
    status: ResponseStatus,
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    bytes: Option<ResponseBytes>,
}

/// When and why a certificate was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
#[allow(missing_docs)]
pub struct RevokedInfo {
    pub time: GeneralizedTime,
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    pub reason: Option<Any>,
}

/// Status of one certificate.
#[derive(Debug, Clone, PartialEq, Eq, Choice)]
#[allow(missing_docs)]
pub enum CertStatus {
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    Good(Null),
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", constructed = "true")]
    Revoked(RevokedInfo),
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT")]
    Unknown(Null),
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
#[allow(missing_docs)]
pub struct SingleResponse {
    pub cert_id: CertId,
    pub status: CertStatus,
    pub this_update: GeneralizedTime,
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    pub next_update: Option<GeneralizedTime>,
    #[asn1(context_specific = "1", optional = "true", tag_mode = "EXPLICIT")]
    pub extensions: Option<Vec<Extension>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
struct CertHash {
    algorithm: AlgorithmIdentifierOwned,
    hash: OctetString,
}

impl SingleResponse {
    /// The SHA-256 of the certificate that the responder really knows (positive statement), if given.
    pub fn cert_hash(&self) -> Option<Vec<u8>> {
        let extension = self
            .extensions
            .as_ref()?
            .iter()
            .find(|e| e.extn_id == oid::CERT_HASH)?;
        let value = CertHash::from_der(extension.extn_value.as_bytes()).ok()?;
        (value.algorithm.oid == oid::SHA256).then(|| value.hash.as_bytes().to_vec())
    }

    /// The CertHash extension for this SHA-256.
    pub fn cert_hash_extension(sha256: &[u8]) -> Result<Extension, Error> {
        let algorithm = AlgorithmIdentifierOwned {
            oid: oid::SHA256,
            parameters: None,
        };
        let value = CertHash {
            algorithm,
            hash: OctetString::new(sha256)?,
        }
        .to_der()?;
        Ok(Extension {
            extn_id: oid::CERT_HASH,
            critical: false,
            extn_value: OctetString::new(value)?,
        })
    }
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq, Choice)]
#[allow(missing_docs)]
pub enum ResponderId {
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", constructed = "true")]
    ByName(Name),
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", constructed = "true")]
    ByKey(OctetString),
}

/// The signed part of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
#[allow(missing_docs)]
pub struct ResponseData {
    #[asn1(context_specific = "0", default = "version_1", tag_mode = "EXPLICIT")]
    pub version: u8,
    pub responder: ResponderId,
    pub produced_at: GeneralizedTime,
    pub responses: Vec<SingleResponse>,
    #[asn1(context_specific = "1", optional = "true", tag_mode = "EXPLICIT")]
    pub extensions: Option<Vec<Extension>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
struct BasicResponse {
    data: Any,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    certificates: Option<Vec<CertificateInner<Raw>>>,
}

/// A decoded answer: its data, the exact signed bytes, the signature and the responder's certificates.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Answer {
    pub data: ResponseData,
    pub signed: Vec<u8>,
    pub algorithm: Oid,
    pub signature: Vec<u8>,
    pub certificates: Vec<Vec<u8>>,
}

impl Answer {
    /// The nonce that was sent back, if any.
    pub fn nonce(&self) -> Option<Vec<u8>> {
        find_nonce(self.data.extensions.as_deref())
    }
}

/// Decodes an answer. A status other than `successful` is returned as such.
pub fn decode_response(der: &[u8]) -> Result<Result<Answer, ResponseStatus>, Error> {
    let response = OcspResponse::from_der(der)?;
    let bytes = match (response.status, response.bytes) {
        (ResponseStatus::Successful, Some(bytes)) => bytes,
        (ResponseStatus::Successful, None) => return Err(Error::Missing("OCSP response bytes")),
        (status, _) => return Ok(Err(status)),
    };
    if bytes.response_type != oid::OCSP_BASIC {
        return Err(Error::Malformed("OCSP response type"));
    }
    let basic = BasicResponse::from_der(bytes.response.as_bytes())?;
    let signed = basic.data.to_der()?;
    let certificates = basic.certificates.unwrap_or_default();
    Ok(Ok(Answer {
        data: ResponseData::from_der(&signed)?,
        signed,
        algorithm: basic.algorithm.oid,
        signature: basic.signature.raw_bytes().to_vec(),
        certificates: certificates
            .iter()
            .map(Encode::to_der)
            .collect::<Result<_, _>>()?,
    }))
}

/// Encodes an answer that is signed over `data`'s DER.
pub fn encode_response(
    data: &[u8],
    algorithm: Oid,
    signature: &[u8],
    responder: &[u8],
) -> Result<Vec<u8>, Error> {
    let basic = BasicResponse {
        data: Any::from_der(data)?,
        algorithm: AlgorithmIdentifierOwned {
            oid: algorithm,
            parameters: None,
        },
        signature: BitString::from_bytes(signature)?,
        certificates: Some(vec![CertificateInner::<Raw>::from_der(responder)?]),
    };
    let response = OctetString::new(basic.to_der()?)?;
    let bytes = ResponseBytes {
        response_type: oid::OCSP_BASIC,
        response,
    };
    Ok(OcspResponse {
        status: ResponseStatus::Successful,
        bytes: Some(bytes),
    }
    .to_der()?)
}

/// Encodes an answer that says no.
pub fn encode_refusal(status: ResponseStatus) -> Result<Vec<u8>, Error> {
    Ok(OcspResponse { status, bytes: None }.to_der()?)
}

/// Extensions of an answer that sends `nonce` back.
pub fn nonce_extensions(nonce: Option<&[u8]>) -> Result<Option<Vec<Extension>>, Error> {
    Ok(nonce
        .map(nonce_extension)
        .transpose()?
        .map(|extension| vec![extension]))
}
