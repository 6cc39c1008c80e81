#![no_main]
//! S/MIME: messages as anybody may send them.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = signature::smime::verify(data, &[]);
});
