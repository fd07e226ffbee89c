//! Listening sockets: TCP and Unix, opened by relay or inherited from the service manager.

use core::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};
use std::{
    fs::{self, File, Permissions},
    io,
    net::ToSocketAddrs,
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::fs::{FileTypeExt, PermissionsExt, lchown},
    },
    path::{Path, PathBuf},
};

use mio::{
    Interest, Registry, Token,
    event::Source,
    net::{TcpListener, UnixListener},
};
use socket2::{Domain, Protocol, SockAddr, Type};

use super::{
    accounts::{group_id, user_id},
    conn::Socket,
};
use crate::config::{Access, Address, ListenAddress, listen_address::scheme};

/// A listening socket.
pub struct Listener {
    socket: Listening,
    /// Whether there may be more to accept: epoll reported an edge, and `accept` has not yet returned `EAGAIN`.
    pub ready: bool,
    /// Whether each connection begins with a header of the PROXY protocol.
    pub proxied: bool,
    /// Whether connections use TLS.
    pub tls: bool,
    /// Whether there are only metrics and health checks.
    pub metrics_only: bool,
    /// The socket file to remove when the listener is dropped.
    file: Option<PathBuf>,
}

enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The result of accepting.
pub enum Accepted {
    /// A connection and the address of its peer, which Unix sockets do not have.
    Socket(Socket, Option<IpAddr>),
    /// No connection is waiting.
    NoneWaiting,
    /// The process or the system has no free descriptor or memory.
    Exhausted,
}

impl Listener {
    fn new(socket: Listening, file: Option<PathBuf>) -> Listener {
        Listener { socket, ready: false, proxied: false, tls: false, metrics_only: false, file }
    }

    /// The problems of addresses that are known before relay listens: users and groups that do not exist.
    pub fn problems(listen: &[ListenAddress]) -> Vec<String> {
        let unknown = |listen: &ListenAddress| {
            let Access { user, group, .. } = &listen.access;
            let found = owner("user", user, user_id).and_then(|_| owner("group", group, group_id));
            let key = if listen.metrics_only { "admin.listen" } else { "listen" };
            found.err().map(|error| format!("{key}: {listen}: {error}"))
        };
        listen.iter().filter_map(unknown).collect()
    }

