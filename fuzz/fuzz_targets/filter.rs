#![no_main]
//! XPath filters of subscriptions.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(filter) = text.parse::<soap::Filter>()
    {
        let event = soap::cetp::CetpEvent {
            topic: "CARD/INSERTED".into(),
            kind: "Operation".into(),
            severity: "Info".into(),
            subscription: "1".into(),
            parameters: vec![("CardType".into(), "EGK".into()), ("CtID".into(), "KT1".into())],
        };
        let _ = filter.passes(&event);
    }
});
