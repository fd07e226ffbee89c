//! What follows, in words.

use std::rc::Rc;

use super::{MESSAGE, PUBLICATION, ROOM, SESSION, TIME, Words};
use crate::{
    hub::why::{
        away::Away,
        verdicts::{Begin, Ending, Missed, Place, Resumption, Trouble, Verdict},
    },
    journal::What,
    language::say,
};

impl Words<'_> {
    /// What follows.
    pub fn verdict(&self, verdict: &Verdict<'_>) -> String {
        let language = self.language;
        match verdict {
            Verdict::NotFound => say!(
                language,
                "no message with this id is in the records: it is older, of another source, or was never accepted here",
                "记录中没有此消息 id：它更早，或属于其他源，或从未被本 relay 接受"
            ),
            Verdict::PerhapsMissed(Missed { node, count, last }) => {
                let (publications, at) = (self.counted(*count, PUBLICATION), self.clock(*last));
                say!(
                    language,
                    "it is of relay {node}, and was perhaps lost between the relays: {publications} of that relay did not \
                     arrive here, the last at {at}",
                    "该消息来自节点 {node}，可能在节点之间丢失：该节点的 {publications}没有到达本 relay，最近一次在 {at}"
                )
            }
            Verdict::OfRelay(node) => say!(
                language,
                "it is of relay {node}, or of this one before its last start",
                "该消息来自节点 {node}，或来自上次启动之前的本 relay"
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
                    "{session} 当时已连接；记录中已查不到它当时是否在该消息的房间中"
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
                say!(
                    language,
                    "the records show no session of the user at that time or before",
                    "根据记录，该用户当时没有会话"
                )
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
                say!(language, "there is no session here, and none in the records", "本 relay 上没有会话，记录中也没有")
            }
            Verdict::NeverInRoom(count, room) => {
                let sessions = self.counted(*count as u64, SESSION);
                say!(
                    language,
                    "none of the last {sessions} was in room {room}",
                    "最近的 {sessions}都不在房间“{room}”中"
                )
            }
            Verdict::Away(away) => self.away(away),
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

    fn away(&self, away: &Away) -> String {
        let (language, Away { count, kept, again, last }) = (self.language, *away);
        let (messages, at) = (self.counted(count, MESSAGE), self.clock(last));
        let were = |number| if number == 1 { "was" } else { "were" };
        // If nothing was kept, what was sent again is older, or of other rooms.
        let again = if again == 0 || kept == 0 {
            String::new()
        } else {
            let (again, were) = (self.counted(again, MESSAGE), were(again));
            say!(language, "; {again} {were} sent when the user came back", "；重连后补发了 {again}")
        };
        let kept = match kept {
            0 => say!(language, "not kept", "均未保存"),
            _ if kept == count => say!(language, "kept", "均已保存"),
            _ => say!(language, "{kept} of them kept", "其中 {kept} 条已保存"),
        };
        let were = were(count);
        say!(
            language,
            "while the user had no session, {messages} {were} published to rooms that it had been in ({kept}), the last at \
             {at}{again}",
            "该用户没有会话期间，其所在过的房间共发布了 {messages}（{kept}），最近一条于 {at}{again}"
        )
    }

    /// A session that has ended, when, and why, with who wanted that.
    pub(super) fn ending(&self, end: &Ending<'_>) -> (String, String, String) {
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

    pub(super) fn resumption(&self, resumed: &Resumption<'_>) -> String {
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
