//! Sends messages at the requested pace, and measures what that took.

use std::time::Duration;

use crate::{
    Run,
    driver::Driver,
    error::Error,
    options::{Mode, Pace},
};

/// The duration and the cost of sending and delivering the messages.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Seconds from the first message sent to the last byte received.
    pub seconds: f64,
    /// Seconds over which CPU time was counted. Longer than `seconds` if the run waited for deliveries that never arrived.
    pub measured_seconds: f64,
    /// The relay's CPU time in nanoseconds, if its process is known.
    pub cpu: Option<f64>,
    /// The load generator's own CPU time in nanoseconds.
    pub own_cpu: Option<f64>,
}

/// Sends messages until their number or their time is reached, and waits until every delivery has arrived or is lost.
pub fn send_all(run: &mut Run) -> Result<Span, Error> {
    let Run { options, driver, process, own, progress, .. } = run;
    driver.connect_publishers()?;
    driver.run_for(CONNECT_PAUSE, &mut || {})?;
    let cpu = || (process.as_ref().and_then(|process| process.cpu()), own.cpu());
    let (cpu_before, own_before) = cpu();
    let begin = driver.now();
    let first = driver.ledger.next() as u64;
    driver.last_received = begin;
    loop {
        let now = driver.now();
        let due_at = |sent: u64| match options.pace {
            Pace::Window(_) => now,
            Pace::Rate(rate) => begin + (sent as f64 * 1e9 / rate) as u64,
        };
        // At a fixed rate --seconds refers to the schedule, so that a late send does not change the number of messages.
        let wanted = |sent: u64| {
            options.seconds.is_none_or(|seconds| due_at(sent) - begin < seconds.as_nanos() as u64)
                && options.messages.is_none_or(|messages| sent < messages)
        };
        let mut next_due = u64::MAX;
        match options.pace {
            Pace::Window(window) => {
                while wanted(driver.ledger.sent() - first) && has_room(options.mode, driver, window) {
                    driver.publish(driver.now())?;
                }
            }
            Pace::Rate(_) => {
                while wanted(driver.ledger.sent() - first) {
                    let due = due_at(driver.ledger.sent() - first);
                    if due > now {
                        next_due = due;
                        break;
                    }
                    driver.publish(due)?;
                }
                // The pause between two messages at a low rate is not a stall.
                if next_due != u64::MAX && driver.ledger.in_flight() == 0 {
                    driver.last_received = now;
                }
            }
        }
        driver.flush()?;
        let done = !wanted(driver.ledger.sent() - first) && driver.ledger.in_flight() == 0;
        if done || driver.has_stalled(options.stall) {
            break;
        }
        driver.poll_once(next_due.min(driver.last_received + options.stall.as_nanos() as u64))?;
        let (ledger, seconds) = (&driver.ledger, (driver.now() - begin) as f64 / 1e9);
        progress.show(|| {
            let (sent, delivered) = (ledger.sent() - first, ledger.delivered());
            format!("{seconds:.1} s: {sent} messages, {delivered} of {} deliveries", ledger.due())
        });
    }
    let (end, measured) = (driver.last_received, driver.now());
    // Wait for late duplicates. The scheduler also accounts the CPU time of a process only when it stops running: without the
    // pause, the last milliseconds of a relay that still finishes its turn would be missing.
    driver.run_for(END_PAUSE, &mut || {})?;
    let (cpu_after, own_after) = cpu();
    let used = |before: Option<u64>, after: Option<u64>| Some(after?.saturating_sub(before?) as f64);
    let span = Span {
        seconds: end.saturating_sub(begin).max(1) as f64 / 1e9,
        measured_seconds: (measured - begin).max(1) as f64 / 1e9,
        cpu: used(cpu_before, cpu_after),
        own_cpu: used(own_before, own_after),
    };
    driver.ledger.finish();
    progress.clear();
    Ok(span)
}

/// Whether the window has room for another message.
fn has_room(mode: Mode, driver: &Driver, window: usize) -> bool {
    match mode {
        Mode::Ingest => driver.in_flight_of(driver.ledger.publisher(driver.ledger.next())) < window,
        _ => driver.ledger.in_flight() < window,
    }
}

/// Gives relay time to accept the backends' connections before its CPU time is counted.
const CONNECT_PAUSE: Duration = Duration::from_millis(50);
const END_PAUSE: Duration = Duration::from_millis(100);
