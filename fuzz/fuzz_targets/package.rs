#![no_main]
//! Packages of renewed certificates: what is read is written again as the same.
use identity::Package;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    const ICCSN: &str = "80276009990000000010";
    let _ = identity::unzip(data, 16, 64 * 1024);
    if let Ok(package) = Package::read(data, ICCSN) {
        let written = package.write(ICCSN).expect("what was read");
        assert_eq!(Package::read(&written, ICCSN).expect("what was written"), package);
    }
});
