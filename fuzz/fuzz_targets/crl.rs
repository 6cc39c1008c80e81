#![no_main]
//! Revocation lists, and detached signatures of trust lists.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = asn1::Crl::parse(data);
    let now = "2026-01-01T00:00:00Z".parse().expect("a time");
    let _ = pki::detached::verify(b"file", data, &[], now);
});
