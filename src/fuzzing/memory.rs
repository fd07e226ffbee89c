//! Entry points for fuzzers that assert how much memory input costs: what a parser keeps of it and what it needs
//! meanwhile is at most a multiple of the bytes received, plus a constant. What it keeps has a limit as well, however much
//! arrives.
//!
//! The binary that calls these functions counts its allocations (`tests/support/heap.rs`).

use core::ops::ControlFlow;
use std::{io, io::ErrorKind};

use crate::{
    clock::Now,
    config,
    engineio::{Revision, payload},
    http::{Exchange, Reply, forwarded, multipart, proxy, response},
    limits::Limits,
    redis,
    socketio::{self, placeholder},
    websocket::peer::Peer,
};

/// The allocations of the current thread, as the binary's allocator counts them.
#[derive(Clone, Copy, Debug)]
pub struct Heap {
    /// Bytes that are allocated.
    pub live: fn() -> usize,
    /// The most bytes that were allocated at a time since the last call.
    pub take_peak: fn() -> usize,
}

/// Takes any bytes, and panics if they cost more memory than they may.
pub type Target = fn(&[u8], Heap);

/// Every target, with its name.
pub const TARGETS: [(&str, Target); 14] = [
    ("config", config_file),
    ("http", http_exchange),
    ("chunked", chunked_body),
    ("multipart", multipart_form),
    ("forwarded", forwarded_list),
    ("proxy", proxy_header),
    ("response", hook_response),
    ("websocket", websocket_peer),
    ("payload", engineio_payload),
    ("packet", socketio_packet),
    ("resp", redis_reply),
    ("event", client_event),
    ("socketio", socketio_client),
    ("published", redis_message),
];

/// The memory that input may cost.
struct Allowance {
    /// Bytes of memory for each byte received. Two are right for bytes that are kept, because a growing buffer doubles.
    per_byte: usize,
    /// Bytes that are received before nothing more is kept.
    most: usize,
    /// Bytes of memory whatever is received.
    fixed: usize,
}

impl Allowance {
    /// The bytes of memory for this much input.
    fn of(&self, received: usize) -> usize {
        self.per_byte * received.min(self.most) + self.fixed
    }
}

/// Feeds a parser with input in pieces of all sizes, which the first byte selects, until it breaks off. After each piece it
/// keeps no more than is allowed; in the end it frees everything.
fn assert_kept<P>(
    bytes: &[u8],
    heap: Heap,
    allowed: &Allowance,
    new: impl FnOnce() -> P,
    mut handle: impl FnMut(&mut P, &[u8]) -> ControlFlow<()>,
) {
    let Some((choice, mut rest)) = bytes.split_first() else { return };
    let before = (heap.live)();
    let mut parser = new();
    let (mut random, mut received) = (usize::from(*choice), 0);
    while !rest.is_empty() {
        random = random.wrapping_mul(1_103_515_245).wrapping_add(12345) % (1 << 31);
        let size = PIECES[(random >> 16) % PIECES.len()];
        let (piece, later) = rest.split_at(size.min(rest.len()));
        rest = later;
        received += piece.len();
        // The owner drops a parser that breaks off.
        if handle(&mut parser, piece).is_break() {
            break;
        }
        let (kept, most) = ((heap.live)() - before, allowed.of(received));
        assert!(kept <= most, "{kept} bytes are kept after {received} bytes, allowed are {most}");
    }
    drop(parser);
    assert_eq!((heap.live)(), before, "memory is lost");
}

/// Asserts that `work` on `length` bytes needs no more memory at any moment than is allowed, and keeps nothing.
fn assert_needed(length: usize, heap: Heap, allowed: &Allowance, work: impl FnOnce()) {
    let before = (heap.live)();
    (heap.take_peak)();
    work();
    let (needed, most) = ((heap.take_peak)().saturating_sub(before), allowed.of(length));
    assert!(needed <= most, "{needed} bytes are needed for {length} bytes, allowed are {most}");
    assert_eq!((heap.live)(), before, "memory is lost");
}

/// A configuration: an inline table of eight bytes, such as `{b=0},`, becomes a tree of its own. The file is the operator's.
pub fn config_file(bytes: &[u8], heap: Heap) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let allowed = Allowance { per_byte: 256, most: usize::MAX / 256, fixed: 64 * 1024 };
    assert_needed(text.len(), heap, &allowed, || {
        let _ = config::parse(text, &mut |_| Err(ErrorKind::NotFound.into()));
    });
}

