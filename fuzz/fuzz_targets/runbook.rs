#![no_main]
//! Check lists and walks that somebody brings, and what a terminal says while it is given a firmware.
use runbook::{About, Run, Runbook, record};
use terminal::firmware::{Finish, Parameters};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some(parameters) = Parameters::parse(data) {
        assert_eq!(Parameters::parse(&parameters.encode()), Some(parameters));
    }
    if let Some(finish) = Finish::parse(data) {
        assert_eq!(Finish::parse(&finish.encode()), Some(finish));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = Runbook::parse(text);
    let Ok(run) = serde_json::from_str::<Run>(text) else { return };
    let here = || (run_time(), "who".to_owned(), "device".to_owned());
    if let Ok(run) = run.carry(here()) {
        let about = About {
            device: "device".into(),
            version: "1".into(),
            at: run_time(),
            english: false,
        };
        record(&run, &about).expect("what was carried can be written down");
    }
});

fn run_time() -> base::Timestamp {
    base::Timestamp::from_second(1_800_000_000).expect("a time")
}
