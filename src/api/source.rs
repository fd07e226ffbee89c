//! The source that an operator's question is about.

use super::context::Context;
use crate::{
    http::{Fields, Reply},
    state::TenantId,
};

/// The source that a request names, or the only one. The refusal names those that there are.
pub fn find_source(fields: &Fields<'_>, cx: &Context<'_>) -> Result<TenantId, Reply> {
    let state = &cx.hub.state;
    let names = cx.hub.config().source_names();
    let refused = |why: &str| {
        let known: Vec<&str> = names.iter().copied().take(MOST_NAMED).collect();
        let more = if names.len() > MOST_NAMED { ", …" } else { "" };
        Reply::refusal(400, &format!("{why} (there are: {}{more})", known.join(", ")))
    };
    match fields.get("source") {
        "" => {
            let only = names.first().filter(|_| names.len() == 1).and_then(|name| state.known_tenant(name));
            only.ok_or_else(|| refused(NO_SOURCE))
        }
        name => state.known_tenant(name).ok_or_else(|| refused(UNKNOWN_SOURCE)),
    }
}

const NO_SOURCE: &str = "source can not be null!";
const UNKNOWN_SOURCE: &str = "unknown source!";
/// Sources that a refusal names.
const MOST_NAMED: usize = 20;
