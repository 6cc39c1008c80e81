//! Lends the rights over the network to a process that has none: it says over a socket what the network shall be like, as a
//! [`Plan`] and in no other words, and whoever has the rights judges that and carries it out.

use crate::charon::{Charon, Setup};
use crate::lease::Lent;
use crate::machine::{HandsError, Machine, Seen};
use crate::plan::Plan;
use crate::tunnel::Later;
use base::Clock;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Who can change the machine's network.
pub trait Hands: Send + Sync {
    /// Makes it so.
    fn apply(&self, plan: Plan) -> Later<'_, Result<(), HandsError>>;
    /// What is seen of the packet filter?
    fn look(&self) -> Later<'_, Result<Seen, HandsError>>;
    /// What has a DHCP server lent to this adapter? It is asked for from the first question on.
    fn lease(&self, adapter: String) -> Later<'_, Result<Option<Lent>, HandsError>>;
}

impl Hands for Machine {
    fn apply(&self, plan: Plan) -> Later<'_, Result<(), HandsError>> {
        Box::pin(async move { self.carry_out(&plan).await })
    }

    fn look(&self) -> Later<'_, Result<Seen, HandsError>> {
        Box::pin(self.seen())
    }

    fn lease(&self, adapter: String) -> Later<'_, Result<Option<Lent>, HandsError>> {
        Box::pin(async move { Machine::lease(self, &adapter).await })
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    Apply(Box<Plan>),
    Look,
    Lease(String),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done,
    Seen(Seen),
    Lent(Option<Lent>),
    Failed(HandsError),
}

/// Longest order or answer, in bytes.
const LONGEST: u32 = 4 << 20;
/// How long an order may take to arrive, and to be carried out.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause before charon is started again, and between two looks whether it lives.
const AGAIN: Duration = Duration::from_secs(2);
/// Connections at a time.
const MANY: usize = 8;

async fn write<T: Serialize>(stream: &mut UnixStream, what: &T) -> Result<(), String> {
    let bytes = serde_json::to_vec(what).map_err(|error| error.to_string())?;
    let length = u32::try_from(bytes.len())
        .ok()
        .filter(|length| *length <= LONGEST);
    let length = length.ok_or("too long")?;
    let all = [&length.to_be_bytes(), bytes.as_slice()].concat();
    stream.write_all(&all).await.map_err(|error| error.to_string())
}

async fn read<T: for<'d> Deserialize<'d>>(stream: &mut UnixStream) -> Result<T, String> {
    let failed = |error: std::io::Error| error.to_string();
    let length = stream.read_u32().await.map_err(failed)?;
    if length > LONGEST {
        return Err("too long".into());
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    stream.read_exact(&mut bytes).await.map_err(failed)?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

/// Obeys whoever reaches the socket, for ever; its file's rights say who that is.
async fn serve(listener: UnixListener, machine: Arc<Machine>, clock: Arc<dyn Clock>) {
    let room = Arc::new(Semaphore::new(MANY));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else {
            return;
        };
        let mut stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::error!(%error, "helper");
                clock.sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let (machine, patience) = (machine.clone(), clock.clone());
        tokio::spawn(async move {
            let _place = place;
            let one = async {
                let answer = match read::<Order>(&mut stream).await {
                    Ok(order) => obey(&machine, order).await,
                    Err(error) => {
                        Answer::Failed(HandsError::Helper(format!("order not understood: {error}")))
                    }
                };
                if let Err(error) = write(&mut stream, &answer).await {
                    tracing::warn!(error, "answer not given");
                }
            };
            if patience.timeout(PATIENCE, one).await.is_none() {
                tracing::warn!("order given up");
            }
        });
    }
}

async fn obey(machine: &Machine, order: Order) -> Answer {
    let outcome = match order {
        Order::Apply(plan) => machine.carry_out(&plan).await.map(|()| Answer::Done),
        Order::Look => machine.seen().await.map(Answer::Seen),
        Order::Lease(adapter) => machine.lease(&adapter).await.map(Answer::Lent),
    };
    outcome.unwrap_or_else(|error| {
        tracing::warn!(%error, "order not carried out");
        Answer::Failed(error)
    })
}

/// Everything that needs the rights, until it is told to end: charon, kept alive, and whatever is asked for at the socket, which
/// belongs to the owner and the group of this process.
pub async fn run_helper(
    socket: &Path,
    machine: Arc<Machine>,
    charon: Option<Setup>,
    clock: Arc<dyn Clock>,
) -> std::io::Result<()> {
    // one of before would be in the way
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o660))?;
    if let Err(error) = machine.shut().await {
        tracing::error!(%error, "the machine stays open until a plan comes");
    }
    let serving = serve(listener, machine, clock.clone());
    let keeping = async {
        match charon {
            Some(setup) => keep_charon(&setup, clock.clone()).await,
            None => std::future::pending().await,
        }
    };
    tokio::join!(serving, keeping);
    Ok(())
}

async fn keep_charon(setup: &Setup, clock: Arc<dyn Clock>) {
    loop {
        match Charon::start(setup, clock.clone()).await {
            Err(error) => tracing::error!(%error, "charon"),
            Ok(mut charon) => {
                while !charon.has_ended() {
                    clock.sleep(AGAIN).await;
                }
                tracing::error!("charon has ended and is started again");
            }
        }
        clock.sleep(AGAIN).await;
    }
}

/// Asks the process that has the rights.
pub struct Helper {
    socket: PathBuf,
    clock: Arc<dyn Clock>,
}

impl Helper {
    /// Listens at this socket.
    pub fn new(socket: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { socket, clock }
    }

    async fn ask(&self, order: Order) -> Result<Answer, HandsError> {
        let asked = async {
            let mut stream = UnixStream::connect(&self.socket)
                .await
                .map_err(|error| format!("{}: {error}", self.socket.display()))?;
            write(&mut stream, &order).await?;
            read(&mut stream).await
        };
        let answer = self.clock.timeout(PATIENCE, asked).await;
        match answer {
            None => Err(HandsError::Helper("no answer".into())),
            Some(Err(error)) => Err(HandsError::Helper(error)),
            Some(Ok(Answer::Failed(error))) => Err(error),
            Some(Ok(answer)) => Ok(answer),
        }
    }
}

impl Hands for Helper {
    fn apply(&self, plan: Plan) -> Later<'_, Result<(), HandsError>> {
        Box::pin(async move {
            match self.ask(Order::Apply(Box::new(plan))).await? {
                Answer::Done => Ok(()),
                other => Err(HandsError::Helper(format!("{other:?} is no answer to an order"))),
            }
        })
    }

    fn look(&self) -> Later<'_, Result<Seen, HandsError>> {
        Box::pin(async move {
            match self.ask(Order::Look).await? {
                Answer::Seen(seen) => Ok(seen),
                other => Err(HandsError::Helper(format!("{other:?} is nothing seen"))),
            }
        })
    }

    fn lease(&self, adapter: String) -> Later<'_, Result<Option<Lent>, HandsError>> {
        Box::pin(async move {
            match self.ask(Order::Lease(adapter)).await? {
                Answer::Lent(lent) => Ok(lent),
                other => Err(HandsError::Helper(format!("{other:?} is nothing lent"))),
            }
        })
    }
}
