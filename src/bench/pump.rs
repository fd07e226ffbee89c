//! Messages at the pace that was asked for, and what that took.

use std::time::Duration;

use super::{
    Failure, Run,
    options::{Mode, Pace},
};

/// What sending and delivering took.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Seconds from the first send to the last thing that came.
    pub seconds: f64,
    /// Seconds that processor time was counted in: also those in which something was waited for in vain.
    pub watched: f64,
    /// The relay's processor time in nanoseconds, if its process is known.
    pub cpu: Option<f64>,
    /// The load generator's own.
    pub own_cpu: Option<f64>,
}

/// Sends until the number or the time is reached, and waits until everything has come or is lost.
pub fn pump(run: &mut Run) -> Result<Span, Failure> {
    let Run { options, crowd, process, own, progress, .. } = run;
    crowd.enlist()?;
    crowd.rest(CONNECTED, &mut || {})?;
    let cpu = || (process.as_ref().and_then(|process| process.cpu()), own.cpu());
    let (cpu_before, own_before) = cpu();
    let begin = crowd.now();
    let first = crowd.ledger.next() as u64;
    crowd.heard = begin;
    loop {
        let now = crowd.now();
        let when = |sent: u64| match options.pace {
            Pace::Window(_) => now,
            Pace::Rate(rate) => begin + (sent as f64 * 1e9 / rate) as u64,
        };
        // At a fixed rate time is the schedule's: how many messages are sent does not depend on who is late.
        let wanted = |sent: u64| {
            options.seconds.is_none_or(|seconds| when(sent) - begin < seconds.as_nanos() as u64)
                && options.messages.is_none_or(|messages| sent < messages)
        };
        let mut next = u64::MAX;
        match options.pace {
            Pace::Window(window) => {
                while wanted(crowd.ledger.sent() - first) && has_room(options.mode, crowd, window) {
                    crowd.publish(crowd.now())?;
                }
            }
            Pace::Rate(_) => {
                while wanted(crowd.ledger.sent() - first) {
                    let due = when(crowd.ledger.sent() - first);
                    if due > now {
                        next = due;
                        break;
                    }
                    crowd.publish(due)?;
                }
                // Silence between two messages of a slow pace is no stall.
                if next != u64::MAX && crowd.ledger.in_flight() == 0 {
                    crowd.heard = now;
                }
            }
        }
        crowd.flush()?;
        let done = !wanted(crowd.ledger.sent() - first) && crowd.ledger.in_flight() == 0;
        if done || crowd.has_stalled(options.stall) {
            break;
        }
        crowd.turn(next.min(crowd.heard + options.stall.as_nanos() as u64))?;
        let (ledger, seconds) = (&crowd.ledger, (crowd.now() - begin) as f64 / 1e9);
        progress.show(|| {
            let (sent, delivered) = (ledger.sent() - first, ledger.delivered());
            format!("{seconds:.1} s: {sent} messages, {delivered} of {} deliveries", ledger.owed())
        });
    }
    let (heard, watched) = (crowd.heard, crowd.now());
    // What comes twice may come late. And the scheduler counts what a process has done when it stops: of one that still ends
    // the turn that brought the last delivery, some milliseconds would be missing.
    crowd.rest(SETTLED, &mut || {})?;
    let (cpu_after, own_after) = cpu();
    let spent = |before: Option<u64>, after: Option<u64>| Some(after?.saturating_sub(before?) as f64);
    let span = Span {
        seconds: heard.saturating_sub(begin).max(1) as f64 / 1e9,
        watched: (watched - begin).max(1) as f64 / 1e9,
        cpu: spent(cpu_before, cpu_after),
        own_cpu: spent(own_before, own_after),
    };
    crowd.ledger.settle();
    progress.clear();
    Ok(span)
}

/// Whether another message may be in flight.
fn has_room(mode: Mode, crowd: &super::crowd::Crowd, window: usize) -> bool {
    match mode {
        Mode::Ingest => crowd.in_flight_of(crowd.ledger.publisher(crowd.ledger.next())) < window,
        _ => crowd.ledger.in_flight() < window,
    }
}

const CONNECTED: Duration = Duration::from_millis(50);
const SETTLED: Duration = Duration::from_millis(100);
