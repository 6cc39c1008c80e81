use super::{Connection, Fault, VirtualTerminal};
use crate::Version;
use crate::command::sw;
use crate::firmware::{Finish, LARGEST, Parameters};
use asn1::tlv;
use card::{Command, Response};
use crypto::sha256;
use std::path::PathBuf;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

/// First word of a firmware of this maker.
const MAGIC: &str = "LANGLAUF-KT";
/// What a block may have, bytes; how long one takes, seconds.
const BLOCK: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(20);
const ANSWER: Parameters = Parameters {
    wait: PATIENCE,
    block: BLOCK,
};
/// How long it takes to start again.
const START: Duration = Duration::from_secs(2);

/// A firmware of this version for the virtual terminal: a head, and `size` bytes that do nothing.
pub fn firmware(version: Version, size: usize) -> Vec<u8> {
    let body = vec![0x4C; size];
    let mut out = format!("{MAGIC} {version} {}\n", hex::encode(sha256([&body]))).into_bytes();
    out.extend(body);
    out
}

/// The version of a firmware that is whole.
fn judge(bytes: &[u8]) -> Option<Version> {
    let end = bytes.iter().take(256).position(|byte| *byte == b'\n')?;
    let (head, body) = bytes.split_at_checked(end + 1)?;
    let mut words = std::str::from_utf8(head).ok()?.split_whitespace();
    let (magic, version, hash) = (words.next()?, words.next()?, words.next()?);
    let good = magic == MAGIC && hash == hex::encode(sha256([body]));
    good.then(|| version.parse().ok()).flatten()
}

impl VirtualTerminal {
    /// Who may administer it over SICCT: user and password.
    pub const ADMIN: (&str, &str) = ("admin", "12345678");

    /// Its firmware.
    pub fn version(&self) -> Version {
        self.state().firmware
    }

    /// Where its firmware's version lies, beside the pairing blocks.
    pub(super) fn version_file(store: &std::path::Path) -> PathBuf {
        store.with_extension("firmware")
    }

    /// Starts again, with another firmware or the same: configuration and pairings stay (TIP1-A_3188).
    fn start_again(&self, version: Option<Version>) {
        let this = self.clone();
        tokio::spawn(async move {
            // the answer goes out first
            this.shared.clock.sleep(Duration::from_millis(200)).await;
            this.set_network(false);
            if let Some(version) = version {
                this.state().firmware = version;
                let file = this.shared.store.as_deref().map(Self::version_file);
                let kept = file.map(|file| base::file::replace(&file, version.to_string().as_bytes()));
                if let Some(Err(error)) = kept {
                    tracing::error!(%error, "version of the firmware not stored");
                }
            }
            this.shared.clock.sleep(START).await;
            this.set_network(true);
        });
    }
}

impl Connection {
    /// DOWNLOAD INIT, DATA and FINISH (24 to 26): only in a session as administrator.
    pub(super) async fn download(&self, command: &Command) -> Response {
        let done = match command.ins {
            _ if !self.is_admin() => Err(sw::NOT_ALLOWED),
            0x24 => Ok(self.begin()),
            0x25 => self.take(command),
            _ => self.finish(),
        };
        let more = self.length() > BLOCK;
        if more && self.terminal.has_fault(Fault::FirmwareSilence) {
            self.wait_for_the_end().await;
        }
        done.unwrap_or_else(Response::sw)
    }

    fn loading(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.loading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn length(&self) -> usize {
        self.loading().as_ref().map_or(0, Vec::len)
    }

    fn begin(&self) -> Response {
        let begun = self.loading().replace(Vec::new()).is_some();
        // as a reset of the terminal
        self.terminal.power_down_all();
        Response {
            data: ANSWER.encode(),
            sw: if begun { sw::DOWNLOAD_BEGUN } else { 0x9000 },
        }
    }

    fn take(&self, command: &Command) -> Result<Response, u16> {
        let mut loading = self.loading();
        let bytes = loading.as_mut().ok_or(sw::NOT_ALLOWED)?;
        let block = tlv::find(&command.data, 0x73).ok_or(0x6A88u16)?;
        if block.len() > BLOCK || (bytes.len() + block.len()) as u64 > LARGEST {
            return Err(0x6700);
        }
        bytes.extend_from_slice(block);
        Ok(Response::ok(ANSWER.encode()))
    }

    fn finish(&self) -> Result<Response, u16> {
        let bytes = self.loading().take().ok_or(sw::NOT_ALLOWED)?;
        let version = judge(&bytes).ok_or(0x6400u16)?;
        let kept = self.terminal.has_fault(Fault::FirmwareKept);
        self.terminal.start_again((!kept).then_some(version));
        let finish = Finish {
            wait: PATIENCE,
            restarts: true,
            ..Finish::default()
        };
        Ok(Response::ok(finish.encode()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firmware_is_whole_or_none() {
        let good = firmware(Version(1, 2, 3), 10_000);
        assert_eq!(judge(&good), Some(Version(1, 2, 3)));
        let mut bad = good.clone();
        bad.pop();
        assert_eq!(judge(&bad), None);
        for bad in [&b""[..], b"\n", b"LANGLAUF-KT 1.2.3 00\n", b"OTHER 1.2.3 00\n"] {
            assert_eq!(judge(bad), None);
        }
    }
}
