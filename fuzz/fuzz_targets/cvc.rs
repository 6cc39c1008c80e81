#![no_main]
//! CV certificates.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(cvc) = asn1::Cvc::parse(data) {
        assert_eq!(asn1::Cvc::parse(&cvc.command_data()).map(|again| again.body), Ok(cvc.body));
    }
});