/// A form in the encoding `multipart/form-data`: a part of 46 bytes becomes a pair of two strings in a list
/// that doubles, and a parameter of three bytes one of 40 bytes.
pub fn multipart_form(bytes: &[u8], heap: Heap) {
    let allowed = Allowance { per_byte: 8, most: usize::MAX / 8, fixed: 40 * multipart::MAX_HEADERS };
    assert_needed(bytes.len(), heap, &allowed, || {
        let _ = multipart::parse("b", bytes);
    });
}

/// Lists of addresses: one element at a time is copied, without its escapes.
pub fn forwarded_list(bytes: &[u8], heap: Heap) {
    let Ok(list) = core::str::from_utf8(bytes) else { return };
    let allowed = Allowance { per_byte: 4, most: usize::MAX / 4, fixed: 64 };
    assert_needed(bytes.len(), heap, &allowed, || {
        let _ = forwarded::forwarded(list).chain(forwarded::forwarded_for(list)).count();
    });
}

/// A header of the PROXY protocol is parsed where it is.
pub fn proxy_header(bytes: &[u8], heap: Heap) {
    let allowed = Allowance { per_byte: 0, most: 0, fixed: 0 };
    assert_needed(bytes.len(), heap, &allowed, || {
        let _ = proxy::parse(bytes);
    });
}

/// Small limits, so that short input reaches them.
fn limits() -> Limits {
    Limits { request_head: 512, request_headers: 8, body: 256, ..Limits::default() }
}

/// An HTTP connection keeps at most an incomplete request: `limits.request_head`, `limits.body`, and a line of a chunked
/// body.
pub fn http_exchange(bytes: &[u8], heap: Heap) {
    let limits = limits();
    let most = (limits.request_head + limits.body) as usize + CHUNK_LINE;
    let allowed = Allowance { per_byte: 2, most, fixed: 1024 };
    assert_kept(
        bytes,
        heap,
        &allowed,
        || Exchange::new(Now::default(), &limits),
        |exchange, piece| serve(exchange, piece, &limits),
    );
}

/// A chunked body is kept decoded: `limits.body` of it, and a line of its coding, however many bytes the coding has.
pub fn chunked_body(bytes: &[u8], heap: Heap) {
    let limits = limits();
    let new = || {
        let mut exchange = Exchange::new(Now::default(), &limits);
        let head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = serve(&mut exchange, head, &limits);
        exchange
    };
    let allowed = Allowance { per_byte: 2, most: limits.body as usize + CHUNK_LINE, fixed: 2048 };
    assert_kept(bytes, heap, &allowed, new, |exchange, piece| serve(exchange, piece, &limits));
}

/// Refuses every request in `piece` with 404. Breaks off if the connection is closing.
fn serve(exchange: &mut Exchange, piece: &[u8], limits: &Limits) -> ControlFlow<()> {
    let mut fresh = piece;
    loop {
        match exchange.poll_request(&mut fresh, limits, Now::default()) {
            Ok(Some(_)) => exchange.reply(&Reply::refusal(404, "fuzz"), Now::default()),
            Ok(None) => break,
            Err(error) => {
                exchange.refuse(&Reply::from(error), Now::default());
                break;
            }
        }
    }
    exchange.write_to(&mut io::sink(), limits, Now::default()).expect("a sink accepts everything");
    if exchange.is_closing() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// The answer to a hook keeps at most its head of 16 KiB and the allowed body.
pub fn hook_response(bytes: &[u8], heap: Heap) {
    const BODY: usize = 256;
    let allowed = Allowance { per_byte: 2, most: 16 * 1024 + BODY + CHUNK_LINE, fixed: 2048 };
    assert_kept(bytes, heap, &allowed, response::Reader::default, |reader, piece| {
        match reader.handle_input(piece, BODY as u64) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(_)) | Err(_) => ControlFlow::Break(()),
        }
    });
}

