//! A source, and what proves that a command may send for it: its key, or the admin token.

use std::{io, path::PathBuf};

use form_urlencoded::Serializer;

use super::{
    arguments::Stop,
    endpoint::{Endpoint, Sends},
    error::{Error, UsageError},
    options::Options,
    setting::{Setting, read_secret},
    terminal::complain,
};
use crate::{
    config::Secret,
    server::clock::unix_micros,
    sign::{Scheme, Schemes, Subject, Terms, TokenPolicy, to_hex},
    text::text_without_bom,
};

/// Fields of a query or a form.
pub type Fields = Vec<(&'static str, String)>;

/// The options of a command that say which relay and which source, not yet looked up.
#[derive(Debug)]
pub struct Account {
    setting: Setting,
    url: Option<String>,
    ca_file: Option<PathBuf>,
    source: Option<String>,
    key: Option<Given>,
    token: Option<Given>,
    jwt: Option<Given>,
    hmac: bool,
    ts: Option<String>,
}

/// A key or a token on the command line.
#[derive(Debug)]
enum Given {
    /// Itself.
    Value(String),
    /// The file that has it.
    File(PathBuf),
}

impl Given {
    fn read(&self) -> Result<String, Error> {
        match self {
            Given::Value(value) => Ok(value.clone()),
            Given::File(file) => read_secret(file),
        }
    }
}

/// What a command does with its credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It prints a signature.
    Print,
    /// It logs in.
    Login,
    /// It makes a token.
    Token,
    /// It sends a message or an event. A token can take the place of the signature.
    Send,
}

/// A source with its proof.
#[derive(Debug)]
pub struct Credentials {
    /// The source.
    pub source: String,
    proof: Proof,
    hmac: bool,
    ts: Option<String>,
    schemes: Option<Schemes>,
    window: u64,
}

#[derive(Debug)]
enum Proof {
    Key(String),
    Token(String),
    /// The token of a login. Its file is read again for each login.
    Jwt(Given),
}

impl Account {
    /// Takes the options of a source, its proof and the relay's address.
    pub fn new(options: &mut Options) -> Result<Account, Stop> {
        let mut given = |value: &'static str, file: &'static str| match (options.take(value), options.path(file)) {
            (Some(_), Some(_)) => Err(UsageError::Both(value, file)),
            (Some(value), None) => Ok(Some(Given::Value(value))),
            (None, file) => Ok(file.map(Given::File)),
        };
        let (key, token) = (given("key", "key-file")?, given("token", "token-file")?);
        let jwt = given("jwt", "jwt-file")?;
        if key.is_some() && jwt.is_some() {
            return Err(UsageError::Both("key", "jwt").into());
        }
        if key.is_some() && token.is_some() {
            return Err(UsageError::Both("key", "token").into());
        }
        Ok(Account {
            setting: Setting::new(options),
            url: options.take("url"),
            ca_file: options.path("ca-file"),
            source: options.take("source"),
            key,
            token,
            jwt,
            hmac: options.has("hmac"),
            ts: options.take("ts"),
        })
    }

    /// The address of `--url`, or else of the configuration.
    pub fn endpoint(&mut self, sends: Sends) -> Result<Endpoint, Error> {
        match &self.url {
            Some(url) => {
                let mut endpoint = Endpoint::parse(url)?;
                let read = |file: &PathBuf| read_secret(file).map(|pem| (file.display().to_string(), pem));
                endpoint.set_tls(self.ca_file.as_ref().map(read).transpose()?)?;
                Ok(endpoint)
            }
            None if self.ca_file.is_some() => Err(Error::NeedsTls),
            None => self.setting.endpoint(sends),
        }
    }

    /// Takes this source unless the command line names one. A configuration that is needed for the key must have it.
    pub fn prefer_source(&mut self, name: &str) -> Result<(), Error> {
        let has_proof = self.key.is_some() || self.token.is_some() || self.jwt.is_some();
        if self.source.is_none() && (has_proof || self.setting.source(name)?.is_some()) {
            self.source = Some(name.into());
        }
        Ok(())
    }

    /// The configuration.
    pub fn setting(&mut self) -> &mut Setting {
        &mut self.setting
    }

    /// The configuration, without the rest.
    pub fn into_setting(self) -> Setting {
        self.setting
    }

    /// Whether the command line has a key, or a token for a login.
    pub fn has_key(&self) -> bool {
        self.key.is_some() || self.jwt.is_some()
    }

    /// The text of `--ca-file`.
    pub fn authorities(&self) -> Result<Option<String>, Error> {
        self.ca_file.as_deref().map(read_secret).transpose()
    }

    /// The admin token: the given one, or that of this machine's relay. It opens everything, so it does not go to an address
    /// that the configuration does not have, unless it is given.
    pub fn admin_token(&mut self) -> Result<String, Error> {
        match &self.token {
            Some(token) => token.read(),
            None if self.url.is_some() => Err(Error::NoToken),
            None => self.setting.token().ok_or(Error::NoToken),
        }
    }

    /// What the tokens of the source must say, and the name of their key, if both come from the configuration.
    pub fn token_policy(&mut self) -> (TokenPolicy, Option<String>) {
        if self.key.is_some() {
            return Default::default();
        }
        let source = self.source.clone().or_else(|| self.setting.only_source().ok());
        source.map(|source| self.setting.token_policy(&source)).unwrap_or_default()
    }

    /// The source, if it is known, and the admin token, for what only operators may ask.
    pub fn operator(mut self) -> Result<(Option<String>, String), Error> {
        let source = match self.source.take() {
            None if self.url.is_none() => self.setting.only_source().ok(),
            source => source,
        };
        Ok((source, self.admin_token()?))
    }

