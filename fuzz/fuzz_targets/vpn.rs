#![no_main]
//! What name servers say about concentrators, profiles of environments, what a DHCP server has lent, and plans as a helper is asked to carry them out.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let strings: Vec<String> = text.split('\n').map(str::to_owned).collect();
    for service in [network::Service::Ti, network::Service::Sis] {
        let _ = network::locate::read_txt(&strings, service);
    }
    let _ = network::Profile::read(&text);
    let _ = network::Lent::parse(&text);
    if let (Ok(plan), Ok(profile)) =
        (serde_json::from_slice::<network::Plan>(data), network::Environment::TU.profile())
    {
        let _ = plan.check(&profile);
    }
});
