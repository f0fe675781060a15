//! How much may be stored.

use crate::config::Config;
use crate::error::{ApiError, ErrorCode};
use crate::storage::media_files::FileError;

/// What the platform takes in one request, in bytes.
const UPLOAD_BYTES_MAX: u64 = 100 * 1024 * 1024;

/// Files that one user may have announced and not yet uploaded.
pub const PENDING_MAX: u32 = 5;

/// How long an id waits for its file.
pub const PENDING_LIFETIME_MS: u64 = 24 * 60 * 60 * 1000;

/// The limits that the operator has set.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of one file.
    pub file_bytes_max: u64,
    /// Of all files of a user; `None`: no limit.
    pub user_bytes_max: Option<u64>,
}

impl Limits {
    /// # Errors
    /// A variable that is no number.
    pub fn of(config: &Config) -> Result<Self, ApiError> {
        let number = |name: &str| {
            let value = config.variable(name).map(str::parse::<u64>).transpose();
            value.map_err(|error| ApiError::internal(format!("{name}: {error}")))
        };
        Ok(Self {
            file_bytes_max: number("MEDIA_FILE_BYTES_MAX")?.unwrap_or(UPLOAD_BYTES_MAX),
            user_bytes_max: number("MEDIA_USER_BYTES_MAX")?,
        })
    }

    /// # Errors
    /// `M_TOO_LARGE` if a file of this length is too large.
    pub fn check_file(&self, length: u64) -> Result<(), ApiError> {
        match length > self.file_bytes_max {
            true => Err(self.file_is_too_large()),
            false => Ok(()),
        }
    }

    /// How large the next file of a user may be who has stored so much.
    ///
    /// # Errors
    /// `M_TOO_LARGE` if there is no room for a file of this length.
    pub fn room(&self, stored: u64, length: u64) -> Result<u64, ApiError> {
        let Some(user_bytes_max) = self.user_bytes_max else { return Ok(self.file_bytes_max) };
        let left = user_bytes_max.saturating_sub(stored);
        if length > left || left == 0 {
            let message = format!(
                "Your files have {stored} bytes, and may have {user_bytes_max}: there is no room \
                 for this one"
            );
            return Err(ApiError::new(ErrorCode::TooLarge, message));
        }
        Ok(left.min(self.file_bytes_max))
    }

    fn file_is_too_large(&self) -> ApiError {
        let message = format!("A file may have {} bytes at most", self.file_bytes_max);
        ApiError::new(ErrorCode::TooLarge, message)
    }

    /// What the caller is told of a file that was not stored.
    pub fn explain(&self, error: FileError) -> ApiError {
        match error {
            FileError::TooLarge => self.file_is_too_large(),
            FileError::BrokenOff(_) => {
                ApiError::new(ErrorCode::Unknown, "The upload broke off: nothing was stored")
                    .with_status(400)
            }
            FileError::Bucket(reason) => ApiError::internal(reason),
        }
    }
}