    /// The keys of the sources of the configuration, if the key comes from there.
    pub fn other_keys(&mut self) -> Vec<(String, Secret)> {
        if self.key.is_some() { Vec::new() } else { self.setting.keys() }
    }

    /// Looks up what the command line does not say. The configuration is read only if something is missing.
    pub fn credentials(mut self, purpose: Purpose) -> Result<Credentials, Error> {
        let has_proof = self.key.is_some() || self.token.is_some() || self.jwt.is_some();
        let source = match self.source.take() {
            Some(source) => source,
            None if has_proof && (self.url.is_some() || matches!(purpose, Purpose::Print | Purpose::Token)) => {
                "demo".into()
            }
            None => self.setting.only_source()?,
        };
        // The schemes that the source accepts are known if the key is that of the configuration.
        let schemes = match has_proof {
            true => None,
            false => self.setting.source(&source)?.map(|source| source.sign.clone()),
        };
        let window = self.setting.sign_window().as_secs();
        // The token opens everything: it does not go to an address that the configuration does not have.
        let may_use_token = self.url.is_none() && purpose == Purpose::Send;
        let proof = match (self.key, self.token) {
            _ if self.jwt.is_some() => Proof::Jwt(self.jwt.expect("it was asked for")),
            (None, None) if purpose == Purpose::Token => Proof::Key(self.setting.token_secret(&source)?),
            (Some(key), _) => Proof::Key(key.read()?),
            (None, Some(token)) => Proof::Token(token.read()?),
            (None, None) => match self.setting.key(&source) {
                Ok(key) => Proof::Key(key),
                Err(error) if may_use_token => match self.setting.token() {
                    Some(token) => {
                        complain(&format_args!("the admin token takes the place of the key: {error}"));
                        Proof::Token(token)
                    }
                    None => return Err(error),
                },
                Err(error) => return Err(error),
            },
        };
        Ok(Credentials { source, proof, hmac: self.hmac, ts: self.ts, schemes, window })
    }
}

impl Credentials {
    /// The fields of a signature; none with a token. `sign` comes last, after the two fields that hmac-sha256 needs.
    pub fn sign(&self, subject: &Subject<'_>) -> Fields {
        self.sign_with(subject, Terms::default())
    }

    /// The fields of a signature with terms, which needs hmac-sha256.
    pub fn sign_with(&self, subject: &Subject<'_>, terms: Terms<'_>) -> Fields {
        let Proof::Key(key) = &self.proof else { return Vec::new() };
        if self.scheme(subject).0 == Scheme::Md5 && terms.is_empty() {
            return vec![("sign", to_hex(&subject.md5(key.as_bytes())))];
        }
        let micros = unix_micros();
        let now = match subject {
            Subject::Connect { .. } => (micros / 1_000_000).to_string(),
            // A signature of a message is good for one: the fraction makes that of an equal message another one.
            Subject::Notify { .. } | Subject::Emit { .. } => {
                format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
            }
        };
        let ts = self.ts.clone().unwrap_or(now);
        let sign = to_hex(&subject.hmac(key.as_bytes(), &terms.tail(&ts)));
        let mut fields = vec![("sign_type", "hmac-sha256".into()), ("ts", ts)];
        let given = [("exp", terms.exp), ("ro", terms.ro)].into_iter().filter(|(_, value)| !value.is_empty());
        fields.extend(given.map(|(name, value)| (name, value.to_owned())));
        fields.push(("sign", sign));
        fields
    }

    /// The key; empty with a token.
    pub fn key(&self) -> &[u8] {
        match &self.proof {
            Proof::Key(key) => key.as_bytes(),
            Proof::Token(_) | Proof::Jwt(_) => b"",
        }
    }

    /// The scheme by which [`Credentials::sign`] signs, and the time that was given.
    pub fn scheme(&self, subject: &Subject<'_>) -> (Scheme, &str) {
        let refuses_md5 = |schemes: &Schemes| !schemes.accepted(subject).contains(&Scheme::Md5);
        let hmac = self.hmac || self.schemes.as_ref().is_some_and(refuses_md5);
        (if hmac { Scheme::HmacSha256 } else { Scheme::Md5 }, self.ts.as_deref().unwrap_or_default())
    }

    /// The schemes that the source accepts, and how far `ts` may be from the present, in seconds: those of the configuration if
    /// it was read, otherwise the defaults.
    pub fn rules(&self) -> (Schemes, u64) {
        (self.schemes.clone().unwrap_or_else(|| Schemes::all(&Scheme::ALL)), self.window)
    }

    /// The token that takes the place of a signature.
    pub fn token(&self) -> Option<&str> {
        match &self.proof {
            Proof::Key(_) | Proof::Jwt(_) => None,
            Proof::Token(token) => Some(token),
        }
    }

    /// The token of the login, if it has one, as it is now.
    pub fn jwt(&self) -> Result<Option<String>, Error> {
        match &self.proof {
            Proof::Jwt(given) => given.read().map(Some),
            Proof::Key(_) | Proof::Token(_) => Ok(None),
        }
    }
}

/// DATA as it is signed: `-` stands for standard input.
pub fn read_data(data: String) -> Result<String, Error> {
    if data == "-" {
        let text = io::read_to_string(io::stdin()).map_err(|error| Error::Read("standard input".into(), error))?;
        return Ok(text_without_bom(&text).into());
    }
    Ok(data)
}

/// Fields in the encoding of a query or a form.
pub fn encode(fields: &Fields) -> String {
    Serializer::new(String::new()).extend_pairs(fields).finish()
}
