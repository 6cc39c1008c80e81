#![no_main]
//! What name servers say about concentrators, and profiles of environments.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let strings: Vec<String> = text.split('\n').map(str::to_owned).collect();
    for service in [network::Service::Ti, network::Service::Sis] {
        let _ = network::locate::read_txt(&strings, service);
    }
    let _ = network::Profile::read(&text);
});
