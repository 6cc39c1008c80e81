#![no_main]
//! Trust lists, and trusted lists for qualified signatures.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = pki::tsl::Tsl::read(text);
        let _ = pki::TrustedList::read(text);
    }
});
