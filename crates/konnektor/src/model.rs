//! The information model and the access check TUC_KON_000 (TIP1-A_4522 ff., TAB_KON_511 ff.).

use crate::Failure;
use base::Code;
use base::id::{ClientSystemId, CtId, Iccsn, MandantId, UserId, WorkplaceId};
use card::CardKind;
use serde::{Deserialize, Serialize};
use soap::CallContext;
use std::collections::BTreeSet;

/// Everything persistent of the information model, as it stands in the configuration and in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// Tenants.
    pub mandants: Vec<Mandant>,
    /// Practice systems.
    pub client_systems: Vec<ClientSystem>,
    /// Workplaces.
    pub workplaces: Vec<Workplace>,
}

/// A tenant with what is assigned to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mandant {
    /// MandantId.
    pub id: MandantId,
    /// Card terminals it may use.
    #[serde(default)]
    pub terminals: BTreeSet<CtId>,
    /// SM-B it may use (SM-B_Verwaltet).
    #[serde(default)]
    pub smb: BTreeSet<Iccsn>,
    /// Which practice system may use which workplace (CS_AP).
    #[serde(default)]
    pub access: BTreeSet<Access>,
    /// Terminals for remote PIN entry by workplace.
    #[serde(default)]
    pub remote_pin: Vec<RemotePin>,
}

/// One CS_AP entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// The practice system.
    pub client_system: ClientSystemId,
    /// The workplace.
    pub workplace: WorkplaceId,
}

/// Where a workplace types PINs for cards elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemotePin {
    /// The workplace.
    pub workplace: WorkplaceId,
    /// A local terminal of it.
    pub terminal: CtId,
}

/// A practice system with its credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSystem {
    /// ClientSystemId.
    pub id: ClientSystemId,
    /// SHA-256 of its client certificates, hexadecimal.
    #[serde(default)]
    pub certificates: BTreeSet<String>,
    /// Users for Basic authentication with their password hashes (`pbkdf2-sha256$…`).
    #[serde(default)]
    pub users: Vec<User>,
}

/// A user for Basic authentication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Name.
    pub name: String,
    /// Hash as [`crate::password::hash`] writes it.
    pub password_hash: String,
}

/// A workplace with its terminals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workplace {
    /// WorkplaceId.
    pub id: WorkplaceId,
    /// Terminals that stand there.
    #[serde(default)]
    pub local_terminals: BTreeSet<CtId>,
    /// Terminals elsewhere whose cards may be used there.
    #[serde(default)]
    pub remote_terminals: BTreeSet<CtId>,
}

/// A model that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("information model: {0}")]
pub struct BadModel(String);

/// Who calls, after all identifiers have been found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Tenant.
    pub mandant: MandantId,
    /// Practice system.
    pub client_system: ClientSystemId,
    /// Workplace.
    pub workplace: WorkplaceId,
    /// User, if named.
    pub user: Option<UserId>,
}

/// How the connection identified itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// SHA-256 of the client certificate, hexadecimal.
    pub certificate: Option<String>,
    /// Verified user of Basic authentication.
    pub user: Option<String>,
}

/// What an operation wants to touch.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// Nothing in particular; with all workplaces of the client system if `wide`.
    Nothing {
        /// All workplaces?
        wide: bool,
    },
    /// A terminal.
    Terminal {
        /// Which.
        ct_id: &'a CtId,
        /// From any workplace?
        wide: bool,
    },
    /// A card.
    Card {
        /// Its type.
        kind: CardKind,
        /// The terminal it sits in.
        ct_id: &'a CtId,
        /// Its number.
        iccsn: Option<&'a Iccsn>,
        /// Does the operation need a card session?
        session: bool,
    },
}

