//! The back end of VSDM: Intermediär (TLS, client certificate of an SMC-B), update flags (UFS), and a VSDD that changes
//! an eGK over a true secure channel with the card's own symmetric keys, through a Konnektor that only relays.

use crate::person::Person;
use asn1::{X509, oid};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::routing::post;
use base::Clock;
use card::egk::{self, StatusVd};
use card::image::{Body, ObjectSystem};
use card::mutual::HostMutual;
use card::sm::Session;
use card::{Command, Expect, Response};
use crypto::card::{SessionKeys, SessionStrength};
use crypto::hmac_sha256;
use crypto::tls::{ClientCertificate, PeerVerifier};
use soap::cm::{CommandItem, Localization, ServiceRequest, Step, UpdateFlag, UpdateFlags};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;

/// SK.VSD.AES256 in the MF.
const KEY_VSD: u8 = 0x19;
/// Our name in a mutual authentication.
const OWN_NAME: [u8; 8] = *b"VSDDTEST";

/// The insurers' services. Cheap to share.
#[derive(Clone)]
pub struct Vsdm {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<Records>,
}

#[derive(Default)]
struct Records {
    cards: HashMap<String, CardRecord>,
    conversations: HashMap<String, Conversation>,
    next: u64,
    behaviour: Behaviour,
}

struct CardRecord {
    keys: SessionKeys,
    iccsn8: [u8; 8],
    kvnr: String,
    /// Data that wait for the card.
    pending: Option<Person>,
}

/// How the services misbehave, for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behaviour {
    /// Not at all.
    #[default]
    Good,
    /// Update flags end in a fault 11101.
    UnknownCard,
    /// HTTP 503.
    Unavailable,
    /// Accepts and never answers.
    Silent,
    /// Commands that the card will refuse.
    BadCommands,
}

enum Conversation {
    /// Waits for the card's challenge.
    Challenge { iccsn: String },
    /// Waits for the card's half of the authentication.
    Mutual { iccsn: String, host: Box<HostMutual> },
    /// Waits for the answers to the protected commands.
    Updating { iccsn: String, checks: Vec<Session> },
}

