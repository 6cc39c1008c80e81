#![no_main]
//! SICCT heads, events, discovery datagrams and product data.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some(head) = data.first_chunk() {
        let _ = terminal::wire::Envelope::parse_head(head);
    }
    terminal::wire::Event::parse_all(data);
    let _ = terminal::wire::Announcement::parse(data);
    let _ = terminal::wire::parse_search(data);
    if let Some(product) = terminal::Product::parse(data) {
        assert_eq!(terminal::Product::parse(&product.encode("")).map(|again| again.interface), Some(product.interface));
    }
});
