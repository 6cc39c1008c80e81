use crate::wire::{Announcement, encode_search};
use base::Clock;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;

/// A terminal that answered.
pub type Discovered = Announcement;

/// Asks `target` (one address, or a broadcast address) and collects answers until `timeout` is over
/// (CTM_SERVICE_DISCOVERY_TIMEOUT, 3 s).
pub async fn discover(
    local: Ipv4Addr,
    target: SocketAddr,
    timeout: Duration,
    clock: &dyn Clock,
) -> std::io::Result<Vec<Discovered>> {
    let socket = UdpSocket::bind((local, 0)).await?;
    if matches!(target.ip(), IpAddr::V4(address) if address.is_broadcast() || address.octets().ends_with(&[255]))
    {
        socket.set_broadcast(true)?;
    }
    let port = socket.local_addr()?.port();
    socket.send_to(&encode_search(local, port), target).await?;
    let mut found: Vec<Discovered> = Vec::new();
    let collecting = async {
        let mut buffer = [0; 512];
        loop {
            // what is not a discovery message is not for us
            if let Ok((length, _)) = socket.recv_from(&mut buffer).await
                && let Ok(announcement) = Announcement::parse(buffer.get(..length).unwrap_or_default())
                && !found.contains(&announcement)
            {
                found.push(announcement);
            }
        }
    };
    let _: Option<std::convert::Infallible> = clock.timeout(timeout, collecting).await;
    Ok(found)
}
