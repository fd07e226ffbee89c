//! What has happened, in words.

use super::{MESSAGE, PUBLICATION, SESSION, Words};
use crate::{
    journal::{EVERY, Recipient, Record, What, unpack},
    language::say,
};

impl Words<'_> {
    /// A record in words.
    pub fn record(&self, record: &Record) -> String {
        let language = self.language;
        let session = self.session(record.session);
        let (because, aside, times) = (self.because(record), self.aside(record), self.times(record));
        let count = record.count;
        match record.what {
            What::Published | What::Kept => {
                let (room, sessions) = (self.room(record.who), self.counted(record.sessions().into(), SESSION));
                let by = self.origin(record);
                let by = by.map_or_else(String::new, |by| say!(language, " by {by}", "（来自{by}）"));
                match record.what {
                    What::Kept => {
                        say!(
                            language,
                            "published{by} to {room} and kept: sent to {sessions}",
                            "消息已发布到{room}并保存{by}：发送给 {sessions}"
                        )
                    }
                    _ => say!(
                        language,
                        "published{by} to {room}, which keeps nothing: sent to {sessions}",
                        "消息已发布到{room}，该房间不保存消息{by}：发送给 {sessions}"
                    ),
                }
            }
            What::Came => say!(language, "{session} logged in{because}", "{session} 登录{because}"),
            What::Joined => {
                let room = self.room(record.stamp);
                say!(language, "{session} joined {room}{aside}", "{session} 加入{room}{aside}")
            }
            What::Left => {
                let room = self.room(record.stamp);
                say!(language, "{session} left {room}{aside}", "{session} 离开{room}{aside}")
            }
            What::Ended => say!(language, "{session} ended{because}", "{session} 结束{because}"),
            What::Lost => say!(language, "{session} was lost{because}", "{session} 断线{because}"),
            What::Silent => say!(
                language,
                "{session} did not answer when it was asked, so that another may take its place",
                "{session} 被询问时没有应答，其他会话可以接替它"
            ),
            What::Returned => {
                let messages = self.counted(count.into(), MESSAGE);
                say!(
                    language,
                    "{session} went on in the place of one that was lost; {messages} again",
                    "{session} 接替了断线的会话；重发 {messages}"
                )
            }
            What::Resumed => {
                let messages = self.counted(count.into(), MESSAGE);
                say!(
                    language,
                    "{session} said what it has; {messages} that it had missed",
                    "{session} 说明了已收到哪些消息；补发错过的 {messages}"
                )
            }
            What::Behind => say!(
                language,
                "{session} fell behind: {count} bytes wait for it; it gets no more messages until it reads",
                "{session} 开始积压：{count} 字节待发送；恢复接收之前不再发送消息"
            ),
            What::CaughtUp => say!(language, "{session} has caught up", "{session} 已消除积压"),
            What::Slow => say!(
                language,
                "{session} is a slow consumer: {count} bytes wait for it",
                "{session} 接收过慢：{count} 字节待发送"
            ),
            What::Gap => {
                let room = self.room(record.stamp);
                say!(
                    language,
                    "{session} has not got messages of {room}, which were not kept any more",
                    "{session} 没有收到{room}中已不再保存的消息"
                )
            }
            What::Gaps => {
                say!(language, "the same is so in {count} more of its rooms", "它的另外 {count} 个房间也是如此")
            }
            What::SentAway => say!(language, "{session} was to be ended{because}", "{session} 被要求结束{because}"),
            What::GivenUp => {
                say!(language, "a session that was lost was given up{because}", "不再等待一个断线的会话重连{because}")
            }
            What::Refreshed if record.session != 0 => say!(
                language,
                "an operator has loaded the page of {session} again",
                "管理员让 {session} 的页面重新加载"
            ),
            What::Refreshed => {
                let sessions = self.counted(count.into(), SESSION);
                let whose = match (record.who, record.tenant) {
                    (0, EVERY) => say!(language, "all pages", "全部页面"),
                    (0, _) => say!(language, "all pages of the source", "该源的全部页面"),
                    (hash, _) => {
                        let room = self.room(hash);
                        say!(language, "the pages of {room}", "{room}的页面")
                    }
                };
                say!(
                    language,
                    "an operator has loaded {whose} again: {sessions}",
                    "管理员让{whose}重新加载：{sessions}"
                )
            }
            What::Emitted(recipient) => {
                let to = match recipient {
                    Recipient::Room => self.room(record.who),
                    Recipient::User => say!(language, "the user", "该用户"),
                    Recipient::Session => session,
                    Recipient::All => say!(language, "all sessions of the source", "该源的全部会话"),
                };
                let namespace = match recipient {
                    Recipient::Session => None,
                    _ => self
                        .hub
                        .state
                        .namespaces
                        .get(record.session as usize)
                        .filter(|namespace| &*namespace.name != "/"),
                };
                let inside = namespace.map_or_else(String::new, |namespace| {
                    let name = &namespace.name;
                    say!(language, " in namespace {name}", "（命名空间“{name}”）")
                });
                match record.is_sent() {
                    false if recipient == Recipient::Session => {
                        say!(language, "an event for {to} was not sent{times}", "没有发送给{to}的事件{times}")
                    }
                    true => say!(language, "an event was sent to {to}{inside}{times}", "向{to}发送事件{inside}{times}"),
                    false => say!(
                        language,
                        "an event for {to}{inside} was sent to no session here{times}",
                        "向{to}发送的事件{inside}在本 relay 上没有会话接收{times}"
                    ),
                }
            }
            What::Refused => say!(language, "a login was refused{times}{because}", "登录被拒绝{times}{because}"),
            What::MessageRefused => {
                say!(
                    language,
                    "{session} sent what was refused{times}{because}",
                    "{session} 发送的内容被拒绝{times}{because}"
                )
            }
            What::HookFailed => say!(
                language,
                "the backend did not answer a call about it{times}{because}",
                "后台没有应答有关它的调用{times}{because}"
            ),
            What::PublicationRefused => {
                let room = self.room(record.who);
                match (record.who, record.tenant) {
                    (0, _) => say!(language, "a publication was refused{times}{because}", "发布被拒绝{times}{because}"),
                    (_, EVERY) => say!(
                        language,
                        "a publication of a source that is not known to {room} was refused{times}{because}",
                        "未知源向{room}的发布被拒绝{times}{because}"
                    ),
                    _ => say!(
                        language,
                        "a publication to {room} was refused{times}{because}",
                        "向{room}的发布被拒绝{times}{because}"
                    ),
                }
            }
            What::Repeated => {
                let room = self.room(record.who);
                say!(
                    language,
                    "a publication to {room} repeated an earlier one (idempotency_key){times}",
                    "按 idempotency_key，向{room}的发布与之前的重复{times}"
                )
            }
            What::Missed => {
                let (node, publications) = (unpack(record.session), self.counted(count.into(), PUBLICATION));
                let until = self.until(record);
                say!(
                    language,
                    "{publications} of relay {node} did not arrive here{until}",
                    "节点 {node} 的 {publications}没有到达本 relay{until}"
                )
            }
        }
    }
}
