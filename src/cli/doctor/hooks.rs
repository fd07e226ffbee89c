//! Whether the backend of hooks answers, asked with a request that changes nothing.

use super::{finding::Finding, place, target::AGENT};
use crate::{
    cli::client::{Limits, Request, Server, USUAL},
    config::Config,
};

const CHECK: &str = "hooks";

/// Sends OPTIONS to the address of the hooks. It is no event, so no backend acts on it.
pub fn check(config: &Config) -> Finding {
    let Some(backend) = &config.hooks.url else { return Finding::ok(CHECK, "not used") };
    let name = place::name(&backend.place);
    let mut connection = match place::connect(&backend.place, config.hooks.tls.as_ref(), config.hooks.timeout) {
        Ok(connection) => connection,
        Err(error) => return Finding::failure(CHECK, format!("the backend {name} cannot be reached: {error}")),
    };
    let host = backend.host();
    let request = Request::new("OPTIONS", &backend.target).with("User-Agent", AGENT).with("Connection", "close");
    let limits = Limits { sending: config.hooks.timeout, answer: config.hooks.timeout, ..USUAL };
    match request.ask(&mut connection, Server { host: &host, prefix: "" }, &limits) {
        Ok(answer) => judge(&name, answer.status),
        Err(error) => Finding::failure(CHECK, format!("the backend {name} does not answer a request: {error}")),
    }
}

/// Judges the status of the answer. A backend that knows only POST answers with 404 or 405.
fn judge(name: &str, status: u16) -> Finding {
    match status {
        200..300 | 405 | 501 => Finding::ok(CHECK, format!("the backend {name} answers (OPTIONS: status {status})")),
        404 => Finding::warning(
            CHECK,
            format!("the backend {name} answers OPTIONS with 404: look whether the path of hooks.url is right"),
        ),
        500.. => Finding::failure(CHECK, format!("the backend {name} fails: status {status}")),
        _ => Finding::warning(
            CHECK,
            format!("the backend {name} answers OPTIONS with status {status}: relay needs 200 to 299 for POST"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Level, *};

    #[test]
    fn statuses() {
        for (status, level) in [
            (204, Level::Ok),
            (405, Level::Ok),
            (404, Level::Warning),
            (301, Level::Warning),
            (401, Level::Warning),
            (502, Level::Failure),
        ] {
            assert_eq!(judge("b", status).level, level, "{status}");
        }
    }
}
