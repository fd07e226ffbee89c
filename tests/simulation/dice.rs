//! Random choices that depend on the seed only, and what is chosen at random: rooms, configurations, values of `since`.

use core::time::Duration;

use relay::config::{Config, History, HistoryBounds, HistoryRule, RoomPattern, SlowConsumers};

pub const KEY: &str = "key";
pub const SOURCES: [&str; 2] = ["one", "two"];
pub const ROOMS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A generator whose every run with a seed is the same (xorshift).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed) | 1)
    }

    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }

    pub fn once_in(&mut self, times: usize) -> bool {
        self.roll(times) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }

    pub fn rooms(&mut self) -> Vec<&'static str> {
        let most = 1 + self.roll(3);
        (0..most).map(|_| self.pick(&ROOMS)).collect()
    }

    /// A configuration: one in five has no history.
    pub fn config(&mut self) -> Config {
        let mut config = Config::default();
        for source in SOURCES {
            let text = format!("[sources.{source}]\nsign_key = \"{KEY}\"");
            config
                .sources
                .extend(relay::config::parse(&text, &mut |_| unreachable!("no file is named")).unwrap().sources);
        }
        config.limits.message_rate = 0;
        config.limits.unsent = 4096;
        config.limits.rooms_per_session = 4;
        // What is kept of sessions that are away would take room from messages, which the model does not know of.
        config.recovery.window = Duration::ZERO;
        if !self.once_in(5) {
            config.history = self.history();
        }
        config
    }

    fn history(&mut self) -> History {
        let mut rooms = Vec::new();
        for _ in 0..self.roll(4) {
            let source = self.once_in(3).then(|| self.pick(&SOURCES).to_owned());
            let room = RoomPattern::parse(self.pick(&["a", "b", "c", "d", "*"])).unwrap();
            rooms.push(HistoryRule { source, room, bounds: self.bounds() });
        }
        History {
            bounds: self.bounds(),
            // The smallest make room for about ten messages.
            memory: self.pick(&[3000, 10_000, 50_000, 1 << 24]),
            before: !self.once_in(6),
            slow: if self.once_in(5) { SlowConsumers::Close } else { SlowConsumers::Behind },
            rooms,
        }
    }

    fn bounds(&mut self) -> HistoryBounds {
        HistoryBounds {
            count: self.pick(&[0, 1, 3, 20, 1000]),
            age: Duration::from_millis(self.pick(&[1000, 2500, 120_000])),
            bytes: self.pick(&[1024, 3000, 262_144, 1 << 20]),
            last: self.once_in(4),
        }
    }
}