impl Model {
    /// Checks uniqueness and references (constraints C1 to C16).
    pub fn validate(&self) -> Result<(), BadModel> {
        let bad = |text: String| Err(BadModel(text));
        for (name, ids) in [
            (
                "mandant",
                self.mandants.iter().map(|m| m.id.as_str()).collect::<Vec<_>>(),
            ),
            (
                "client system",
                self.client_systems.iter().map(|c| c.id.as_str()).collect(),
            ),
            (
                "workplace",
                self.workplaces.iter().map(|w| w.id.as_str()).collect(),
            ),
        ] {
            let unique: BTreeSet<_> = ids.iter().collect();
            if unique.len() != ids.len() {
                return bad(format!("{name} ids must be unique"));
            }
        }
        let users: Vec<&str> = self
            .client_systems
            .iter()
            .flat_map(|client| &client.users)
            .map(|user| user.name.as_str())
            .collect();
        if users.iter().collect::<BTreeSet<_>>().len() != users.len() {
            return bad("user names must be unique among all client systems".into());
        }
        for mandant in &self.mandants {
            for access in &mandant.access {
                if self.client_system(&access.client_system).is_none() {
                    return bad(format!(
                        "client system {} of mandant {} is unknown",
                        access.client_system, mandant.id
                    ));
                }
                if self.workplace(&access.workplace).is_none() {
                    return bad(format!(
                        "workplace {} of mandant {} is unknown",
                        access.workplace, mandant.id
                    ));
                }
            }
            for remote in &mandant.remote_pin {
                let local = self
                    .workplace(&remote.workplace)
                    .is_some_and(|w| w.local_terminals.contains(&remote.terminal));
                let twice = mandant
                    .remote_pin
                    .iter()
                    .filter(|other| other.workplace == remote.workplace)
                    .count()
                    > 1;
                if !local || twice {
                    return bad(format!(
                        "remote PIN terminal of {} must be one local terminal",
                        remote.workplace
                    ));
                }
            }
        }
        match self
            .workplaces
            .iter()
            .find(|w| !w.local_terminals.is_disjoint(&w.remote_terminals))
        {
            Some(workplace) => bad(format!("a terminal of {} is both local and remote", workplace.id)),
            None => Ok(()),
        }
    }

    fn mandant(&self, id: &MandantId) -> Option<&Mandant> {
        self.mandants.iter().find(|mandant| mandant.id == *id)
    }

    fn client_system(&self, id: &ClientSystemId) -> Option<&ClientSystem> {
        self.client_systems.iter().find(|client| client.id == *id)
    }

    /// A workplace.
    pub fn workplace(&self, id: &WorkplaceId) -> Option<&Workplace> {
        self.workplaces.iter().find(|workplace| workplace.id == *id)
    }

    /// Does any practice system own this certificate?
    pub fn knows_certificate(&self, sha256: &str) -> bool {
        self.client_systems
            .iter()
            .any(|client| client.certificates.contains(sha256))
    }

    /// The password hash of a user for Basic authentication.
    pub fn password_hash(&self, name: &str) -> Option<&str> {
        let mut users = self.client_systems.iter().flat_map(|client| &client.users);
        users
            .find(|user| user.name == name)
            .map(|user| user.password_hash.as_str())
    }

    /// Does this tenant manage this SM-B?
    pub fn manages(&self, mandant: &str, iccsn: &Iccsn) -> bool {
        self.managers(iccsn).any(|one| one.id.as_str() == mandant)
    }

    /// The tenants that manage this SM-B.
    pub fn managers(&self, iccsn: &Iccsn) -> impl Iterator<Item = &Mandant> {
        self.mandants.iter().filter(move |one| one.smb.contains(iccsn))
    }

    /// The terminal where a workplace types PINs for cards that do not sit at it.
    pub fn remote_pin_terminal(&self, caller: &Caller) -> Option<&CtId> {
        let mandant = self.mandant(&caller.mandant)?;
        mandant
            .remote_pin
            .iter()
            .find(|remote| remote.workplace == caller.workplace)
            .map(|remote| &remote.terminal)
    }

    /// Workplaces at which a terminal is local or remote.
    pub fn workplaces_of(&self, ct_id: &CtId) -> Vec<&WorkplaceId> {
        let near = |w: &&Workplace| w.local_terminals.contains(ct_id) || w.remote_terminals.contains(ct_id);
        self.workplaces
            .iter()
            .filter(near)
            .map(|workplace| &workplace.id)
            .collect()
    }

    /// TUC_KON_000: may this caller touch this target? `authenticated` is set when client authentication is mandatory.
    pub fn check(
        &self,
        context: &CallContext,
        authenticated: Option<&Peer>,
        target: Target<'_>,
    ) -> Result<Caller, Failure> {
        let missing =
            |what: &str| Failure::new(Code::CONTEXT_INCOMPLETE, format!("{what} missing or malformed"));
        let caller = Caller {
            mandant: context.mandant.parse().map_err(|_| missing("MandantId"))?,
            client_system: context
                .client_system
                .parse()
                .map_err(|_| missing("ClientSystemId"))?,
            workplace: context.workplace.parse().map_err(|_| missing("WorkplaceId"))?,
            user: context
                .user
                .as_deref()
                .map(str::parse)
                .transpose()
                .map_err(|_| missing("UserId"))?,
        };
        // unknown identifiers are 4004 to 4006 in the log and 4021 outside
        let unknown = |code: Code| Failure::from(code).within(Code::CONTEXT_INCOMPLETE);
        let mandant = self
            .mandant(&caller.mandant)
            .ok_or_else(|| unknown(Code::UNKNOWN_MANDANT))?;
        let client = self
            .client_system(&caller.client_system)
            .ok_or_else(|| unknown(Code::UNKNOWN_CLIENT_SYSTEM))?;
        if let Some(peer) = authenticated {
            let by_certificate = peer
                .certificate
                .as_ref()
                .is_some_and(|hash| client.certificates.contains(hash));
            let by_password = peer
                .user
                .as_ref()
                .is_some_and(|name| client.users.iter().any(|user| user.name == *name));
            if !by_certificate && !by_password {
                return Err(Code::CLIENT_NOT_AUTHENTICATED.into());
            }
        }
        if !mandant
            .access
            .iter()
            .any(|access| access.client_system == caller.client_system)
        {
            return Err(Code::CLIENT_NOT_OF_MANDANT.into());
        }
        self.permits(&caller, target)?;
        Ok(caller)
    }

