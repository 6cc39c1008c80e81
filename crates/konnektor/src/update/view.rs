//! What administrators see of updates.

use super::{Check, Offered, Window};
use crate::{Failure, Inner, VERSION};
use serde::Serialize;
use slots::{Pointer, Work};
use std::sync::Arc;

/// Everything about updates.
#[derive(Debug, Serialize)]
pub struct UpdateView {
    /// The version that runs.
    pub version: String,
    /// Is there a supervisor, who could put another one in?
    pub supervised: bool,
    /// Are newer releases put in by themselves, and when?
    pub automatic: bool,
    /// When.
    pub window: Window,
    /// The slots, as the supervisor has them.
    pub slots: Option<Pointer>,
    /// What works at the moment, and will be asked of the next release.
    pub work: Work,
    /// What the configuration service has.
    pub ksr: Vec<soap::ksr::UpdateInformation>,
    /// The release that may be tried.
    pub offered: Option<OfferView>,
}

/// A release that may be tried, and what stands against it.
#[derive(Debug, Serialize)]
pub struct OfferView {
    /// The release.
    #[serde(flatten)]
    pub offered: Offered,
    /// What was looked at.
    pub checks: Vec<Check>,
}

impl Inner {
    /// Everything about updates, with a fresh look at what stands against the one that is offered.
    pub async fn update_view(self: &Arc<Self>) -> Result<UpdateView, Failure> {
        let settings = &self.config.update;
        let offered = match self.offered()? {
            None => None,
            Some(offered) => Some(OfferView {
                checks: self.look_before_update(&offered).await,
                offered,
            }),
        };
        Ok(UpdateView {
            version: self
                .update
                .running()
                .map_or_else(|| VERSION.to_owned(), |version| version.to_string()),
            supervised: self.update.link.is_some(),
            automatic: settings.automatic,
            window: settings.window.clone(),
            slots: self.update.pointer(),
            work: self.work(true).await,
            ksr: self.ksr_list(),
            offered,
        })
    }
}
