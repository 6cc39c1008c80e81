use crate::wire::{Announcement, encode_search};
use base::Clock;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;

/// Pause between two questions.
const AGAIN: Duration = Duration::from_secs(1);

/// A terminal that answered.
pub type Discovered = Announcement;

/// Asks `target` (one address, or a broadcast address) and collects answers until `timeout` is over
/// (CTM_SERVICE_DISCOVERY_TIMEOUT, 3 s); one address gives one answer.
pub async fn discover(
    local: Ipv4Addr,
    target: SocketAddr,
    timeout: Duration,
    clock: &dyn Clock,
) -> std::io::Result<Vec<Discovered>> {
    let socket = UdpSocket::bind((local, 0)).await?;
    let broadcast =
        matches!(target.ip(), IpAddr::V4(ip) if ip.is_broadcast() || ip.octets().ends_with(&[255]));
    socket.set_broadcast(broadcast)?;
    let port = socket.local_addr()?.port();
    let local = own_address(local, target, broadcast).await?;
    let search = encode_search(local, port);
    let mut found: Vec<Discovered> = Vec::new();
    let asking = async {
        // a datagram may be lost: asked again every second
        loop {
            socket.send_to(&search, target).await?;
            clock.sleep(AGAIN).await;
        }
    };
    let collecting = async {
        let mut buffer = [0; 512];
        while broadcast || found.is_empty() {
            // what is not a discovery message is not for us
            if let Ok((length, _)) = socket.recv_from(&mut buffer).await
                && let Ok(announcement) = Announcement::parse(buffer.get(..length).unwrap_or_default())
                && !found.contains(&announcement)
            {
                found.push(announcement);
            }
        }
    };
    let working = async {
        tokio::select! {
            outcome = asking => outcome,
            () = collecting => Ok(()),
        }
    };
    // when the time is over, those that have answered are the result
    let done: Option<std::io::Result<()>> = clock.timeout(timeout, working).await;
    done.unwrap_or(Ok(()))?;
    Ok(found)
}

/// Where answers can reach us: the address this machine has towards the target.
async fn own_address(local: Ipv4Addr, target: SocketAddr, broadcast: bool) -> std::io::Result<Ipv4Addr> {
    if !local.is_unspecified() {
        return Ok(local);
    }
    let probe = UdpSocket::bind((local, 0)).await?;
    probe.set_broadcast(broadcast)?;
    // sends nothing, but chooses the way
    probe.connect(target).await?;
    match probe.local_addr()?.ip() {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Ok(local),
    }
}

/// Hears terminals that announce themselves (TIP1-A_4540) until the task is dropped.
pub async fn listen(socket: UdpSocket, mut heard: impl FnMut(Discovered)) -> std::io::Result<()> {
    let mut buffer = [0; 512];
    loop {
        let (length, _) = socket.recv_from(&mut buffer).await?;
        if let Ok(announcement) = Announcement::parse(buffer.get(..length).unwrap_or_default()) {
            heard(announcement);
        }
    }
}
