//! Which relay is aimed at: this machine's, or one whose owner says that it is his.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream as Blocking, ToSocketAddrs},
    os::fd::AsRawFd,
    path::PathBuf,
    time::Duration,
};

use mio::net::{TcpStream, UnixStream};
use socket2::{Domain, Socket, Type};

use super::{Failure, link::Stream};
use crate::config::Address;

/// A relay that may be aimed at.
#[derive(Clone, Debug)]
pub struct Target {
    place: Place,
    /// What the `Host` header says.
    pub host: String,
}

#[derive(Clone, Debug)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Target {
    /// The relay at `address` (`HOST:PORT`, `[V6]:PORT` or `unix:PATH`), if it is on this machine or its host is `owned`,
    /// and answers. A load is an attack on whoever did not ask for it: nothing is sent elsewhere.
    pub fn find(address: &str, owned: Option<&str>) -> Result<Target, Failure> {
        let host = match Address::parse(address).map_err(Failure::Usage)? {
            Address::Unix(path) => return Ok(Target { place: Place::Unix(path), host: "localhost".into() }),
            Address::Tcp(host) => host,
        };
        let found = host.to_socket_addrs().map_err(|error| Failure::Usage(format!("{host}: {error}")))?;
        let found: Vec<SocketAddr> = found.collect();
        check(&host, &found, owned)?;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for place in found {
            match Blocking::connect_timeout(&place, PATIENCE) {
                Ok(_) => return Ok(Target { place: Place::Tcp(place), host }),
                Err(error) => last = error,
            }
        }
        Err(Failure::Failed(format!("no relay answers at {host}: {last}")))
    }

    /// Begins a connection, the `number`-th. An address has some 28,000 ports for one server's: on the loopback network
    /// there are more addresses to come from.
    pub fn open(&self, number: usize) -> io::Result<Stream> {
        match &self.place {
            Place::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path)?)),
            Place::Tcp(SocketAddr::V4(place)) if place.ip().is_loopback() && number >= OF_ONE_ADDRESS => {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
                late_port(&socket)?;
                let last = 2 + (number / OF_ONE_ADDRESS) % 250;
                socket.bind(&SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last as u8), 0).into())?;
                socket.set_nonblocking(true)?;
                match socket.connect(&(*place).into()) {
                    Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
                    _ => {}
                }
                Stream::tcp(TcpStream::from_std(socket.into()))
            }
            Place::Tcp(place) => Stream::tcp(TcpStream::connect(*place)?),
        }
    }
}

/// The port is to be chosen when it is known for which server (`ip(7)`, `IP_BIND_ADDRESS_NO_PORT`): a port chosen earlier
/// would be taken for all, and for a while beyond the connection's end.
#[allow(unsafe_code)]
fn late_port(socket: &Socket) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let on: libc::c_int = 1;
        // SAFETY: the option is an int, which lives here, and its length is given.
        let set = unsafe {
            let size = size_of::<libc::c_int>() as libc::socklen_t;
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_IP,
                libc::IP_BIND_ADDRESS_NO_PORT,
                (&raw const on).cast(),
                size,
            )
        };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Refuses what is not this machine and not named as one's own.
fn check(host: &str, found: &[SocketAddr], owned: Option<&str>) -> Result<(), Failure> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let local = |ip: IpAddr| ip.to_canonical().is_loopback();
    if owned == Some(name) || (!found.is_empty() && found.iter().all(|place| local(place.ip()))) {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{host} is not on this machine, and a load may do harm there: if that host is yours, say so with \
         --i-own-this-host {name}"
    )))
}

const PATIENCE: Duration = Duration::from_secs(5);
const OF_ONE_ADDRESS: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_or_ones_own() {
        let check = |host: &str, found: &[&str], owned| {
            let found: Vec<SocketAddr> = found.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 1)).collect();
            check(host, &found, owned).is_ok()
        };
        assert!(check("localhost:1", &["127.0.0.1", "::1"], None));
        assert!(check("x:1", &["127.9.9.9"], None) && check("x:1", &["::ffff:127.0.0.1"], None));
        for ip in ["192.0.2.1", "0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "fe80::1"] {
            assert!(!check("x:1", &[ip], None) && !check("x:1", &["127.0.0.1", ip], None), "{ip}");
            assert!(check("x:1", &[ip], Some("x")) && !check("x:1", &[ip], Some("y")), "{ip}");
        }
        assert!(!check("x:1", &[], None));
        assert!(check("[2001:db8::1]:1", &["2001:db8::1"], Some("[2001:db8::1]")));
    }

    #[test]
    fn what_is_no_address() {
        for address in ["4000", "http://localhost:1", "192.0.2.1:4000", "unix:"] {
            assert!(matches!(Target::find(address, None), Err(Failure::Usage(_))), "{address}");
        }
    }
}
