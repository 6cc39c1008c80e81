#![no_main]
//! CETP frames.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(event) = soap::cetp::CetpEvent::decode(data) {
        let _ = soap::cetp::CetpEvent::decode(&event.encode());
    }
});
