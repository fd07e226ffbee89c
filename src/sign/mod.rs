//! Signatures of logins, notifications and emitted events (`docs/protocol.md`, Signatures), and explanations of those that
//! are refused.

pub mod error;
pub mod explain;
mod layouts;
pub mod scheme;
pub mod subject;
pub mod terms;
pub mod token;
mod variants;

pub use self::{
    error::SignError,
    explain::{Explanation, explain},
    scheme::Scheme,
    subject::{Mark, Policy, Schemes, Signature, Subject, hmac_hex, same_secret, to_hex},
    terms::{CheckedTerms, LEEWAY, Terms},
    token::{Claims, TokenError, TokenKey, TokenPolicy},
};