/// A WebSocket client keeps at most an incomplete message, however long the frame says that it will be.
pub fn websocket_peer(bytes: &[u8], heap: Heap) {
    const MESSAGE: usize = 100_000;
    // The context of an incomplete message has a read buffer of 4 KiB, and as much for an answer.
    let allowed = Allowance { per_byte: 2, most: MESSAGE, fixed: 16 * 1024 };
    assert_kept(bytes, heap, &allowed, Peer::default, |peer, piece| {
        let mut reading = peer.handle_input(piece, MESSAGE as u64);
        while let Some(event) = reading.poll_event() {
            if !matches!(event, Ok(crate::websocket::peer::Event::Text(_) | crate::websocket::peer::Event::Binary(_))) {
                return ControlFlow::Break(());
            }
        }
        let _ = reading.poll_transmit();
        reading.finish(peer);
        ControlFlow::Continue(())
    });
}

/// A payload is decoded packet by packet, so it needs no more than one of them. The first byte selects the encoding.
pub fn engineio_payload(bytes: &[u8], heap: Heap) {
    let Some((choice, body)) = bytes.split_first() else { return };
    let (revision, binary) =
        [(Revision::V4, false), (Revision::V3, false), (Revision::V3, true)][usize::from(choice % 3)];
    let allowed = Allowance { per_byte: 2, most: usize::MAX / 2, fixed: 1024 };
    assert_needed(body.len(), heap, &allowed, || {
        let _ = payload::decode(body, revision, binary, &mut |_| ControlFlow::Continue(()));
    });
}

/// A packet: its arguments are a list of references into its text, 16 bytes each, and each may be as short as `0,`. The list
/// doubles when it grows.
pub fn socketio_packet(bytes: &[u8], heap: Heap) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let allowed = Allowance { per_byte: 24, most: usize::MAX / 32, fixed: 4096 };
    assert_needed(text.len(), heap, &allowed, || {
        let Ok(packet) = socketio::Packet::parse(text) else { return };
        if let Some(event) = packet.event() {
            drop(event.list());
        }
        if packet.attachments > 0 {
            let _ = placeholder::are_valid(packet.data, packet.attachments);
        }
        drop(placeholder::find(packet.data));
        let mut replaced = Vec::new();
        placeholder::replace(packet.data, &mut replaced, |_, out| out.push(b'0'));
    });
}

/// A reply of Redis: an element of an array needs four bytes, such as `:1\r\n`, and becomes a [`redis::Reply`]. An array
/// that is nested needs as many, and becomes a list with room for four. Strings are kept as they arrive, however long
/// Redis says that they will be, or skipped.
pub fn redis_reply(bytes: &[u8], heap: Heap) {
    let allowed = Allowance { per_byte: 40, most: usize::MAX / 64, fixed: 4096 };
    assert_kept(
        bytes,
        heap,
        &allowed,
        || redis::Reader::new(100_000),
        |reader, piece| {
            let mut piece = piece;
            loop {
                match reader.poll(&mut piece) {
                    Ok(Some(_)) => {}
                    Ok(None) => return ControlFlow::Continue(()),
                    Err(_) => return ControlFlow::Break(()),
                }
            }
        },
    );
}

/// An event of a plain WebSocket client, with the hub that handles it.
pub fn client_event(bytes: &[u8], heap: Heap) {
    assert_needed(bytes.len(), heap, &HUB, || super::client_event(bytes));
}

/// What a Socket.IO client sends, with the hub that handles it.
pub fn socketio_client(bytes: &[u8], heap: Heap) {
    assert_needed(bytes.len(), heap, &HUB, || super::socketio_client(bytes));
}

/// A publication on Redis, with the hub that handles it.
pub fn redis_message(bytes: &[u8], heap: Heap) {
    assert_needed(bytes.len(), heap, &HUB, || super::redis_message(bytes));
}

/// A hub with one client. A field of a query, such as `a&`, becomes a name and a value, in a list that doubles when it
/// grows; an element of a list of rooms becomes a string.
const HUB: Allowance = Allowance { per_byte: 48, most: usize::MAX / 64, fixed: 256 * 1024 };

/// Bytes of a chunk's line with its extensions, and of all trailers together.
const CHUNK_LINE: usize = 4096;
/// Sizes of pieces: from a byte to what one read can bring.
const PIECES: [usize; 8] = [1, 2, 3, 17, 100, 1000, 5000, 65_536];
