#![no_main]
//! SOAP requests and the messages of update services, the list of networks beside the TI.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(envelope) = soap::Envelope::parse(text) {
            let _ = envelope.body().and_then(soap::Request::decode);
        }
        let _ = soap::inventory::Inventory::parse(text);
        let _ = soap::ksr::parse_response(text);
        let _ = soap::ksr::parse_request(text);
        let _ = soap::cm::Step::parse(text);
        let _ = soap::cm::UpdateFlags::parse(text);
        let _ = soap::cm::ServiceRequest::parse(text);
        let _ = soap::provisioning::Request::parse(text);
        for operation in [soap::provisioning::Operation::Register, soap::provisioning::Operation::Status] {
            let _ = soap::provisioning::Answer::parse(text, operation);
        }
    }
});