    /// The second half of the check, for a caller that has passed the first: what it may touch.
    pub fn permits(&self, caller: &Caller, target: Target<'_>) -> Result<(), Failure> {
        let unknown = |code: Code| Failure::from(code).within(Code::CONTEXT_INCOMPLETE);
        let mandant = self
            .mandant(&caller.mandant)
            .ok_or_else(|| unknown(Code::UNKNOWN_MANDANT))?;
        let wide = matches!(
            target,
            Target::Nothing { wide: true } | Target::Terminal { wide: true, .. }
        );
        let workplace = match self.workplace(&caller.workplace) {
            Some(workplace) => Some(workplace),
            None if wide => None,
            None => return Err(unknown(Code::UNKNOWN_WORKPLACE)),
        };
        if !wide {
            if !mandant
                .access
                .iter()
                .any(|access| access.workplace == caller.workplace)
            {
                return Err(Code::WORKPLACE_NOT_OF_MANDANT.into());
            }
            let pair = |access: &Access| {
                access.client_system == caller.client_system && access.workplace == caller.workplace
            };
            if !mandant.access.iter().any(pair) {
                return Err(Code::WORKPLACE_NOT_OF_CLIENT.into());
            }
        }
        self.check_target(mandant, workplace, caller, target)
    }

    fn check_target(
        &self,
        mandant: &Mandant,
        workplace: Option<&Workplace>,
        caller: &Caller,
        target: Target<'_>,
    ) -> Result<(), Failure> {
        let (ct_id, card) = match target {
            Target::Nothing { .. } => return Ok(()),
            Target::Terminal { ct_id, .. } => (ct_id, None),
            Target::Card {
                kind,
                ct_id,
                iccsn,
                session,
            } => (ct_id, Some((kind, iccsn, session))),
        };
        if !mandant.terminals.contains(ct_id) {
            return Err(Code::TERMINAL_NOT_OF_MANDANT.into());
        }
        let local = workplace.is_some_and(|workplace| workplace.local_terminals.contains(ct_id));
        let near = local || workplace.is_some_and(|workplace| workplace.remote_terminals.contains(ct_id));
        match (card, target) {
            (None, Target::Terminal { wide: true, .. }) => {
                let mut own = mandant
                    .access
                    .iter()
                    .filter(|access| access.client_system == caller.client_system);
                let reachable = own.any(|access| {
                    self.workplace(&access.workplace).is_some_and(|w| {
                        w.local_terminals.contains(ct_id) || w.remote_terminals.contains(ct_id)
                    })
                });
                if reachable {
                    Ok(())
                } else {
                    Err(Code::TERMINAL_NOT_OF_CLIENT.into())
                }
            }
            (Some((CardKind::Egk | CardKind::Kvk, ..)), _) if !local => Err(Code::TERMINAL_NOT_LOCAL.into()),
            _ if !near => Err(Code::TERMINAL_NOT_NEAR_WORKPLACE.into()),
            (Some((CardKind::SmcB, iccsn, _)), _) => {
                let managed = |mandant: &Mandant| iccsn.is_some_and(|iccsn| mandant.smb.contains(iccsn));
                match (managed(mandant), self.mandants.iter().any(managed)) {
                    (true, _) => Ok(()),
                    (false, true) => Err(Code::SMB_NOT_OF_MANDANT.into()),
                    (false, false) => Err(Code::SMB_NOT_MANAGED.into()),
                }
            }
            (Some((CardKind::Hba, _, true)), _) if caller.user.is_none() => Err(Code::USER_ID_MISSING.into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        let text = r#"
            [[client_systems]]
            id = "PVS"
            certificates = ["aa"]
            [[client_systems]]
            id = "Labor"
            [[workplaces]]
            id = "Anmeldung"
            local_terminals = ["KT1"]
            [[workplaces]]
            id = "Zimmer"
            remote_terminals = ["KT1"]
            [[workplaces]]
            id = "Keller"
            [[mandants]]
            id = "M1"
            terminals = ["KT1"]
            smb = ["80276009990000000002"]
            access = [{ client_system = "PVS", workplace = "Anmeldung" }, { client_system = "PVS", workplace = "Zimmer" }]
            [[mandants]]
            id = "M2"
            terminals = ["KT1"]
            access = [{ client_system = "Labor", workplace = "Keller" }]
        "#;
        let model: Model = toml::from_str(text).unwrap();
        model.validate().unwrap();
        model
    }

    #[test]
    fn one_user_name_is_one_client_system() {
        let mut model = model();
        let user = |hash: &str| User {
            name: "anna".into(),
            password_hash: hash.into(),
        };
        model.client_systems[0].users = vec![user("a")];
        model.validate().unwrap();
        model.client_systems[1].users = vec![user("b")];
        assert!(model.validate().is_err());
    }

    fn code(context: (&str, &str, &str), peer: Option<&Peer>, target: Target<'_>) -> u16 {
        let context = CallContext {
            mandant: context.0.into(),
            client_system: context.1.into(),
            workplace: context.2.into(),
            user: None,
        };
        model()
            .check(&context, peer, target)
            .map_or_else(|failure| failure.code().number(), |_| 0)
    }

    #[test]
    fn every_rule_of_the_access_check() {
        let (kt1, kt2): (CtId, CtId) = ("KT1".parse().unwrap(), "KT2".parse().unwrap());
        let smb: Iccsn = "80276009990000000002".parse().unwrap();
        let other: Iccsn = "80276009990000000003".parse().unwrap();
        let nothing = Target::Nothing { wide: false };
        let card = |kind, iccsn, session| Target::Card {
            kind,
            ct_id: &kt1,
            iccsn,
            session,
        };
        let good = ("M1", "PVS", "Anmeldung");
        assert_eq!(code(good, None, nothing), 0);
        assert_eq!(code(("", "PVS", "Anmeldung"), None, nothing), 4021);
        assert_eq!(code(("M9", "PVS", "Anmeldung"), None, nothing), 4021);
        assert_eq!(code(("M1", "X", "Anmeldung"), None, nothing), 4021);
        assert_eq!(code(("M1", "PVS", "X"), None, nothing), 4021);
        assert_eq!(code(("M1", "PVS", "X"), None, Target::Nothing { wide: true }), 0);
        assert_eq!(code(good, Some(&Peer::default()), nothing), 4204);
        let peer = Peer {
            certificate: Some("aa".into()),
            user: None,
        };
        assert_eq!(code(good, Some(&peer), nothing), 0);
        assert_eq!(code(("M1", "Labor", "Anmeldung"), None, nothing), 4010);
        assert_eq!(code(("M1", "PVS", "Keller"), None, nothing), 4011);
        assert_eq!(
            code(
                good,
                None,
                Target::Terminal {
                    ct_id: &kt2,
                    wide: false
                }
            ),
            4012
        );
        assert_eq!(
            code(
                ("M2", "Labor", "Keller"),
                None,
                Target::Terminal {
                    ct_id: &kt1,
                    wide: false
                }
            ),
            4015
        );
        assert_eq!(
            code(
                ("M2", "Labor", "Keller"),
                None,
                Target::Terminal {
                    ct_id: &kt1,
                    wide: true
                }
            ),
            4020
        );
        assert_eq!(code(good, None, card(CardKind::Egk, None, true)), 0);
        assert_eq!(
            code(("M1", "PVS", "Zimmer"), None, card(CardKind::Egk, None, true)),
            4016
        );
        assert_eq!(
            code(
                ("M1", "PVS", "Zimmer"),
                None,
                card(CardKind::SmcB, Some(&smb), true)
            ),
            0
        );
        assert_eq!(code(good, None, card(CardKind::SmcB, Some(&other), true)), 4009);
        assert_eq!(
            code(
                ("M2", "Labor", "Keller"),
                None,
                card(CardKind::SmcB, Some(&smb), true)
            ),
            4015
        );
        assert_eq!(code(good, None, card(CardKind::Hba, None, true)), 4003);
        assert_eq!(code(good, None, card(CardKind::Hba, None, false)), 0);
    }

    #[test]
    fn contradictions_are_refused() {
        let mut twice = model();
        twice.mandants.push(twice.mandants[0].clone());
        assert!(twice.validate().is_err());
        let mut dangling = model();
        dangling.client_systems.clear();
        assert!(dangling.validate().is_err());
    }
}