    /// Listens on every address that `listen` stands for, in addition to `listeners`. An address that one of these accepts
    /// already in the same way needs no other one. Resolving a name blocks, which is acceptable before the event loop runs.
    pub fn bind(listen: &ListenAddress, listeners: &mut Vec<Listener>) -> io::Result<()> {
        let (proxied, tls, metrics_only) = (listen.proxied, listen.tls, listen.metrics_only);
        let text = match &listen.address {
            Address::Unix(path) => {
                let mut listener = bind_unix(path, &listen.access)?;
                (listener.proxied, listener.metrics_only) = (proxied, metrics_only);
                listeners.push(listener);
                return Ok(());
            }
            Address::Tcp(text) => text,
        };
        for address in resolve(text)? {
            match bind_tcp(address, text.starts_with('*')) {
                Ok(mut listener) => {
                    (listener.proxied, listener.tls, listener.metrics_only) = (proxied, tls, metrics_only);
                    listeners.push(listener);
                }
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse
                        && listeners.iter().any(|listener| {
                            (listener.proxied, listener.tls, listener.metrics_only) == (proxied, tls, metrics_only)
                                && listener.covers(address)
                        }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether connections to `address` arrive here.
    fn covers(&self, address: SocketAddr) -> bool {
        let Listening::Tcp(listener) = &self.socket else { return false };
        let Ok(own) = listener.local_addr() else { return false };
        let all = own.ip().is_unspecified() && (own.is_ipv4() == address.is_ipv4() || takes_both(listener));
        own.port() == address.port() && (own.ip() == address.ip() || all)
    }

    /// The sockets that the service manager opened for this process (`sd_listen_fds(3)`). One with the name `tls`
    /// (`FileDescriptorName=`) uses TLS.
    pub fn inherited() -> io::Result<Vec<Listener>> {
        let adopt = |(fd, name): (i32, String)| {
            let mut listener = adopt(fd)?;
            listener.tls = name == "tls";
            match &listener.socket {
                Listening::Unix(_) if listener.tls => {
                    Err(io::Error::new(io::ErrorKind::InvalidInput, "an inherited Unix socket is named tls"))
                }
                _ => Ok(listener),
            }
        };
        // The names may be there when the sockets are for another process, which is no error.
        if sd_notify::listen_fds()?.len() == 0 {
            return Ok(Vec::new());
        }
        sd_notify::listen_fds_with_names()?.map(adopt).collect()
    }

    /// Registers the socket for edge-triggered readiness.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.socket {
            Listening::Tcp(listener) => listener.register(registry, token, Interest::READABLE),
            Listening::Unix(listener) => listener.register(registry, token, Interest::READABLE),
        }
    }

    /// Accepts one connection.
    pub fn accept(&mut self) -> io::Result<Accepted> {
        loop {
            let accepted = match &self.socket {
                Listening::Tcp(listener) => {
                    listener.accept().map(|(stream, peer)| (Socket::Tcp(stream), Some(peer.ip().to_canonical())))
                }
                Listening::Unix(listener) => listener.accept().map(|(stream, _)| (Socket::Unix(stream), None)),
            };
            let error = match accepted {
                Ok((socket, peer)) => return Ok(Accepted::Socket(socket, peer)),
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EAGAIN) => {
                    self.ready = false;
                    return Ok(Accepted::NoneWaiting);
                }
                Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => return Ok(Accepted::Exhausted),
                // An error of this connection only, not of the listener: accept the next one (accept(2), "Error
                // handling").
                Some(
                    libc::EINTR
                    | libc::ECONNABORTED
                    | libc::EPROTO
                    | libc::ENETDOWN
                    | libc::ENETUNREACH
                    | libc::EHOSTDOWN
                    | libc::EHOSTUNREACH
                    | libc::ENONET
                    | libc::ENOPROTOOPT
                    | libc::EOPNOTSUPP
                    | libc::EPERM,
                ) => {}
                _ => return Err(error),
            }
        }
    }

    /// Whether only this machine can reach the socket.
    pub fn is_local(&self) -> bool {
        match &self.socket {
            Listening::Tcp(listener) => listener.local_addr().is_ok_and(|address| is_local(address.ip())),
            Listening::Unix(_) => true,
        }
    }
}

/// Whether only this machine can reach a socket at this address.
pub fn is_local(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.file {
            // An error means that the file is already gone.
            let _ = fs::remove_file(path);
        }
    }
}

/// Writes the address in the syntax of `--listen`, without the options of a Unix socket.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(scheme(matches!(self.socket, Listening::Tcp(_)), self.proxied, self.tls))?;
        match &self.socket {
            Listening::Tcp(listener) => match listener.local_addr() {
                Ok(address) => address.fmt(f),
                Err(error) => write!(f, "an unknown address ({error})"),
            },
            Listening::Unix(listener) => match listener.local_addr() {
                Ok(address) => match address.as_pathname() {
                    Some(path) => write!(f, "unix:{}", path.display()),
                    None => f.write_str("an unnamed unix socket"),
                },
                Err(error) => write!(f, "an unknown address ({error})"),
            },
        }
    }
}

/// Whether a listener on `[::]` also accepts IPv4.
fn takes_both(listener: &TcpListener) -> bool {
    listener.local_addr().is_ok_and(|own| own.is_ipv6())
        && socket2::SockRef::from(listener).only_v6().is_ok_and(|only| !only)
}