impl Vsdm {
    /// Services that know no card yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock,
                state: Mutex::default(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, Records> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over a card's management keys, as a card manufacturer hands them to the insurer.
    pub fn register(&self, iccsn: &str, system: &ObjectSystem, person: &Person) {
        let keys = system.nodes.iter().find_map(|node| match &node.body {
            Body::Symmetric {
                id: KEY_VSD,
                enc,
                mac,
                ..
            } => Some(SessionKeys {
                enc: enc.clone(),
                mac: mac.clone(),
            }),
            _ => None,
        });
        if let Some(keys) = keys {
            let record = CardRecord {
                keys,
                iccsn8: system.iccsn8,
                kvnr: person.kvnr.clone(),
                pending: None,
            };
            self.state().cards.insert(iccsn.to_owned(), record);
        }
    }

    /// New data wait for this card.
    pub fn set_pending(&self, iccsn: &str, person: Person) {
        if let Some(card) = self.state().cards.get_mut(iccsn) {
            card.pending = Some(person);
        }
    }

    /// Does an update still wait?
    pub fn is_pending(&self, iccsn: &str) -> bool {
        self.state()
            .cards
            .get(iccsn)
            .is_some_and(|card| card.pending.is_some())
    }

    /// Changes the behaviour.
    pub fn behave(&self, behaviour: Behaviour) {
        self.state().behaviour = behaviour;
    }

    /// The proof number that a receipt carries, version 1 (47 bytes).
    fn proof_number(&self, kvnr: &str) -> Vec<u8> {
        let text = format!("{kvnr}{:010}UT1", self.shared.clock.now().as_second());
        let mac = hmac_sha256(b"Langlauf TEST-ONLY", text.as_bytes());
        text.bytes().chain(mac.into_iter().take(24)).collect()
    }

    fn update_flags(&self, iccsn: &str, provider: &str) -> Result<UpdateFlags, u32> {
        let state = self.state();
        let card = state
            .cards
            .get(iccsn)
            .filter(|_| state.behaviour != Behaviour::UnknownCard)
            .ok_or(11101u32)?;
        Ok(match &card.pending {
            None => UpdateFlags {
                flags: Vec::new(),
                receipt: Some(self.proof_number(&card.kvnr)),
            },
            Some(_) => UpdateFlags {
                flags: vec![UpdateFlag {
                    service: Localization {
                        kind: "VSD".into(),
                        provider: provider.into(),
                    },
                    id: "01".into(),
                    mandatory: true,
                    description: "Stammdaten".into(),
                }],
                receipt: None,
            },
        })
    }

    fn perform(&self, iccsn: &str) -> Result<Step, u32> {
        let mut state = self.state();
        let pending = state.cards.get(iccsn).ok_or(12101u32)?.pending.is_some();
        if !pending {
            return Err(12102);
        }
        state.next += 1;
        let conversation = format!("c{}", state.next);
        state.conversations.insert(
            conversation.clone(),
            Conversation::Challenge { iccsn: iccsn.into() },
        );
        let select_hca = Command::new(0, 0xA4, 0x04, 0x0C).data(egk::AID_HCA);
        let choose = Command::new(0, 0x22, 0x81, 0xA4).data([0x83, 0x01, KEY_VSD, 0x80, 0x01, 0x54]);
        let challenge = Command::new(0, 0x84, 0, 0).expect(Expect::Bytes(16));
        let first = if state.behaviour == Behaviour::BadCommands {
            Command::new(0, 0xFF, 0, 0)
        } else {
            Command::new(0, 0xA4, 0x04, 0x0C)
        };
        Ok(Step {
            performed: Vec::new(),
            commands: items([first, select_hca, choose, challenge]),
            conversation,
        })
    }

    fn next(&self, conversation: &str, responses: &[Vec<u8>], abort: bool) -> Result<Step, u32> {
        let mut state = self.state();
        let current = state.conversations.remove(conversation).ok_or(12103u32)?;
        if abort {
            return Ok(Step {
                performed: Vec::new(),
                commands: None,
                conversation: conversation.into(),
            });
        }
        let last = responses
            .last()
            .and_then(|bytes| Response::parse(bytes).ok())
            .filter(Response::is_ok)
            .ok_or(12105u32)?;
        match current {
            Conversation::Challenge { iccsn } => {
                let card = state.cards.get(&iccsn).ok_or(12101u32)?;
                let challenge: [u8; 16] = last.data.try_into().map_err(|_| 12105u32)?;
                let (host, data) = HostMutual::begin(
                    card.keys.clone(),
                    SessionStrength::Aes256,
                    challenge,
                    card.iccsn8,
                    OWN_NAME,
                )
                .map_err(|_| 12999u32)?;
                let command = Command::new(0, 0x82, 0, 0).data(data).expect(Expect::AllShort);
                let waiting = Conversation::Mutual {
                    iccsn,
                    host: Box::new(host),
                };
                state.conversations.insert(conversation.into(), waiting);
                Ok(Step {
                    performed: Vec::new(),
                    commands: items([command]),
                    conversation: conversation.into(),
                })
            }
            Conversation::Mutual { iccsn, host } => {
                let keys = host.finish(&last.data).map_err(|_| 12105u32)?;
                let person = state
                    .cards
                    .get(&iccsn)
                    .and_then(|card| card.pending.clone())
                    .ok_or(12102u32)?;
                let (commands, checks) = self.protected(&person, Session::new(keys)).ok_or(12999u32)?;
                state
                    .conversations
                    .insert(conversation.into(), Conversation::Updating { iccsn, checks });
                Ok(Step {
                    performed: Vec::new(),
                    commands: items(commands),
                    conversation: conversation.into(),
                })
            }
            Conversation::Updating { iccsn, checks } => {
                // the card's own words count, not what the relay says
                let all_good = checks.len() == responses.len()
                    && checks.into_iter().zip(responses).all(|(mut session, bytes)| {
                        let response = Response::parse(bytes).ok();
                        response
                            .and_then(|r| session.unwrap_response(&r).ok())
                            .is_some_and(|inner| inner.is_ok())
                    });
                if !all_good {
                    return Err(12105);
                }
                let kvnr = state.cards.get_mut(&iccsn).map(|card| {
                    card.pending = None;
                    card.kvnr.clone()
                });
                drop(state);
                let receipt = kvnr.map(|kvnr| self.proof_number(&kvnr));
                Ok(Step {
                    performed: vec![("01".into(), receipt)],
                    commands: None,
                    conversation: conversation.into(),
                })
            }
        }
    }

    /// The update as protected commands: transaction open, three files, transaction closed.
    fn protected(&self, person: &Person, mut session: Session) -> Option<(Vec<Command>, Vec<Session>)> {
        let now = self.shared.clock.now();
        let status = |transaction_open| {
            StatusVd {
                transaction_open,
                updated: now,
                schema: (5, 2, 0),
                layout: (3, 0, 4),
            }
            .encode()
        };
        let [pd, vd, gvd] = person.containers();
        let write = |sfi: u8, content: Vec<u8>| Command::new(0, 0xD6, 0x80 | sfi, 0).data(content);
        let empty = |sfi: u8| Command::new(0x80, 0x0E, 0x80 | sfi, 0);
        let plain = [
            write(egk::SFI_STATUS_VD, status(true)),
            empty(egk::SFI_PD),
            write(egk::SFI_PD, egk::frame(&pd)),
            empty(egk::SFI_VD),
            write(egk::SFI_VD, egk::frame_insurance_data(&vd)),
            empty(egk::SFI_GVD),
            write(egk::SFI_GVD, egk::frame(&gvd)),
            write(egk::SFI_STATUS_VD, status(false)),
        ];
        let (mut commands, mut checks) = (Vec::new(), Vec::new());
        for command in plain {
            commands.push(session.wrap_command(&command).ok()?);
            // the answer moves the counter too; remember the state to check it with
            checks.push(session.clone());
            session.step();
        }
        Some((commands, checks))
    }

    fn answer(&self, provider: &str, message: &str) -> Result<String, u32> {
        match ServiceRequest::parse(message).map_err(|_| 1006u32)? {
            ServiceRequest::GetUpdateFlags { iccsn } => Ok(self.update_flags(&iccsn, provider)?.message()),
            ServiceRequest::PerformUpdates { iccsn, .. } => {
                Ok(self.perform(&iccsn)?.message("PerformUpdates"))
            }
            ServiceRequest::GetNextCommandPackage {
                conversation,
                responses,
                abort,
            } => Ok(self
                .next(&conversation, &responses, abort)?
                .message("GetNextCommandPackage")),
        }
    }

    /// Serves the Intermediär: TLS with a client certificate of an SMC-B, `/<provider>/<UFS|VSD|CMS>/2.0`.
    pub async fn serve(
        self,
        listener: TcpListener,
        identity: crypto::tls::Identity,
        institution_ca: X509,
    ) -> std::io::Result<()> {
        let judge = move |chain: &[&[u8]], _: &[u8]| {
            let der = chain.first().ok_or("no certificate")?;
            let certificate = X509::parse(der).map_err(|error| error.to_string())?;
            let right =
                certificate.has_policy(oid::SMC_B_AUT) && pki::signed_by(&certificate, &institution_ca);
            if right {
                Ok(())
            } else {
                Err("not an SMC-B".to_owned())
            }
        };
        let verifier = PeerVerifier::clients(Arc::new(judge), ClientCertificate::Required);
        let router = Router::new()
            .route("/{provider}/{service}/2.0", post(exchange))
            .with_state(self);
        crate::https::serve(listener, &identity, Some(verifier), router, None).await
    }
}

fn items(commands: impl IntoIterator<Item = Command>) -> Option<Vec<CommandItem>> {
    let encoded = commands.into_iter().map(|command| command.encode().ok());
    encoded
        .map(|bytes| {
            Some(CommandItem {
                command: bytes?,
                expected: 0x9000,
            })
        })
        .collect()
}

async fn exchange(
    State(vsdm): State<Vsdm>,
    axum::extract::Path((provider, _)): axum::extract::Path<(String, String)>,
    _: HeaderMap,
    body: String,
) -> HttpResponse {
    let behaviour = vsdm.state().behaviour;
    match behaviour {
        Behaviour::Unavailable => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Behaviour::Silent => return std::future::pending().await,
        _ => {}
    }
    let headers = [
        (header::CONTENT_TYPE, "text/xml; charset=utf-8"),
        (header::VIA, "1.1 intermediaer"),
    ];
    match vsdm.answer(&provider, &body) {
        Ok(message) => (headers, message).into_response(),
        Err(code) => {
            let fault = fault("VSDM", code, vsdm.shared.clock.now());
            (StatusCode::INTERNAL_SERVER_ERROR, headers, soap::wrap(&fault)).into_response()
        }
    }
}

/// A fault of a back-end service.
pub(crate) fn fault(service: &str, code: u32, now: base::Timestamp) -> String {
    format!(
        "<SOAP-ENV:Fault><faultcode>SOAP-ENV:Server</faultcode><faultstring>{code}</faultstring><detail>\
         <GERROR:Error xmlns:GERROR=\"{}\"><GERROR:MessageID>0</GERROR:MessageID>\
         <GERROR:Timestamp>{now}</GERROR:Timestamp><GERROR:Trace><GERROR:EventID>0</GERROR:EventID>\
         <GERROR:Instance>test</GERROR:Instance><GERROR:LogReference>0</GERROR:LogReference>\
         <GERROR:CompType>{service}</GERROR:CompType><GERROR:Code>{code}</GERROR:Code>\
         <GERROR:Severity>Fatal</GERROR:Severity><GERROR:ErrorType>Technical</GERROR:ErrorType>\
         <GERROR:ErrorText>{code}</GERROR:ErrorText></GERROR:Trace></GERROR:Error></detail></SOAP-ENV:Fault>",
        soap::ns::GERROR,
    )
}
