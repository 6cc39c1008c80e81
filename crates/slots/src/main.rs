//! `langlauf-supervisor`: starts the release that the pointer names, tries a new one, takes it back. Small, and not part of
//! any release.

use base::{Clock, SystemClock};
use slots::{Area, Limits, Note, RealDisk, Socket, Start, Supervisor, Version, World};
use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const HELP: &str = "langlauf-supervisor: two slots for releases

  langlauf-supervisor run --slots DIR --state DIR [--rescue PROGRAM] [--ready SECONDS] [--trial SECONDS] -- ARGUMENTS
      starts the program of the confirmed release with ARGUMENTS and watches it; PROGRAM gets --rescue besides.
      A release on trial has 60 s to be ready and 130 s to do the work that was done before it.
  langlauf-supervisor install --slots DIR RELEASE
      puts the first release into slot A; where there is a pointer already, nothing happens
  langlauf-supervisor offer --slots DIR RELEASE
      has a release of this machine tried now
  langlauf-supervisor show --slots DIR
      prints the pointer

RELEASE is a folder with release.json; how one is made: langlauf release help.
";

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("langlauf-supervisor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    use lexopt::prelude::*;
    let mut parser = lexopt::Parser::from_env();
    let (mut words, mut slots, mut state, mut rescue) = (Vec::<OsString>::new(), None, None, None);
    let (mut arguments, mut limits) = (Vec::new(), Limits::default());
    while let Some(argument) = parser.next()? {
        match argument {
            Long("slots") => slots = Some(PathBuf::from(parser.value()?)),
            Long("state") => state = Some(PathBuf::from(parser.value()?)),
            Long("rescue") => rescue = Some(PathBuf::from(parser.value()?)),
            Long("ready") => limits.ready = Duration::from_secs(parser.value()?.parse()?),
            Long("trial") => limits.trial = Duration::from_secs(parser.value()?.parse()?),
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(());
            }
            Value(word) if words.first().is_some_and(|first| first == "run") => {
                arguments.push(word);
                arguments.extend(parser.raw_args()?);
            }
            Value(word) => words.push(word),
            other => return Err(other.unexpected().into()),
        }
    }
    let slots = slots.ok_or("--slots DIR is missing; --help tells more")?;
    let word = |number: usize| words.get(number).and_then(|word| word.to_str());
    let area = |state: PathBuf| Area::new(RealDisk, slots.clone(), state);
    match (word(0), word(1)) {
        (Some("run"), None) => {
            let state = state.ok_or("--state DIR is missing")?;
            supervise(area(state.clone()), &slots, state, rescue, arguments, limits)
        }
        (Some("install"), Some(release)) => match area(PathBuf::new()).install(Path::new(release))? {
            true => Ok(()),
            false => {
                println!("{} has releases already", slots.display());
                Ok(())
            }
        },
        (Some("offer"), Some(release)) => offer(&area(PathBuf::new()), &slots, Path::new(release)),
        (Some("show"), None) => {
            let pointer = area(PathBuf::new()).pointer()?;
            println!("{}", serde_json::to_string_pretty(&pointer)?);
            Ok(())
        }
        _ => Err(HELP.into()),
    }
}

/// Has a release of this machine tried. Only that it runs is required: nobody here knows what worked before.
fn offer(area: &Area<RealDisk>, slots: &Path, release: &Path) -> Result<(), Failure> {
    let version: Version = area.offer(release)?;
    let order = slots::Order {
        version,
        required: slots::Work::default(),
    };
    slots::Link::to(slots.join("notify"))
        .say(&Note::Try(order))
        .map_err(|error| format!("no supervisor listens in {}: {error}", slots.display()))?;
    println!("{version} goes on trial");
    Ok(())
}

fn supervise(
    area: Area<RealDisk>,
    slots: &Path,
    state: PathBuf,
    rescue: Option<PathBuf>,
    arguments: Vec<OsString>,
    limits: Limits,
) -> Result<(), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, stop.clone())?;
    }
    let notify = slots.join("notify");
    let machine = Machine {
        clock: SystemClock::new(),
        socket: Socket::bind(&notify)?,
        notify,
        slots: slots.to_owned(),
        state,
        rescue,
        arguments,
        child: None,
        stop,
    };
    let mut supervisor = Supervisor::new(area, machine, limits);
    while supervisor.step() {}
    Ok(())
}

/// This machine.
struct Machine {
    clock: Arc<dyn Clock>,
    socket: Socket,
    notify: PathBuf,
    slots: PathBuf,
    state: PathBuf,
    rescue: Option<PathBuf>,
    arguments: Vec<OsString>,
    child: Option<Child>,
    stop: Arc<AtomicBool>,
}

/// How long nothing needs to be looked at.
const TICK: Duration = Duration::from_millis(200);

impl Machine {
    /// To the child and all its children.
    fn signal(&self, signal: rustix::process::Signal) {
        let group = self
            .child
            .as_ref()
            .and_then(|child| rustix::process::Pid::from_raw(i32::try_from(child.id()).ok()?));
        if let Some(group) = group {
            // whoever has gone already does not mind
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }
}

impl World for Machine {
    fn now(&self) -> i64 {
        self.clock.now().as_second()
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    fn start(&mut self, what: &Start) -> std::io::Result<()> {
        let (program, extra) = match (what, &self.rescue) {
            (Start::Release(program), _) => (program, None),
            (Start::Rescue, Some(program)) => (program, Some("--rescue")),
            (Start::Rescue, None) => return Err(std::io::Error::other("there is no rescue program")),
        };
        // a dead predecessor's word must not count for this one
        self.socket.forget()?;
        let child = Command::new(program)
            .args(&self.arguments)
            .args(extra)
            .env("NOTIFY_SOCKET", &self.notify)
            .env("LANGLAUF_SLOTS", &self.slots)
            .process_group(0)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    fn end(&mut self) {
        self.signal(rustix::process::Signal::TERM);
    }

    fn kill(&mut self) {
        self.signal(rustix::process::Signal::KILL);
    }

    fn ended(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        // what it has started goes with it
        self.kill();
        self.child = None;
        Some(match (status.code(), status.signal()) {
            (Some(code), _) => format!("code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "unknown".into(),
        })
    }

    fn heard(&mut self) -> Vec<Note> {
        self.socket.receive(TICK).unwrap_or_else(|error| {
            eprintln!("langlauf-supervisor: {error}");
            std::thread::sleep(TICK);
            Vec::new()
        })
    }

    fn memory(&self) -> u64 {
        let resident = || {
            let path = format!("/proc/{}/statm", self.child.as_ref()?.id());
            let text = std::fs::read_to_string(path).ok()?;
            text.split(' ').nth(1)?.parse::<u64>().ok()
        };
        resident().unwrap_or_default() * rustix::param::page_size() as u64
    }

    fn free(&self) -> u64 {
        // a disk that cannot be asked is no reason to take anything back
        RealDisk.free(&self.slots).unwrap_or(u64::MAX)
    }

    fn used(&self) -> u64 {
        RealDisk.used(&self.state)
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn say(&self, what: &str) {
        eprintln!("langlauf-supervisor: {what}");
    }
}
