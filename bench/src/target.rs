//! The server under test: one on this machine, or one that the user declares to own.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream as Blocking, ToSocketAddrs},
    os::fd::AsRawFd,
    path::PathBuf,
    time::Duration,
};

use mio::net::{TcpStream, UnixStream};
use relay::config::Address;
use socket2::{Domain, Socket, Type};

use crate::{connection::Stream, error::Error};

/// A server that may be loaded.
#[derive(Clone, Debug)]
pub struct Target {
    endpoint: Endpoint,
    /// The value of the `Host` header.
    pub host: String,
}

#[derive(Clone, Debug)]
enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Target {
    /// The server at `address` (`HOST:PORT`, `[V6]:PORT` or `unix:PATH`). Fails unless the address is on this machine or its
    /// host is `owned`, because a load on somebody else's server is an attack; nothing is sent before this check. Fails if
    /// nothing accepts a connection there.
    pub fn find(address: &str, owned: Option<&str>) -> Result<Target, Error> {
        let host = match Address::parse(address).map_err(Error::Address)? {
            Address::Unix(path) => return Ok(Target { endpoint: Endpoint::Unix(path), host: "localhost".into() }),
            Address::Tcp(host) => host,
        };
        let found = host.to_socket_addrs().map_err(|error| Error::Usage(format!("{host}: {error}")))?;
        let found: Vec<SocketAddr> = found.collect();
        check(&host, &found, owned)?;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in found {
            match Blocking::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(_) => return Ok(Target { endpoint: Endpoint::Tcp(address), host }),
                Err(error) => last = error,
            }
        }
        Err(Error::Failed(format!("cannot connect to {host}: {last}")))
    }

    /// Starts connection `number`. One client address has about 28,000 ports for one server, so on the loopback network later
    /// connections use further client addresses.
    pub fn open(&self, number: usize) -> io::Result<Stream> {
        match &self.endpoint {
            Endpoint::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path)?)),
            Endpoint::Tcp(SocketAddr::V4(address)) if address.ip().is_loopback() && number >= PER_CLIENT_ADDRESS => {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
                bind_address_no_port(&socket)?;
                let last = 2 + (number / PER_CLIENT_ADDRESS) % 250;
                socket.bind(&SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last as u8), 0).into())?;
                socket.set_nonblocking(true)?;
                match socket.connect(&(*address).into()) {
                    Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
                    _ => {}
                }
                Stream::tcp(TcpStream::from_std(socket.into()))
            }
            Endpoint::Tcp(address) => Stream::tcp(TcpStream::connect(*address)?),
        }
    }
}

/// Lets the kernel choose the port at connect(2) instead of bind(2) (`ip(7)`, `IP_BIND_ADDRESS_NO_PORT`). A port that is chosen
/// at bind(2) is reserved for every destination, and stays reserved for a while after the connection is closed.
#[allow(unsafe_code)]
fn bind_address_no_port(socket: &Socket) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let on: libc::c_int = 1;
        // SAFETY: the option is an int that outlives the call, and its length is passed.
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

/// Fails unless every address is a loopback address or the user declares to own the host.
fn check(host: &str, found: &[SocketAddr], owned: Option<&str>) -> Result<(), Error> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let local = |ip: IpAddr| ip.to_canonical().is_loopback();
    if owned == Some(name) || (!found.is_empty() && found.iter().all(|address| local(address.ip()))) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{host} is not on this machine, and a load can overload it: if you own that host, add --i-own-this-host {name}"
    )))
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections per client address.
const PER_CLIENT_ADDRESS: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_or_an_owned_host() {
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
    fn invalid_addresses() {
        for address in ["4000", "http://localhost:1", "192.0.2.1:4000", "unix:"] {
            assert!(matches!(Target::find(address, None), Err(Error::Usage(_) | Error::Address(_))), "{address}");
        }
    }
}
