#![no_main]
//! Card images of both formats.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(system) = card::image::read(text) {
            assert!(card::image::read(&card::image::write(&system)).is_ok());
        }
        let _ = card::image::read_file_image(text);
        let _ = card::access::AccessRules::parse(text);
    }
});
