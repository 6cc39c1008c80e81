#![no_main]
//! Trust lists.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = pki::tsl::Tsl::read(text);
    }
});
