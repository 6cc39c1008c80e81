#![no_main]
//! X.509 certificates and OCSP.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = asn1::X509::parse_file(data);
    let _ = asn1::ocsp::decode_response(data);
    let _ = asn1::ocsp::decode_request(data);
});
