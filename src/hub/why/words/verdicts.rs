//! What follows, in words.

use std::rc::Rc;

use super::{PUBLICATION, ROOM, SESSION, TIME, Words};
use crate::{
    hub::why::verdicts::{After, Begin, Ending, Fate, Missed, Place, Progress, Resumption, Slowness, Trouble, Verdict},
    journal::{Record, What},
    language::say,
};

impl Words<'_> {
    /// What follows.
    pub fn verdict(&self, verdict: &Verdict<'_>) -> String {
        let language = self.language;
        match verdict {
            Verdict::NotFound => say!(
                language,
                "no message with this id is in the journal: it is older, of another source, or was never accepted here",
                "记录中没有此消息 id：它更早，或属于其他源，或从未被本 relay 接受"
            ),
            Verdict::PerhapsMissed(Missed { node, count, last }) => {
                let (publications, at) = (self.counted(*count, PUBLICATION), self.clock(*last));
                say!(
                    language,
                    "it is of relay {node}, and was perhaps lost between the relays: {publications} of that relay did not \
                     arrive here, the last at {at}",
                    "它来自节点 {node}，可能在节点之间丢失：该节点的 {publications}没有到达本 relay，最近一次在 {at}"
                )
            }
            Verdict::OfRelay(node) => say!(
                language,
                "it is of relay {node}, or of this one before its last start",
                "它来自节点 {node}，或来自上次启动之前的本 relay"
            ),
            Verdict::CameFrom(message) => {
                let from = self.origin(message).unwrap_or_default();
                say!(language, "the message came from {from}", "该消息来自{from}")
            }
            Verdict::MoreRooms(more) => {
                say!(language, "the message was published to {more} more rooms", "该消息还发布到另外 {more} 个房间")
            }
            Verdict::Member(session, fate) => {
                let (session, fate) = (self.session(*session), self.fate(fate));
                say!(language, "{session} was in the room: {fate}", "{session} 当时在房间中：{fate}")
            }
            Verdict::NotMember(session, room) => {
                let session = self.session(*session);
                match self.found.rooms.get(room) {
                    Some(room) => say!(
                        language,
                        "{session} was connected, but not in {room}",
                        "{session} 当时已连接，但不在房间“{room}”中"
                    ),
                    None => say!(
                        language,
                        "{session} was connected, but not in the room of the message",
                        "{session} 当时已连接，但不在该消息的房间中"
                    ),
                }
            }
            Verdict::PerhapsMember(session) => {
                let session = self.session(*session);
                say!(
                    language,
                    "{session} was connected; the records no longer say whether it was in the room of the message",
                    "{session} 当时已连接；记录中已没有它是否在该消息的房间中"
                )
            }
            Verdict::NotAdmitted(refused) => {
                let why = self.why(refused);
                say!(
                    language,
                    "the user had no session: a login was refused ({why})",
                    "该用户当时没有会话：登录被拒绝（{why}）"
                )
            }
            Verdict::NeverThere => {
                say!(language, "the user had no session that the journal knows of", "根据记录，该用户当时没有会话")
            }
            Verdict::LostBefore(end, after) => {
                let (session, at, why, after) = self.lost(end, after);
                say!(
                    language,
                    "the user had no connection: {session} was lost at {at} ({why}); {after}",
                    "该用户当时没有连接：{session} 已于 {at} 断线（{why}）；{after}"
                )
            }
            Verdict::EndedBefore(end, resumed) => {
                let (session, at, why) = self.ending(end);
                let resumed = resumed.as_ref().map(|resumed| self.resumption(resumed));
                let resumed = resumed.map_or_else(String::new, |resumed| say!(language, "; {resumed}", "；{resumed}"));
                say!(
                    language,
                    "the user had no connection: {session} had ended at {at} ({why}){resumed}",
                    "该用户当时没有连接：{session} 已于 {at} 结束（{why}）{resumed}"
                )
            }
            Verdict::Connected { session, place, is_behind, bytes } => {
                let (session, place) = (self.session(*session), self.place(place));
                let waiting = match (is_behind, bytes) {
                    (true, _) => {
                        say!(
                            language,
                            "; it is behind, and {bytes} bytes wait for it",
                            "；正在积压，{bytes} 字节待发送"
                        )
                    }
                    (false, 0) => String::new(),
                    (false, _) => say!(language, "; {bytes} bytes wait for it", "；{bytes} 字节待发送"),
                };
                say!(language, "{session} is connected, {place}{waiting}", "{session} 已连接，{place}{waiting}")
            }
            Verdict::Gone(end) => {
                let (session, at, why) = self.ending(end);
                match end.record.what {
                    What::Lost => say!(
                        language,
                        "there is no session here: {session} was lost at {at} ({why})",
                        "本 relay 上没有会话：{session} 已于 {at} 断线（{why}）"
                    ),
                    _ => say!(
                        language,
                        "there is no session here: {session} ended at {at} ({why})",
                        "本 relay 上没有会话：{session} 已于 {at} 结束（{why}）"
                    ),
                }
            }
            Verdict::NoSession => {
                say!(
                    language,
                    "there is no session here, and the journal has none",
                    "本 relay 上没有会话，记录中也没有"
                )
            }
            Verdict::NeverInRoom(count, room) => {
                let sessions = self.counted(*count as u64, SESSION);
                say!(
                    language,
                    "none of the last {sessions} was in room {room}",
                    "最近的 {sessions}都不在房间“{room}”中"
                )
            }
            Verdict::Troubles(trouble, count, last) => {
                let (trouble, times) = (self.trouble(*trouble), self.counted(*count, TIME));
                let (at, because) = (self.clock(last.time), self.because(last));
                say!(
                    language,
                    "{trouble} {times}, the last at {at}{because}",
                    "{trouble} {times}，最近一次在 {at}{because}"
                )
            }
            Verdict::MissedOfOthers(Missed { node, count, last }) => {
                let (publications, at) = (self.counted(*count, PUBLICATION), self.clock(*last));
                say!(
                    language,
                    "{publications} of other relays did not arrive here, the last of relay {node} at {at}",
                    "其他节点的 {publications}没有到达本 relay，最近一次来自节点 {node}，在 {at}"
                )
            }
            Verdict::Room { name, members, keeps } => {
                let sessions = self.counted(*members as u64, SESSION);
                match keeps {
                    true => say!(
                        language,
                        "room {name} has {sessions} here, and keeps messages",
                        "房间“{name}”在本 relay 上有 {sessions}，保存消息"
                    ),
                    false => say!(
                        language,
                        "room {name} has {sessions} here, and keeps no messages: a client that is away for a moment misses \
                         them",
                        "房间“{name}”在本 relay 上有 {sessions}，不保存消息：短暂离线的客户端会错过消息"
                    ),
                }
            }
            Verdict::PublicationsRefused(count, last) => {
                let (at, because) = (self.clock(last.time), self.because(last));
                say!(
                    language,
                    "{count} publications were refused, the last at {at}{because}",
                    "{count} 次发布被拒绝，最近一次在 {at}{because}"
                )
            }
            Verdict::PublicationsRepeated(count, last) => {
                let at = self.clock(last.time);
                say!(
                    language,
                    "{count} publications repeated earlier ones, and were not published again, the last at {at}",
                    "{count} 次发布与之前的重复，没有再次发布，最近一次在 {at}"
                )
            }
        }
    }

    fn fate(&self, fate: &Fate<'_>) -> String {
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

    fn gap(&self, gap: &Record) -> String {
        let at = self.clock(gap.time);
        say!(
            self.language,
            "at {at} messages of the room were not kept any more, perhaps this one too",
            "到 {at} 时，该房间的部分消息已不再保存，可能包括这一条"
        )
    }

    /// A session that was lost, when and why, and what became of the message after that.
    fn lost(&self, end: &Record, after: &After<'_>) -> (String, String, String, String) {
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

    /// A session that has ended, when, and why, with who wanted that.
    fn ending(&self, end: &Ending<'_>) -> (String, String, String) {
        let why = self.why(end.record);
        let why = match end.sent_away {
            Some(sent_away) => {
                let by = self.why(sent_away);
                say!(self.language, "{why}: {by}", "{why}：{by}")
            }
            None => why.to_owned(),
        };
        (self.session(end.record.session), self.clock(end.record.time), why)
    }

    fn resumption(&self, resumed: &Resumption<'_>) -> String {
        let (language, Resumption { record, from }) = (self.language, resumed);
        let session = self.session(record.session);
        let how = match record.what {
            What::Returned => say!(language, "{session} went on in its place", "{session} 接替了它"),
            _ => say!(language, "{session} said what it has", "{session} 说明了已收到哪些消息"),
        };
        match from {
            Begin::Later => say!(language, "{how}, from a later message", "{how}，但从更晚的消息开始"),
            Begin::Gap(gap) => {
                let gap = self.gap(gap);
                say!(language, "{how}, but {gap}", "{how}，但{gap}")
            }
            Begin::Before => {
                let count = record.count;
                say!(
                    language,
                    "{how} and got the message among {count} that it had missed",
                    "{how}，并在补发的 {count} 条消息中收到该消息"
                )
            }
        }
    }

    fn place(&self, place: &Place<'_>) -> String {
        let language = self.language;
        match place {
            Place::Rooms(rooms) => {
                let (number, names) = (self.counted(rooms.len() as u64, ROOM), self.listed(rooms));
                say!(language, "in {number}{names}", "在 {number}中{names}")
            }
            Place::In(room) => say!(language, "in room {room}", "在房间“{room}”中"),
            Place::InSimilar(room, similar) => say!(
                language,
                "not in room {room} (it is in {similar}, which is spelt nearly the same)",
                "不在房间“{room}”中（它在房间“{similar}”中，名称几乎相同）"
            ),
            Place::NotIn(room, rooms) => {
                let names = self.listed(rooms);
                say!(language, "not in room {room}{names}", "不在房间“{room}”中{names}")
            }
        }
    }

    /// The names of a session's first rooms.
    fn listed(&self, rooms: &[Rc<str>]) -> String {
        if rooms.is_empty() {
            return String::new();
        }
        let language = self.language;
        let names: Vec<&str> = rooms.iter().take(MOST_NAMES).map(|name| &**name).collect();
        let names = names.join(language.pick(", ", "、"));
        let more = if rooms.len() > MOST_NAMES { language.pick(", …", "、…") } else { "" };
        say!(language, " ({names}{more})", "（已加入 {names}{more}）")
    }

    fn trouble(&self, trouble: Trouble) -> &'static str {
        let (english, chinese) = match trouble {
            Trouble::Lost => ("a connection was lost", "断线"),
            Trouble::LoginRefused => ("a login was refused", "登录被拒绝"),
            Trouble::Behind => ("it fell behind", "积压"),
            Trouble::Slow => ("it was closed as a slow consumer", "因接收过慢被断开"),
            Trouble::Gap => ("it has not got messages that were not kept any more", "没有收到已不再保存的消息"),
            Trouble::GivenUp => ("it was given up after a loss", "断线后不再等待重连"),
            Trouble::MessageRefused => ("what it sent was refused", "发送的内容被拒绝"),
            Trouble::HookFailed => ("the backend did not answer a call about it", "后台没有应答有关它的调用"),
            Trouble::SentAway => ("it was to be ended", "被要求结束"),
        };
        self.language.pick(english, chinese)
    }
}

/// Rooms of a session that are named.
const MOST_NAMES: usize = 5;
