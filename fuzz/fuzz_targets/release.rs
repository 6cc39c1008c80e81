#![no_main]
//! What a release brings before anybody has believed it: archive and manifest; and what its supervisor reads.
use slots::{Manifest, Note, Pointer, Version};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(manifest) = Manifest::parse(data) {
        let json = serde_json::to_vec(&manifest).expect("what was read");
        assert_eq!(Manifest::parse(&json).expect("what was written"), manifest);
    }
    let _ = Pointer::parse(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Note::parse(text);
        if let Ok(version) = text.parse::<Version>() {
            assert_eq!(version.to_string().parse::<Version>().ok(), Some(version));
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("archive.zip");
    std::fs::write(&archive, data).expect("a file");
    let _ = update::unpack(&archive, &folder.path().join("in"));
    assert!(std::fs::read_dir(folder.path()).expect("a folder").count() <= 2, "outside");
});
