#![no_main]
//! XML signatures and XML encryption: no signature holds that nobody made.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(findings) = signature::xades::verify(text, &[]) {
        for finding in &findings.signatures {
            // the seeds hold signatures that are right; a certificate must have come along then
            assert!(finding.outcome.is_err() || finding.certificate.is_some());
        }
    }
    let _ = signature::xmlenc::Sealed::read(text);
    if let Some((path, rest)) = text.split_once('\n')
        && let Ok(document) = roxmltree::Document::parse(rest)
    {
        let _ = xmlsec::path::find(document.root(), path);
    }
});
