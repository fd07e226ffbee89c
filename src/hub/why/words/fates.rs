//! What became of a message for a session, in words.

use super::Words;
use crate::{
    hub::why::verdicts::{After, Fate, Progress, Slowness},
    journal::Record,
    language::say,
};

impl Words<'_> {
    pub(super) fn fate(&self, fate: &Fate<'_>) -> String {
        let language = self.language;
        match fate {
            Fate::Received => self.received(),
            Fate::CaughtUp(behind, until, gap) => {
                let (behind, until) = (self.clock(behind.time), self.clock(until.time));
                match gap {
                    Some(gap) => {
                        let gap = self.gap(gap);
                        say!(
                            language,
                            "it fell behind at {behind}, and had caught up at {until}, but {gap}",
                            "它于 {behind} 开始积压，于 {until} 消除积压，但{gap}"
                        )
                    }
                    None => say!(
                        language,
                        "it fell behind at {behind}, and had got the message when it had caught up at {until}",
                        "它于 {behind} 开始积压，于 {until} 消除积压时已收到该消息"
                    ),
                }
            }
            Fate::There(behind, progress) => {
                let progress = self.progress(progress);
                match behind {
                    Some(behind) => {
                        let behind = self.clock(behind.time);
                        say!(language, "it fell behind at {behind}, {progress}", "它于 {behind} 开始积压，{progress}")
                    }
                    None => progress,
                }
            }
            Fate::Lost(slowness, end, after) => {
                let (slowness, (_, at, why, after)) = (self.slowness(slowness), self.lost(end, after));
                say!(
                    language,
                    "{slowness}it was lost at {at} ({why}) and had not confirmed the message; {after}",
                    "{slowness}它于 {at} 断线（{why}），没有确认该消息；{after}"
                )
            }
            Fate::LostUnknown(slowness, end, After::NotKept) => {
                let (slowness, (_, at, why, _)) = (self.slowness(slowness), self.lost(end, &After::NotKept));
                say!(
                    language,
                    "{slowness}it was sent the message, and was lost at {at} ({why}); if the message had not arrived by then, it is \
                     lost, because the room does not keep messages",
                    "{slowness}该消息已发送给它，它于 {at} 断线（{why}）；如果消息当时还没有到达，则已丢失，因为房间不保存消息"
                )
            }
            Fate::LostUnknown(slowness, end, after) => {
                let (slowness, (_, at, why, after)) = (self.slowness(slowness), self.lost(end, after));
                say!(
                    language,
                    "{slowness}it was lost at {at} ({why}), and it is not known whether it had the message; {after}",
                    "{slowness}它于 {at} 断线（{why}），不知道当时是否已收到该消息；{after}"
                )
            }
            Fate::Ended(Slowness::Not, end) => {
                let (_, _, why) = self.ending(end);
                say!(
                    language,
                    "it was sent the message, and ended later ({why}); what was on its way then may be lost",
                    "该消息已发送给它，之后会话结束（{why}）；当时在途的数据可能丢失"
                )
            }
            Fate::Ended(slowness, end) => {
                let (slowness, (_, _, why)) = (self.slowness(slowness), self.ending(end));
                say!(
                    language,
                    "{slowness}ended later ({why}); what was on its way then may be lost",
                    "{slowness}之后会话结束（{why}）；当时在途的数据可能丢失"
                )
            }
        }
    }

    fn received(&self) -> String {
        say!(self.language, "it has received the message", "它已收到该消息")
    }

    /// The beginning of a sentence about a session that has ended.
    fn slowness(&self, slowness: &Slowness<'_>) -> String {
        let language = self.language;
        match slowness {
            Slowness::Not => String::new(),
            Slowness::Behind(behind) => {
                let behind = self.clock(behind.time);
                say!(
                    language,
                    "it fell behind at {behind}, and had not caught up; ",
                    "它于 {behind} 开始积压，未消除积压；"
                )
            }
            Slowness::Closed(behind, slow) => {
                let behind = behind.map(|behind| self.clock(behind.time));
                let behind = behind.map_or_else(
                    || say!(language, "it fell behind", "它发生积压"),
                    |at| say!(language, "it fell behind at {at}", "它于 {at} 开始积压"),
                );
                let (at, bytes) = (self.clock(slow.time), slow.count);
                say!(
                    language,
                    "{behind}, and was closed as a slow consumer at {at}, {bytes} bytes behind; ",
                    "{behind}，于 {at} 因接收过慢被断开，当时 {bytes} 字节待发送；"
                )
            }
        }
    }

    fn progress(&self, progress: &Progress<'_>) -> String {
        let language = self.language;
        match progress {
            Progress::Unknown => say!(language, "nothing more is known of it", "之后的情况没有记录"),
            Progress::Gap(gap) => {
                let gap = self.gap(gap);
                say!(language, "it was to get the message from the history, but {gap}", "它应由历史补发该消息，但{gap}")
            }
            Progress::Received => self.received(),
            Progress::Behind(bytes) => say!(
                language,
                "it is behind and gets the message later; {bytes} bytes wait for it",
                "它正在积压，稍后会收到该消息；{bytes} 字节待发送"
            ),
            Progress::Unconfirmed => {
                say!(language, "it was sent the message, and has not confirmed it yet", "该消息已发送给它，尚未确认")
            }
            Progress::Unchecked => say!(
                language,
                "it was sent the message; what it receives is not checked in rooms that keep nothing",
                "该消息已发送给它；不保存消息的房间不检查是否收到"
            ),
            Progress::Waiting(bytes) => say!(
                language,
                "{bytes} bytes wait for its connection, perhaps with the message",
                "{bytes} 字节等待发往其连接，可能包含该消息"
            ),
        }
    }

    pub(super) fn gap(&self, gap: &Record) -> String {
        let at = self.clock(gap.time);
        say!(
            self.language,
            "at {at} messages of the room were not kept any more, perhaps this one too",
            "到 {at} 时，该房间的部分消息已不再保存，可能包括这一条"
        )
    }

    /// A session that was lost, when and why, and what became of the message after that.
    pub(super) fn lost(&self, end: &Record, after: &After<'_>) -> (String, String, String, String) {
        let language = self.language;
        let after = match after {
            After::NotKept => {
                say!(language, "the room does not keep messages, so it is lost", "房间不保存消息，因此该消息已丢失")
            }
            After::Resumed(resumed) => self.resumption(resumed),
            After::Away => say!(
                language,
                "it is away, and gets the message if it comes back in time",
                "它正等待重连，及时重连就会收到该消息"
            ),
            After::GivenUp(given_up) => {
                let why = self.why(given_up);
                say!(language, "it was given up ({why})", "已不再等待它重连（{why}）")
            }
            After::NotBack => say!(
                language,
                "it has not come back in time, or not as the same session",
                "它没有及时重连，或重连后不是同一个会话"
            ),
        };
        (self.session(end.session), self.clock(end.time), self.why(end).to_owned(), after)
    }
}