/// The addresses that `host:port` stands for, each once. `*` is `[::]`, which also accepts IPv4, or `0.0.0.0` on a machine
/// without IPv6.
pub fn resolve(text: &str) -> io::Result<Vec<SocketAddr>> {
    let Some(port) = text.strip_prefix("*:") else {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in text.to_socket_addrs()? {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        return Ok(addresses);
    };
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let has_v6 =
        socket2::Socket::new(Domain::IPV6, Type::STREAM, None).and_then(|probe| probe.bind(&v6.into())).is_ok();
    let host = if has_v6 { "[::]" } else { "0.0.0.0" };
    Ok(format!("{host}:{port}").to_socket_addrs()?.collect())
}

/// A listener on `[::]` also accepts IPv4, unless another process already has the IPv4 port. With `both` that is an error.
fn bind_tcp(address: SocketAddr, both: bool) -> io::Result<Listener> {
    let bind = |only_v6: bool| -> io::Result<socket2::Socket> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(only_v6)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    };
    let socket = match bind(false) {
        Err(error) if address.is_ipv6() && !both && error.kind() == io::ErrorKind::AddrInUse => bind(true)?,
        other => other?,
    };
    tcp(socket)
}

/// Sets options that accepted connections inherit, which saves system calls per connection: `TCP_NODELAY`, and at most
/// 16 KiB of unsent bytes in the kernel. Without that limit, the kernel buffers 3.8 MiB for a peer that does not read.
fn tcp(socket: socket2::Socket) -> io::Result<Listener> {
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(16 * 1024)?;
    let listener = TcpListener::from_std(socket.into());
    Ok(Listener::new(Listening::Tcp(listener), None))
}

/// Listens on a Unix socket. Replaces a socket file on which nothing listens, such as a killed relay leaves behind.
/// Binding fails if any other file exists there. Nobody can connect before the file has its owner, group and mode.
fn bind_unix(path: &Path, access: &Access) -> io::Result<Listener> {
    let address = SockAddr::unix(path)?;
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        // Only ECONNREFUSED means that nothing listens. The socket is non-blocking, because connecting to a listener
        // with a full backlog would block.
        let probe = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        probe.set_nonblocking(true)?;
        if probe.connect(&address).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            fs::remove_file(path)?;
        }
    }
    let (user, group) = (owner("user", &access.user, user_id)?, owner("group", &access.group, group_id)?);
    let mut socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    if let Some(mode) = access.mode {
        // The file is created with the mode of the socket, less the umask: never with more than is wanted.
        let file = File::from(OwnedFd::from(socket));
        file.set_permissions(Permissions::from_mode(mode))?;
        socket = OwnedFd::from(file).into();
    }
    socket.bind(&address)?;
    // From here on, dropping it removes the file.
    socket.set_nonblocking(true)?;
    let bound = Listener::new(Listening::Unix(UnixListener::from_std(socket.try_clone()?.into())), Some(path.into()));
    if user.is_some() || group.is_some() {
        lchown(path, user, group).map_err(|error| {
            let cure = "run relay as a member of that group, or as root; or let systemd open the socket (SocketGroup=)";
            io::Error::new(error.kind(), format!("cannot give the socket its user or group: {error} ({cure})"))
        })?;
    }
    if let Some(mode) = access.mode {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    socket.listen(BACKLOG)?;
    Ok(bound)
}

/// The number of the user or group in an option of a Unix socket.
fn owner(kind: &str, name: &Option<String>, find: impl Fn(&str) -> io::Result<Option<u32>>) -> io::Result<Option<u32>> {
    let Some(name) = name else { return Ok(None) };
    match find(name)? {
        Some(id) => Ok(Some(id)),
        None => Err(io::Error::other(format!("this machine has no {kind} {name:?}: create it, or name another one"))),
    }
}

#[allow(unsafe_code)]
fn adopt(fd: i32) -> io::Result<Listener> {
    // SAFETY: the service manager opened the descriptor for this process, and nothing else takes ownership of it.
    let socket = socket2::Socket::from(unsafe { OwnedFd::from_raw_fd(fd) });
    if !socket.is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an inherited descriptor is not a listening socket"));
    }
    match socket.domain()? {
        Domain::IPV4 | Domain::IPV6 => tcp(socket),
        Domain::UNIX => {
            socket.set_nonblocking(true)?;
            let listener = UnixListener::from_std(socket.into());
            Ok(Listener::new(Listening::Unix(listener), None))
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "an inherited socket is neither TCP nor Unix")),
    }
}

/// Connections that may wait to be accepted. The kernel caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
