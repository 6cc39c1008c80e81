#![no_main]
//! CMS: signatures and envelopes; what is read is written again as the same.
use asn1::cms::{AuthEnvelopedData, SignedData};
use asn1::ber;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = signature::cades::verify(data, Some(b"document"), &[]);
    let _ = signature::cades::verify(data, None, &[]);
    let _ = signature::envelope::Sealed::read(data);
    let Ok(der) = ber::to_der(data) else { return };
    assert_eq!(ber::to_der(&der).expect("DER is BER"), der);
    let _ = AuthEnvelopedData::parse(&der);
    if let Ok(read) = SignedData::parse(&der)
        && let Ok(written) = read.to_der()
    {
        let again = SignedData::parse(&written).expect("what was written");
        assert_eq!((again.content, again.signers.len()), (read.content, read.signers.len()));
    }
});
