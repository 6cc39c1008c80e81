//! A release's examination of itself: what must work on any device before it may say that it is ready, and what must go on
//! working for it to count as alive. Not whether the practice's world is well: that is [`super::work`].

use crate::Inner;
use crypto::tls::client_config;
use crypto::{Key, SignatureScheme};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long the doors may take to open after the start.
const OPENING: Duration = Duration::from_secs(30);
/// How long one look at a door may take.
const LOOK: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// A door seen from inside: whoever listens everywhere also listens here.
fn from_inside(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

impl Inner {
    /// Everything, once. What is wrong, in words.
    pub(super) async fn examine(self: &Arc<Self>) -> Result<(), String> {
        self.examine_store()?;
        self.examine_keys()?;
        let began = self.clock.elapsed();
        loop {
            match self.examine_doors().await {
                Ok(()) => return Ok(()),
                Err(reason) if self.clock.elapsed().saturating_sub(began) > OPENING => return Err(reason),
                Err(_) => self.clock.sleep(PAUSE).await,
            }
        }
    }

    /// Does it still answer, through its own doors, and read its state? It does not write: every few seconds for years would wear out
    /// the disk.
    pub(super) async fn answers(&self) -> bool {
        let mark = self.store.get::<String>(super::STORE, "mark");
        let outcome = match mark {
            Ok(_) => self.examine_doors().await,
            Err(error) => Err(format!("state: {error}")),
        };
        if let Err(reason) = &outcome {
            tracing::error!(reason, "this release does not answer itself");
        }
        outcome.is_ok()
    }

    /// The state takes something and gives it back.
    fn examine_store(&self) -> Result<(), String> {
        let mark = self.clock.now().to_string();
        let wrong = |error: store::StoreError| format!("state: {error}");
        self.store.put(super::STORE, "mark", &mark).map_err(wrong)?;
        match self.store.get::<String>(super::STORE, "mark").map_err(wrong)? {
            Some(found) if found == mark => Ok(()),
            _ => Err("state: gives back something else than it took".into()),
        }
    }

    /// The device's keys sign what its certificates verify.
    fn examine_keys(&self) -> Result<(), String> {
        for (name, identity) in [
            ("AK.AUT", &self.identities.ak_brainpool),
            ("AK.AUT (P-256)", &self.identities.ak_nist),
            ("SAK.AUT", &self.identities.sak),
        ] {
            let certificate = identity.chain.first().and_then(|der| asn1::X509::parse(der).ok());
            let key = certificate.and_then(|certificate| certificate.spki().ok());
            let key = key.and_then(|spki| crypto::PublicKey::from_spki(&spki).ok());
            let signed = identity.key.sign(SignatureScheme::Ecdsa, name.as_bytes());
            let good = match (key, signed) {
                (Some(key), Ok(signed)) => key
                    .verify(SignatureScheme::Ecdsa, name.as_bytes(), &signed)
                    .is_ok(),
                _ => false,
            };
            if !good {
                return Err(format!("{name}: key and certificate do not belong together"));
            }
        }
        Ok(())
    }

    /// Both doors: a handshake with the certificate that is to be shown, and an answer.
    async fn examine_doors(&self) -> Result<(), String> {
        let look = async {
            self.examine_door("practice systems", self.config.listen, false)
                .await?;
            self.examine_door("administration", self.config.listen_admin, true)
                .await
        };
        let done = self.clock.timeout(LOOK, look).await;
        done.unwrap_or_else(|| Err("a door does not answer in time".into()))
    }

    async fn examine_door(&self, name: &str, address: SocketAddr, ask: bool) -> Result<(), String> {
        let wrong = |error: &dyn std::fmt::Display| format!("door for {name}: {error}");
        let shown: Vec<Vec<u8>> = [identity::Algorithm::Brainpool, identity::Algorithm::Nist]
            .into_iter()
            .filter_map(|algorithm| self.ak_identity(algorithm).1.chain.into_iter().next())
            .collect();
        let judge = Arc::new(move |chain: &[&[u8]], _: &[u8]| {
            match chain
                .first()
                .is_some_and(|leaf| shown.iter().any(|own| own == leaf))
            {
                true => Ok(()),
                false => Err("shows a certificate that is not to be shown".to_owned()),
            }
        });
        let config = client_config(None, judge).map_err(|error| wrong(&error))?;
        let stream = TcpStream::connect(from_inside(address))
            .await
            .map_err(|error| wrong(&error))?;
        let host = rustls::pki_types::ServerName::from(address.ip());
        let connector = tokio_rustls::TlsConnector::from(config);
        let mut stream = connector
            .connect(host, stream)
            .await
            .map_err(|error| wrong(&error))?;
        if ask {
            let request = b"GET /api/v1/state HTTP/1.1\r\nHost: langlauf\r\nConnection: close\r\n\r\n";
            stream.write_all(request).await.map_err(|error| wrong(&error))?;
            let mut answer = [0; 12];
            stream
                .read_exact(&mut answer)
                .await
                .map_err(|error| wrong(&error))?;
            if !answer.starts_with(b"HTTP/1.1 401") {
                return Err(wrong(&"does not ask who is there"));
            }
        }
        Ok(())
    }
}
