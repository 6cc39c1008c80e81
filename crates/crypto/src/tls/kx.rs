use crate::{Curve, EcPrivate, EcPublic};
use rustls::crypto::{ActiveKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::{Error, NamedGroup, ProtocolVersion};

/// brainpoolP256r1 in TLS 1.2 (RFC 7027).
pub(super) const GROUP_TLS12: NamedGroup = NamedGroup::Unknown(26);
/// brainpoolP256r1tls13 (RFC 8734).
pub(super) const GROUP_TLS13: NamedGroup = NamedGroup::Unknown(31);

pub(super) static BRAINPOOL_TLS12: &dyn SupportedKxGroup = &Brainpool {
    group: GROUP_TLS12,
    version: ProtocolVersion::TLSv1_2,
};
pub(super) static BRAINPOOL_TLS13: &dyn SupportedKxGroup = &Brainpool {
    group: GROUP_TLS13,
    version: ProtocolVersion::TLSv1_3,
};

#[derive(Debug)]
struct Brainpool {
    group: NamedGroup,
    version: ProtocolVersion,
}

impl SupportedKxGroup for Brainpool {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let key = EcPrivate::generate(Curve::BrainpoolP256r1).map_err(|_| Error::FailedToGetRandomBytes)?;
        let public = key.public().point();
        Ok(Box::new(Exchange {
            key,
            public,
            group: self.group,
        }))
    }

    fn name(&self) -> NamedGroup {
        self.group
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == self.version
    }
}

struct Exchange {
    key: EcPrivate,
    public: Vec<u8>,
    group: NamedGroup,
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let refuse = |_| Error::from(rustls::PeerMisbehaved::InvalidKeyShare);
        let peer = EcPublic::from_point(Curve::BrainpoolP256r1, peer).map_err(refuse)?;
        let shared = self.key.agree(&peer).map_err(refuse)?;
        Ok(SharedSecret::from(&shared[..]))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        self.group
    }
}
