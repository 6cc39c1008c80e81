//! A daemon as a process of its own: it ends with whoever started it, and one of before is found and ended first.

use base::Clock;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// A running daemon; it ends with this.
pub(crate) struct Daemon {
    child: Child,
}

/// File with the number of its process.
const NUMBER: &str = "number";

/// Tells a process to end in order.
fn tell_to_end(number: u32) {
    // it may have ended already
    let _ = std::process::Command::new("kill")
        .args(["-TERM", &number.to_string()])
        .stderr(Stdio::null())
        .status();
}

/// One that outlived its master would hold ports, and do what nobody watches.
async fn end_orphan(folder: &Path, name: &str, clock: &dyn Clock) {
    let number = std::fs::read_to_string(folder.join(NUMBER)).ok();
    let Some(number) = number.and_then(|text| text.trim().parse::<u32>().ok()) else {
        return;
    };
    // is that process still the daemon?
    let comm = || std::fs::read_to_string(format!("/proc/{number}/comm"));
    for _ in 0..100 {
        if !comm().is_ok_and(|comm| comm.starts_with(name)) {
            return;
        }
        tell_to_end(number);
        clock.sleep(Duration::from_millis(50)).await;
    }
    tracing::error!(number, name, "one of before does not end");
}

/// Makes the folder, for nobody else. Its path becomes part of configurations and of sockets' addresses.
pub(crate) fn prepare(folder: &Path, mode: u32) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let text = folder.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.len() > 90 || !text.chars().all(plain) {
        return Err(
            "the folder's path has more than 90 characters, or others than letters, digits and /._-".into(),
        );
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(folder)
        .map_err(failed)?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)).map_err(failed)
}

/// Capabilities that daemons are given, with their numbers.
const CAPABILITIES: [(&str, u8); 4] = [
    ("net_bind_service", 10),
    ("net_admin", 12),
    ("net_raw", 13),
    ("sys_time", 25),
];
/// Who has it may limit what a program of root's gets.
const SETPCAP: u8 = 8;

/// The command with setpriv before the program, which leaves it what of `rights` we have ourselves by `status`
/// (`/proc/self/status`). Without anything to give nothing can be taken away either.
fn limited(name: &str, command: &[String], rights: &[&str], status: &str) -> Vec<String> {
    let permitted = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
    let permitted = permitted.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    let has = |number: u8| permitted.is_some_and(|all| all & (1 << number) != 0);
    let given = CAPABILITIES
        .iter()
        .filter(|(one, number)| rights.contains(one) && has(*number));
    let given: String = given.map(|(one, _)| format!(",+{one}")).collect();
    let program = |word: &String| word.rsplit('/').next().is_some_and(|file| file.starts_with(name));
    let place = command.iter().position(program).unwrap_or_default();
    let (before, after) = command.split_at(place);
    let mut limit = Vec::new();
    if permitted.is_some_and(|all| all != 0) {
        limit = ["setpriv", "--no-new-privs"].map(str::to_owned).to_vec();
        limit.extend(["inh-caps", "ambient-caps"].map(|set| format!("--{set}=-all{given}")));
        if has(SETPCAP) {
            limit.push(format!("--bounding-set=-all{given}"));
        }
    }
    [before, &limit, after].concat()
}

impl Daemon {
    /// Starts it with these capabilities of ours and no others (`net_bind_service`). `name` is what the system calls its process; one
    /// of before in this folder is ended first. What stands before the program in `command` keeps ours.
    pub async fn start(
        name: &str,
        folder: &Path,
        command: &[String],
        rights: &[&str],
        environment: &[(&str, &Path)],
        clock: &dyn Clock,
    ) -> Result<Self, String> {
        end_orphan(folder, name, clock).await;
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let words = limited(name, command, rights, &status);
        let (program, arguments) = words.split_first().ok_or("no command")?;
        let child = Command::new(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        if let Some(id) = child.id() {
            std::fs::write(folder.join(NUMBER), id.to_string()).map_err(|error| error.to_string())?;
        }
        Ok(Self { child })
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(format!("ended with {status}")),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Ends it at once, as a crash would.
    pub async fn kill(&mut self) {
        // it may have ended already
        let _ = self.child.kill().await;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let (Ok(None), Some(number)) = (self.child.try_wait(), self.child.id()) {
            tell_to_end(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daemons_get_what_they_need_and_we_have() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let command = words("ip netns exec x /usr/sbin/unbound -d -c unbound.conf");
        let rights = ["net_bind_service", "sys_time"];
        let limited = |status: &str| limited("unbound", &command, &rights, status).join(" ");
        // root
        assert_eq!(
            limited("Name:\tx\nCapPrm:\t000001ffffffffff\n"),
            "ip netns exec x setpriv --no-new-privs --inh-caps=-all,+net_bind_service,+sys_time \
             --ambient-caps=-all,+net_bind_service,+sys_time --bounding-set=-all,+net_bind_service,+sys_time \
             /usr/sbin/unbound -d -c unbound.conf"
        );
        // somebody with CAP_NET_BIND_SERVICE and CAP_NET_ADMIN
        assert_eq!(
            limited("CapPrm:\t0000000000001400\n"),
            "ip netns exec x setpriv --no-new-privs --inh-caps=-all,+net_bind_service \
             --ambient-caps=-all,+net_bind_service /usr/sbin/unbound -d -c unbound.conf"
        );
        // nobody
        assert_eq!(limited("CapPrm:\t0\n"), command.join(" "));
    }
}
