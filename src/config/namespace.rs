//! Namespaces and rules (contract section 8): what a client's event does, as configuration.

use serde_json::Value;

/// A Socket.IO namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Namespace {
    /// Who gets in.
    pub auth: Auth,
    /// The source of who got in without a signature; nothing: the namespace's name without its slash.
    pub source: Option<String>,
    /// Whether clients may join and leave rooms of their own choice.
    pub join: bool,
    /// The namespace of the other side.
    pub pairing: Option<String>,
    /// Events that go to the same user there.
    pub forward: Vec<String>,
    /// What a client gets as soon as it is in.
    pub welcome: Option<Welcome>,
    /// In the file's order; the first that names an event counts.
    pub rules: Vec<Rule>,
}

impl Default for Namespace {
    fn default() -> Self {
        Namespace {
            auth: Auth::default(),
            source: None,
            join: false,
            pairing: None,
            forward: ["call_up", "call_in"].map(String::from).into(),
            welcome: None,
            rules: Vec::new(),
        }
    }
}

/// How a namespace admits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// By a signature.
    #[default]
    Sign,
    /// Anybody.
    Open,
    /// Whom the backend lets in.
    Hook,
}

/// An event on connect.
#[derive(Clone, Debug, PartialEq)]
pub struct Welcome {
    /// Its name.
    pub event: String,
    /// Its argument; nothing is the client's own auth payload (`$auth`).
    pub data: Option<Value>,
}

/// What one event does.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The event's name, or `*`.
    pub event: String,
    /// To whom it goes.
    pub send: Send,
    /// The namespace [`Send::User`] looks in; nothing: its own.
    pub to: Option<String>,
    /// The name under which it goes on.
    pub rename: Option<String>,
    /// How the sender's acknowledgement is answered; nothing: not at all.
    pub ack: Option<Ack>,
    /// Whether it is dropped for who has not yet read what came before.
    pub volatile: bool,
}

impl Namespace {
    /// Whether the backend has to do with it: then it is told who comes and goes, too.
    pub fn uses_hooks(&self) -> bool {
        self.auth == Auth::Hook || self.rules.iter().any(|rule| rule.send == Send::Hook)
    }

    /// The source of who got in without a signature, in the namespace of that name.
    pub fn open_source<'a>(&'a self, name: &'a str) -> &'a str {
        self.source.as_deref().unwrap_or(name.trim_start_matches('/'))
    }

    /// The rule for an event: the first that names it, else the first for all. The events that relay itself sends are
    /// not among those: nobody makes pages reload by accident.
    pub fn rule(&self, event: &str) -> Option<&Rule> {
        let named = self.rules.iter().find(|rule| rule.event == event);
        let any = || self.rules.iter().find(|rule| rule.event == "*" && !OWN_EVENTS.contains(&event));
        named.or_else(any)
    }
}

/// What relay itself sends.
pub const OWN_EVENTS: [&str; 8] =
    ["newMsg", "sys_error", "refreshPage", "ack", "pong", "error_message", "login_info", "check_app_status"];

/// To whom an event goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Send {
    /// The sender's rooms, without the sender.
    Others,
    /// The sender's rooms, with it.
    Rooms,
    /// Back to the sender.
    SelfOnly,
    /// Everyone in the namespace.
    Namespace,
    /// The sessions of a user.
    User,
    /// The backend decides.
    Hook,
    /// Nobody.
    Drop,
}

impl Send {
    /// Every kind with its name in the file.
    pub const NAMES: [(&'static str, Send); 7] = [
        ("others", Send::Others),
        ("rooms", Send::Rooms),
        ("self", Send::SelfOnly),
        ("namespace", Send::Namespace),
        ("user", Send::User),
        ("hook", Send::Hook),
        ("drop", Send::Drop),
    ];
}

/// The answer to an acknowledgement.
#[derive(Clone, Debug, PartialEq)]
pub enum Ack {
    /// The event's own arguments.
    Echo,
    /// What the first receiver answers.
    Peer,
    /// What the backend answers.
    Hook,
    /// Always this.
    Value(Value),
}
