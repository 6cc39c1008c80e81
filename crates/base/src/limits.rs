//! Size limits of everything that parses foreign bytes. Sizes in bytes unless a unit is named.

/// Largest request to an operation that carries no document.
pub const SOAP_REQUEST_SMALL: usize = 1024 * 1024;
/// Largest document (TIP1-A_4500: 25 MB).
pub const DOCUMENT: usize = 26_214_400;
/// Largest request to an operation that carries documents: one of the largest in base64, and the same once more as
/// signature, or many smaller ones.
pub const SOAP_REQUEST_DOCUMENTS: usize = 80 * 1024 * 1024;
/// Memory for large requests being read or served at one time, in bytes of their text. Each takes about five times that
/// much while it is served.
pub const SOAP_REQUESTS_TOGETHER: usize = 160 * 1024 * 1024;
/// Most documents in one request to sign (the specification asks for 50, a batch has at most 250).
pub const SIGN_REQUESTS: usize = 250;
/// Deepest nesting of elements in any XML we read (TAB_KON_775 asks for 30).
pub const XML_DEPTH: usize = 64;
/// Most attributes of one element (TAB_KON_775 asks for 20).
pub const XML_ATTRIBUTES: usize = 256;
/// Most namespace declarations a parser would copy, summed over all elements that declare one.
pub const XML_NAMESPACES: usize = 4_000_000;
/// Most XML nodes in one document.
pub const XML_NODES: u32 = 400_000;
/// Largest payload of one SICCT envelope; the specification asks for 3072 (SICCT 1.3, 6.1.4).
pub const SICCT_PAYLOAD: usize = 128 * 1024;
/// Largest card image file.
pub const CARD_IMAGE: usize = 8 * 1024 * 1024;
/// Largest trust list; production's is 0.65 MB.
pub const TSL: usize = 16 * 1024 * 1024;
/// Largest revocation list.
pub const CRL: usize = 1024 * 1024;
/// Largest OCSP response.
pub const OCSP_RESPONSE: usize = 64 * 1024;
/// Largest CETP message (4-byte length on the wire).
pub const CETP_MESSAGE: usize = 1024 * 1024;
/// Largest XML inside a container of insured person's data after decompression.
pub const VSD_XML: usize = 256 * 1024;
/// Largest HTTP answer of a back-end service.
pub const BACKEND_RESPONSE: usize = 8 * 1024 * 1024;
