#![no_main]
//! What clients and the directory say to the LDAP proxy, within its limits.
use tokio_util::codec::Decoder;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for longest in [konnektor::ldap::QUESTION, konnektor::ldap::ANSWER] {
        let mut codec = ldap3_proto::LdapCodec::new(Some(longest), Some(konnektor::ldap::DEPTH));
        let mut bytes = bytes::BytesMut::from(data);
        while let Ok(Some(_)) = codec.decode(&mut bytes) {}
    }
});
