//! Why an attempt failed: over vici charon says only that it did; its plugin error-notify says the reason.

use crate::dial::Reason;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

/// A message: type, text, name of the connection, identity and address of the other side.
const LENGTH: usize = 4 + 384 + 64 + 256 + 60;
const NAME: usize = 4 + 384;
/// Most reports that wait for somebody to ask.
const WAITING: usize = 64;

/// Listens for reasons.
#[derive(Clone, Default)]
pub(crate) struct Reports {
    list: Arc<Mutex<Vec<(String, Reason)>>>,
    /// Common names of CAs: nobody revokes them by a list, so that nothing is known of their status says nothing.
    authorities: Arc<Vec<String>>,
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// Name of the connection and the reason.
fn read(message: &[u8; LENGTH], authorities: &[String]) -> (String, Reason) {
    let mut number = [0; 4];
    number.copy_from_slice(message.get(..4).unwrap_or(&[0; 4]));
    let name = message.get(NAME..NAME + 64).unwrap_or_default();
    let said = text(message.get(4..NAME).unwrap_or_default());
    let about_ca = authorities
        .iter()
        .any(|name| said.ends_with(&format!("CN={name}'")));
    let reason = match Reason::of_report(u32::from_be_bytes(number)) {
        Reason::PeerUnknown if about_ca => Reason::Other,
        reason => reason,
    };
    (text(name), reason)
}

impl Reports {
    /// For tunnels whose concentrators these CAs certify.
    pub(crate) fn new(authorities: Vec<String>) -> Self {
        Self {
            list: Arc::default(),
            authorities: Arc::new(authorities),
        }
    }

    /// Connects, and listens until charon ends.
    pub(crate) async fn listen(&self, socket: &Path) -> std::io::Result<tokio::task::JoinHandle<()>> {
        let mut stream = UnixStream::connect(socket).await?;
        let (list, authorities) = (self.list.clone(), self.authorities.clone());
        Ok(tokio::spawn(async move {
            let mut message = [0; LENGTH];
            while stream.read_exact(&mut message).await.is_ok() {
                let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
                if list.len() >= WAITING {
                    list.remove(0);
                }
                list.push(read(&message, &authorities));
            }
        }))
    }

    /// Takes what was said of a connection. The most telling is the answer: silence is reported once for each repetition.
    pub(crate) fn take(&self, name: &str) -> Option<Reason> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        list.retain(|(of, reason)| {
            let ours = of == name || of.is_empty();
            if ours {
                found.push(*reason);
            }
            !ours
        });
        found.into_iter().min_by_key(|reason| reason.vagueness())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read() {
        let mut message = [0u8; LENGTH];
        message[3] = 18;
        message[NAME..NAME + 2].copy_from_slice(b"ti");
        assert_eq!(read(&message, &[]), ("ti".to_owned(), Reason::PeerRevoked));
        // anything is a message
        assert_eq!(read(&[0xFF; LENGTH], &[]).1, Reason::Other);
        // of a CA nothing need be known
        message[3] = 29;
        let said = b"failed to validate certificate status: 'C=DE, CN=VPNK-CA'";
        message[4..4 + said.len()].copy_from_slice(said);
        assert_eq!(read(&message, &[]).1, Reason::PeerUnknown);
        assert_eq!(read(&message, &["VPNK-CA".into()]).1, Reason::Other);
    }

    #[test]
    fn the_most_telling_reason_is_taken() {
        let reports = Reports::default();
        let push = |name: &str, reason| reports.list.lock().unwrap().push((name.to_owned(), reason));
        push("ti", Reason::NoAnswer);
        push("ti", Reason::Refused);
        push("sis", Reason::Proposal);
        assert_eq!(reports.take("ti"), Some(Reason::Refused));
        assert_eq!(reports.take("ti"), None);
        assert_eq!(reports.take("sis"), Some(Reason::Proposal));
    }
}
