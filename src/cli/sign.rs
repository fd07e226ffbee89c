//! `relay sign`: makes a signature, or explains a wrong one.

use lexopt::Parser;

use super::{
    arguments::Stop,
    commands,
    credentials::{Account, Fields, Purpose, encode, read_data},
    emit::Event,
    error::{Error, UsageError},
    explain,
    options::Options,
    terminal::say,
};
use crate::sign::Subject;

/// A signature to make.
#[derive(Debug)]
pub struct Sign {
    account: Account,
    what: What,
    hex: bool,
    /// `--explain`: a signature of another program.
    explain: Option<String>,
}

#[derive(Debug)]
enum What {
    Login { userid: String, rooms: String },
    Notification { rooms: String, data: String },
    Emit(Event),
}

impl Sign {
    /// Parses what follows `sign`.
    pub fn parse(parser: &mut Parser) -> Result<Sign, Stop> {
        let mut options = Options::parse(parser, &commands::SIGN)?;
        let account = Account::new(&mut options)?;
        let (hex, explain) = (options.has("hex"), options.take("explain"));
        let what = match options.next_word().as_deref() {
            Some("connect") => {
                let what = What::Login { userid: options.text("userid"), rooms: options.rooms()? };
                options.no_more_words()?;
                what
            }
            Some("notify") => What::Notification { rooms: options.rooms()?, data: options.data()? },
            Some("emit") => What::Emit(Event::take(&mut options)?),
            _ => return Err(UsageError::MissingSubject.into()),
        };
        Ok(Sign { account, what, hex, explain })
    }

    /// Prints the signature, or explains the one that was given.
    pub fn run(mut self) -> Result<(), Error> {
        let others = if self.explain.is_some() { self.account.other_keys() } else { Vec::new() };
        let credentials = self.account.credentials(Purpose::Print)?;
        let (source, explain) = (&credentials.source, self.explain.as_deref());
        let print = |subject: &Subject<'_>| match explain {
            Some(sign) => explain::run(&credentials, subject, sign, &others),
            None => {
                print(&credentials.sign(subject), self.hex);
                Ok(())
            }
        };
        match self.what {
            What::Login { userid, rooms } => print(&Subject::Connect { source, userid: &userid, room_ids: &rooms }),
            What::Notification { rooms, data } => {
                let data = read_data(data)?;
                print(&Subject::Notify { source, room_id: &rooms, data: data.as_bytes() })
            }
            What::Emit(mut event) => {
                let args = event.arguments()?;
                print(&event.subject(source, &args))
            }
        }
    }
}

/// Prints the fields of a signature, or only its digits.
fn print(fields: &Fields, hex: bool) {
    match fields.last() {
        Some((_, digits)) if hex => say(&format!("{digits}\n")),
        _ => say(&format!("{}\n", encode(fields))),
    }
}
