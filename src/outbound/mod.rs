//! Requests that we make to other servers: what is asked, and what their answer means. The
//! platform sends them.
//!
//! Invariant: no answer is waited for, or read, without bounds; redirects are not followed.

pub mod cas;
pub mod pages;
pub mod recaptcha;

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
