//! Requests that we make to other servers: what is asked, and what their answer means. The
//! platform sends them.
//!
//! Invariant: no answer is waited for, or read, without bounds; redirects are not followed.

pub mod application_services;
pub mod cas;
pub mod pages;
pub mod push_gateway;
pub mod recaptcha;
pub mod turn;

use url::Url;

use crate::config::Config;

/// How long an answer may take, and how large its body may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub timeout_ms: u64,
    pub bytes_max: usize,
    /// The server must be one of the public internet.
    pub is_public: bool,
}

/// Of services that answer a question in a few lines.
const SMALL_ANSWER: Bounds = Bounds { timeout_ms: 10_000, bytes_max: 64 * 1024, is_public: false };

/// Whether a variable lists the host of this address: one of the own network that the operator
/// lets the server reach.
fn is_private_host(config: &Config, variable: &str, url: &Url) -> bool {
    let allowed = config.variable(variable).unwrap_or_default();
    let host = url.host_str().unwrap_or_default();
    matches!(url.scheme(), "http" | "https")
        && allowed.split_ascii_whitespace().any(|one| one.eq_ignore_ascii_case(host))
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    #[error("the server took too long")]
    TimedOut,
    #[error("the answer is too large")]
    TooLarge,
    #[error("it is not on the public internet")]
    NotPublic,
}
