//! The connection of a client: a socket, or TLS over it.

use std::{
    fs,
    io::{self, Read, Write},
    net::{IpAddr, TcpStream},
    path::Path,
};

use relay::tls::{ClientTls, Stream};

/// The connection of a client.
pub enum Channel {
    /// A socket.
    Plain(TcpStream),
    /// TLS over a socket.
    Tls(Box<Stream<TcpStream>>),
}

impl Channel {
    /// Begins TLS on a blocking socket if there are `authorities`: a PEM file. The handshake is a whole one: no session is
    /// continued.
    pub fn new(socket: TcpStream, server: IpAddr, authorities: Option<&Path>) -> io::Result<Channel> {
        let Some(path) = authorities else { return Ok(Channel::Plain(socket)) };
        let settings = ClientTls::new(Some(fs::read_to_string(path)?), None).map_err(io::Error::other)?;
        let tls = settings.connect(&server.to_string()).map_err(io::Error::other)?;
        let mut stream = Stream::new(socket, tls);
        stream.handshake()?;
        Ok(Channel::Tls(Box::new(stream)))
    }

    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Channel::Plain(socket) => socket,
            Channel::Tls(stream) => stream.socket(),
        }
    }

    /// Whether a read that does not fill the buffer has emptied the socket. TLS returns the data of a record at a time.
    pub fn is_empty_after_short_read(&self) -> bool {
        matches!(self, Channel::Plain(_))
    }
}

impl Read for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Channel::Plain(socket) => socket.read(buffer),
            Channel::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Channel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Channel::Plain(socket) => socket.write(bytes),
            Channel::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Channel::Plain(socket) => socket.flush(),
            Channel::Tls(stream) => stream.flush(),
        }
    }
}
