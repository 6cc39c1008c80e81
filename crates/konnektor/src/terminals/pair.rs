use super::{COMMAND_TIMEOUT, Correlation, secret_id};
use crate::{Failure, Inner};
use base::Code;
use base::id::CtId;
use std::sync::Arc;
use terminal::{TerminalError, pairing};
use tokio::sync::mpsc;

impl Inner {
    /// Pairs a terminal (TUC_KON_053). `fingerprint` is what the administrator has compared with the gSMC-KT; without
    /// it the fingerprint is taken as shown. Returns the fingerprint.
    pub async fn pair(self: &Arc<Self>, id: &CtId, fingerprint: Option<&str>) -> Result<String, Failure> {
        let paired = self.try_pair(id, fingerprint).await;
        if let Err(failure) = &paired {
            self.terminal_error("CT/ERROR", id, failure, false);
        }
        paired
    }

    async fn try_pair(self: &Arc<Self>, id: &CtId, fingerprint: Option<&str>) -> Result<String, Failure> {
        let state = self.terminals.get(id).ok_or(Code::UNKNOWN_TERMINAL)?;
        let (mut record, meant) = (state.record, state.wake);
        record.certificate = None;
        // the event channel is not needed: the session ends with the pairing
        let (events, _unused) = mpsc::unbounded_channel();
        let connection =
            |error: TerminalError| Failure::new(error.code(), error).within(Code::PAIRING_CONNECTION);
        let session = self
            .open(&record, super::ANYBODY, events)
            .await
            .map_err(connection)?;
        let product = session.product(COMMAND_TIMEOUT).await.map_err(connection)?;
        if !product.is_supported() {
            return Err(Failure::new(
                Code::TERMINAL_VERSION,
                format!("interface version {} is not supported", product.interface),
            ));
        }
        let shown = hex::encode(crypto::sha256([session.certificate()]));
        if fingerprint.is_some_and(|expected| !expected.eq_ignore_ascii_case(&shown)) {
            return Err(Failure::new(
                Code::PAIRING_FAILED,
                "fingerprint differs from the one given",
            ));
        }
        let text = format!(
            "KT:{} MIT KON:{} PAIREN OK?",
            record.config.mac.pairing_text(),
            self.config.hostname
        );
        let secret = pairing::create(&session, &text)
            .await
            .map_err(|error| Failure::new(error.code(), error).within(Code::PAIRING_FAILED))?;
        // the answer to a failed goodbye would help nobody: the connection ends anyway
        let _ = session
            .send(0, &terminal::command::close_session(), COMMAND_TIMEOUT)
            .await;
        drop(session);
        self.change_terminal(id, Some(&meant), |record| {
            // secret first: a record that says "paired" without a secret would never connect again
            self.store.put_secret(&secret_id(id), &secret)?;
            record.certificate = Some(shown.clone());
            record.correlation = Correlation::Aktiv;
            record.product = Some(product);
            Ok(())
        })?;
        Ok(shown)
    }
}
