//! What one client does costs no other client its turn, and leaves nothing behind.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::{SIGCONT, SIGSTOP, ask_stats, count, fill, upgrade};
use crate::support::{
    Relay, TOKEN, login, read_answer, send_request, wait_for,
    websocket::{TEXT, frame},
};

/// A client that floods as fast as it can does not delay another's requests.
#[test]
fn a_flood_of_messages_delays_nobody() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let relay = Relay::start("[limits]\nmessage_rate = 0");
    // To a room without members: a flood that comes back may fill the flooder's queue, which is another matter.
    let message = format!(r#"{{"data":"{}","room_ids":"nobody"}}"#, "x".repeat(100));
    let one = frame(TEXT, message.as_bytes());
    let mut stream = upgrade(relay.tcp(), &login(&[]));
    // Half a message is an event of its own, and what follows makes others: they must not add up to more turns.
    stream.write_all(&one[..10]).unwrap();
    relay.fence();
    let mut bytes = one.repeat(500);
    bytes.rotate_left(10);
    assert_turns(&relay, &stream, &bytes, one.len(), "client_messages");
    let flood = Flood::start(stream, bytes);
    wait_for("the flood", || (relay.counter("client_messages") > 2000).then_some(()));
    assert_turns_in_a_flood(&relay, one.len(), "client_messages");
    assert_eq!(relay.counter("slow_consumers"), 0);
    flood.stop();
}

/// A client that pipelines requests does not, either.
#[test]
fn a_flood_of_requests_delays_nobody() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let relay = Relay::start("");
    let one = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let flood = Flood::start(relay.tcp(), one.repeat(1000));
    wait_for("the flood", || (relay.counter("requests") > 2000).then_some(()));
    assert_turns_in_a_flood(&relay, one.len(), "requests");
    flood.stop();
}

/// Crowds that connect, send and leave do not make memory or descriptors grow.
#[test]
fn crowds_leave_nothing_behind() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let relay = Relay::start("");
    let mut admin = relay.tcp();
    ask_stats(&mut admin);
    relay.fill_journal();
    wait_for("its connection to be gone", || (ask_stats(&mut admin)["connections"] == 1).then_some(()));
    let descriptors = relay.descriptors();
    let mut wave = || {
        let mut crowd: Vec<TcpStream> = (0..2000)
            .map(|number| {
                upgrade(
                    relay.tcp(),
                    &login(&[("room_ids", &format!("r{}", number % 500)), ("userid", &number.to_string())]),
                )
            })
            .collect();
        for client in &mut crowd {
            client.write_all(&frame(TEXT, br#"{"event":"postMsg","data":"hello","room_ids":"r7","ack":1}"#)).unwrap();
        }
        for client in &mut crowd {
            assert!(client.read(&mut [0; 1000]).unwrap() > 0);
        }
        drop(crowd);
        wait_for("the crowd to be gone", || (ask_stats(&mut admin)["connections"] == 1).then_some(()));
        peak_rss(&relay)
    };
    let first = wave();
    let last = [wave(), wave()][1];
    assert!(last <= first + first / 10, "{first} kB after the first wave, {last} kB after the third");
    assert_eq!(relay.descriptors(), descriptors);
    assert_eq!((relay.stat("/sessions"), relay.stat("/rooms")), (0, 0));
}

/// Held by tests that need a whole processor.
static ALONE: Mutex<()> = Mutex::new(());

/// The most memory the relay ever had, in kB.
fn peak_rss(relay: &Relay) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", relay.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Asserts that a request gets its turn although another connection has much to read. While the relay is stopped, the
/// kernel takes as many `parts` as it has room for, and then a question. Its answer counts the parts that were handled
/// before it, which may be what a turn reads of one connection. Serving a connection until nothing is left would handle
/// all of them. `counter` counts the parts, each of `length` bytes.
fn assert_turns(relay: &Relay, flooder: &TcpStream, parts: &[u8], length: usize, counter: &str) {
    let mut prober = relay.tcp();
    for round in 0..20 {
        let before = count(&mut prober, counter);
        relay.signal(SIGSTOP);
        let written = fill(flooder, parts);
        let sent = written / length;
        send_request(&mut prober, "GET", "/api/stats", &[("Authorization", &format!("Bearer {TOKEN}"))], b"");
        relay.signal(SIGCONT);
        let stats = read_answer(&mut prober, false).json();
        let handled = stats["counters"][counter].as_u64().unwrap() - before;
        assert!(sent * length > 2 * TURNS, "the kernel takes too little to tell: {sent} parts");
        assert!(handled as usize * length < TURNS, "round {round}: {handled} of {sent} parts came before the question");
        // The rest of the last part.
        let rest = length - written % length;
        (&mut &*flooder).write_all(&parts.repeat(2)[written % parts.len()..][..rest]).unwrap();
        wait_for("the rest", || (count(&mut prober, counter) == before + sent as u64 + 1).then_some(()));
    }
}

/// Asserts the same during a flood that goes on, where only the quickest of many questions can tell: for the others, this
/// thread may have been kept waiting.
fn assert_turns_in_a_flood(relay: &Relay, length: usize, counter: &str) {
    let mut prober = relay.tcp();
    let counts: Vec<u64> = (0..100).map(|_| count(&mut prober, counter)).collect();
    let least = counts.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
    assert!((least as usize) * length < TURNS, "at least {least} parts between two answers");
    wait_for("the flood to go on", || (count(&mut prober, counter) > counts[99] + 100).then_some(()));
}

/// Four times what the relay reads of a connection in a turn.
const TURNS: usize = 4 * 65_536;

/// Two threads: one writes the same bytes for ever, the other reads whatever comes.
struct Flood {
    stream: TcpStream,
    stopped: Arc<AtomicBool>,
    threads: [thread::JoinHandle<()>; 2],
}

impl Flood {
    fn start(stream: TcpStream, bytes: Vec<u8>) -> Flood {
        let stopped = Arc::new(AtomicBool::new(false));
        let (mut writer, mut reader) = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
        let (flag, other) = (stopped.clone(), stopped.clone());
        let threads = [
            thread::spawn(move || while !flag.load(Ordering::Relaxed) && writer.write_all(&bytes).is_ok() {}),
            thread::spawn(move || {
                let mut buffer = vec![0; 1 << 20];
                while !other.load(Ordering::Relaxed) {
                    match reader.read(&mut buffer) {
                        Ok(0) => break,
                        Err(error) if error.kind() != ErrorKind::Interrupted => break,
                        _ => {}
                    }
                }
            }),
        ];
        Flood { stream, stopped, threads }
    }

    fn stop(self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.stream.shutdown(Shutdown::Both).unwrap();
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
