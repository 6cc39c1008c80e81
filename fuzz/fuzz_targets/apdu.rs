#![no_main]
//! Commands: what is read is written the same; and answers.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(command) = card::Command::parse(data) {
        let again = card::Command::parse(&command.encode().unwrap_or_default());
        assert_eq!(again.as_ref().map(|c| (c.header(), &c.data)), Ok((command.header(), &command.data)));
    }
    let _ = card::Response::parse(data);
});
