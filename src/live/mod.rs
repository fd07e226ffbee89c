//! What operators' streams get: samples of relay's numbers, the messages of a room, and lines of the log (docs/protocol.md,
//! Live).
//!
//! The samples of the last 15 minutes are kept also while nobody looks: taking one costs a few microseconds each five seconds,
//! in a turn that happens anyway. All else is done only while there are viewers.

pub mod samples;
mod viewer;

use crate::{
    clock::Time,
    histogram::Histogram,
    state::{State, TenantId, timings::Timings},
    websocket::Close,
};

pub use self::viewer::{Lines, LogPosition, Shown, Viewer};
use self::{samples::Samples, viewer::message_line};

/// The viewers, and the samples of the last minutes.
#[derive(Default)]
pub struct Live {
    /// The samples that are kept.
    pub samples: Samples,
    viewers: Vec<Viewer>,
    /// When the next sample for viewers is due.
    due: Time,
    kept: Interval,
    shown: Interval,
}

/// The interval before a sample: the histograms at its beginning, and its longest turn.
#[derive(Default)]
struct Interval {
    turns: Histogram,
    deliveries: Histogram,
    longest: u64,
}

/// How long turns and deliveries took in an interval, in microseconds. 0: there was none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Half of the turns took no longer.
    pub turn_p50: u64,
    /// 99 % of the turns took no longer.
    pub turn_p99: u64,
    /// The longest turn.
    pub turn_max: u64,
    /// Half of the messages took no longer to be written to all members of their room.
    pub delivery_p50: u64,
    /// 99 % of the messages took no longer.
    pub delivery_p99: u64,
}

impl Live {
    /// Adds a viewer. `None`: there are too many.
    pub fn add(&mut self, viewer: Viewer, state: &State) -> Option<()> {
        self.drop_ended(state);
        if self.viewers.len() >= MOST_VIEWERS {
            return None;
        }
        if self.viewers.is_empty() {
            self.due = state.now.time.after(SHOW);
            self.shown = Interval::begin(&state.timings);
        }
        self.viewers.push(viewer);
        Some(())
    }

    /// Forgets the viewers whose connections have ended.
    fn drop_ended(&mut self, state: &State) {
        self.viewers.retain(|viewer| !state.is_ending(viewer.client));
    }

    /// Ends the streams with messages of rooms of sources that a reload has removed. `reused` are the places that other sources
    /// have taken.
    pub fn close_rooms(&mut self, reused: &[TenantId], state: &mut State) {
        let is_there = |tenant: TenantId, state: &State| {
            !reused.contains(&tenant) && state.known_tenant(&state.tenants[tenant.index()].name) == Some(tenant)
        };
        self.viewers.retain(|viewer| {
            let keeps = viewer.room.is_none_or(|(tenant, _)| is_there(tenant, &*state));
            if !keeps {
                state.close(viewer.client, Close::SOURCE_GONE);
            }
            keeps
        });
    }

    /// Ends all streams, because the admin token has changed.
    pub fn close(&mut self, state: &mut State) {
        for viewer in self.viewers.drain(..) {
            state.close(viewer.client, Close::EXPIRED);
        }
    }

    /// Whether the messages of some room are shown.
    #[inline]
    pub fn has_rooms(&self) -> bool {
        // There are at most a few viewers, and mostly none.
        self.viewers.iter().any(|viewer| viewer.room.is_some())
    }

    /// When the next sample for viewers is due. Samples that are only kept wake nobody.
    pub fn deadline(&self) -> Time {
        if self.viewers.is_empty() { Time::NEVER } else { self.due }
    }

    /// Whether a sample is to be kept or shown at the beginning of a turn.
    #[inline]
    pub fn is_due(&self, now: Time) -> bool {
        now >= self.samples.due() || now >= self.deadline()
    }

    /// The times since the last sample that was kept.
    pub fn kept_times(&mut self, timings: &mut Timings) -> Times {
        self.note_longest(timings);
        self.kept.end(timings)
    }

    /// Begins the next interval for viewers. Returns the times of the one that ends; `None` if it is not over, or nobody looks.
    pub fn shown_times(&mut self, state: &mut State) -> Option<Times> {
        self.drop_ended(state);
        let now = state.now.time;
        if now < self.deadline() {
            return None;
        }
        self.due = now.after(SHOW);
        self.note_longest(&mut state.timings);
        Some(self.shown.end(&state.timings))
    }

    fn note_longest(&mut self, timings: &mut Timings) {
        let longest = timings.take_longest();
        for interval in [&mut self.kept, &mut self.shown] {
            interval.longest = interval.longest.max(longest);
        }
    }

    /// Sends a line to all viewers.
    pub fn send(&self, line: &[u8], state: &mut State) {
        for viewer in &self.viewers {
            state.send_raw(viewer.client, line);
        }
    }

    /// Shows a message to the viewers of its room.
    #[cold]
    pub fn show(&mut self, tenant: TenantId, room: u64, shown: &Shown<'_>, state: &mut State) {
        let mut line = None;
        for viewer in &mut self.viewers {
            if viewer.room == Some((tenant, room)) && viewer.may_show() {
                let line = line.get_or_insert_with(|| message_line(tenant, shown, state));
                state.send_raw(viewer.client, line);
            }
        }
    }

    /// Sends each viewer that wants them the lines of the log since its last ones, and says what was left out. `lines` returns the
    /// lines of a level after a position.
    pub fn send_log(&mut self, mut lines: impl FnMut(log::LevelFilter, LogPosition) -> Lines, state: &mut State) {
        for viewer in &mut self.viewers {
            if viewer.level != log::LevelFilter::Off {
                let Lines { text, omitted, position } = lines(viewer.level, viewer.log_position);
                viewer.log_position = position;
                viewer.omitted_lines += omitted;
                if !text.is_empty() {
                    state.send_raw(viewer.client, &text);
                }
            }
            if let Some(line) = viewer.take_omitted() {
                state.send_raw(viewer.client, line.as_bytes());
            }
        }
    }
}

impl Interval {
    fn begin(timings: &Timings) -> Interval {
        Interval { turns: timings.turns.clone(), deliveries: timings.last_writes.clone(), longest: 0 }
    }

    /// Begins the next interval, and returns the times of this one.
    fn end(&mut self, timings: &Timings) -> Times {
        let next = Interval::begin(timings);
        let last = core::mem::replace(self, next);
        let (turns, deliveries) = (&self.turns, &self.deliveries);
        // The bound of a bucket can be above all that is in it.
        let of_turns = |percent| turns.percentile_since(&last.turns, percent).min(last.longest);
        Times {
            turn_p50: of_turns(50),
            turn_p99: of_turns(99),
            turn_max: last.longest,
            delivery_p50: deliveries.percentile_since(&last.deliveries, 50),
            delivery_p99: deliveries.percentile_since(&last.deliveries, 99),
        }
    }
}

/// Streams at a time.
pub const MOST_VIEWERS: usize = 16;
/// The time between two samples for viewers.
const SHOW: core::time::Duration = core::time::Duration::from_secs(1);
