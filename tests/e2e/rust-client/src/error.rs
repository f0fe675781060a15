//! What can go wrong in a command; the test reads the message.

use std::fmt::Debug;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// The library's errors say more in their debug form.
    pub fn from_debug(error: impl Debug) -> Self {
        Self(format!("{error:?}"))
    }
}

macro_rules! failure_from {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::from_debug(error)
            }
        })+
    };
}

failure_from!(
    matrix_sdk::ClientBuildError,
    matrix_sdk::Error,
    matrix_sdk::HttpError,
    matrix_sdk::IdParseError,
    matrix_sdk::encryption::CryptoStoreError,
    matrix_sdk::encryption::recovery::RecoveryError,
    matrix_sdk::event_cache::EventCacheError,
    matrix_sdk_ui::sync_service::Error,
    matrix_sdk_ui::timeline::Error,
    serde_json::Error,
    std::io::Error,
    tracing::subscriber::SetGlobalDefaultError,
);
