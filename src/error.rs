//! The one error type: what went wrong -> HTTP status and Matrix errcode.
//!
//! Three kinds: the caller's fault (the specification's errcode), a remote's fault, and ours
//! (logged with its cause, answered `M_UNKNOWN`). Client-Server API, "Standard error response".

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::storage::database::DatabaseError;

macro_rules! error_codes {
    ($($name:ident = $errcode:literal, $status:literal;)*) => {
        /// Matrix errcodes; each has the status it is sent with unless the error says otherwise.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum ErrorCode { $(#[serde(rename = $errcode)] $name,)* }

        impl ErrorCode {
            /// The errcode as clients see it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $errcode,)* }
            }

            fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

error_codes! {
    BadAlias = "M_BAD_ALIAS", 400;
    BadJson = "M_BAD_JSON", 400;
    BadState = "M_BAD_STATE", 400;
    BadStatus = "M_BAD_STATUS", 502;
    CannotOverwriteMedia = "M_CANNOT_OVERWRITE_MEDIA", 409;
    CannotLeaveServerNoticeRoom = "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM", 403;
    CaptchaNeeded = "M_CAPTCHA_NEEDED", 400;
    ConnectionFailed = "M_CONNECTION_FAILED", 502;
    ConnectionTimeout = "M_CONNECTION_TIMEOUT", 504;
    ConflictingUnsubscription = "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION", 409;
    DuplicateAnnotation = "M_DUPLICATE_ANNOTATION", 400;
    Exclusive = "M_EXCLUSIVE", 400;
    Forbidden = "M_FORBIDDEN", 403;
    GuestAccessForbidden = "M_GUEST_ACCESS_FORBIDDEN", 403;
    IncompatibleRoomVersion = "M_INCOMPATIBLE_ROOM_VERSION", 400;
    InvalidParam = "M_INVALID_PARAM", 400;
    InviteBlocked = "M_INVITE_BLOCKED", 403;
    InvalidSignature = "M_INVALID_SIGNATURE", 400;
    InvalidRoomState = "M_INVALID_ROOM_STATE", 400;
    InvalidUsername = "M_INVALID_USERNAME", 400;
    KeyTooLarge = "M_KEY_TOO_LARGE", 400;
    LimitExceeded = "M_LIMIT_EXCEEDED", 429;
    MissingParam = "M_MISSING_PARAM", 400;
    MissingToken = "M_MISSING_TOKEN", 401;
    NotFound = "M_NOT_FOUND", 404;
    NotInThread = "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD", 400;
    NotJson = "M_NOT_JSON", 400;
    NotYetUploaded = "M_NOT_YET_UPLOADED", 504;
    ProfileTooLarge = "M_PROFILE_TOO_LARGE", 400;
    RoomInUse = "M_ROOM_IN_USE", 400;
    ThreepidDenied = "M_THREEPID_DENIED", 403;
    ThreepidNotFound = "M_THREEPID_NOT_FOUND", 400;
    TooLarge = "M_TOO_LARGE", 413;
    UnableToAuthoriseJoin = "M_UNABLE_TO_AUTHORISE_JOIN", 400;
    UnableToGrantJoin = "M_UNABLE_TO_GRANT_JOIN", 400;
    Unauthorized = "M_UNAUTHORIZED", 401;
    Unknown = "M_UNKNOWN", 500;
    UnknownDevice = "M_UNKNOWN_DEVICE", 400;
    UnknownPos = "M_UNKNOWN_POS", 400;
    UnknownToken = "M_UNKNOWN_TOKEN", 401;
    Unrecognized = "M_UNRECOGNIZED", 404;
    UnsupportedRoomVersion = "M_UNSUPPORTED_ROOM_VERSION", 400;
    UrlNotSet = "M_URL_NOT_SET", 400;
    UserDeactivated = "M_USER_DEACTIVATED", 403;
    UserLocked = "M_USER_LOCKED", 401;
    UserSuspended = "M_USER_SUSPENDED", 403;
    UserInUse = "M_USER_IN_USE", 400;
    WeakPassword = "M_WEAK_PASSWORD", 400;
    WrongRoomKeysVersion = "M_WRONG_ROOM_KEYS_VERSION", 403;
}

/// What a caller is told. It crosses between Durable Objects and the Worker as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {message}", .code.as_str())]
pub struct ApiError {
    code: ErrorCode,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Further fields of the answer (`retry_after_ms`, `soft_logout`, the whole of a
    /// user-interactive authentication answer, ...).
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    fields: Map<String, Value>,
    /// A user-interactive authentication answer has no errcode unless a stage has failed.
    #[serde(default)]
    without_errcode: bool,
}

impl ApiError {
    /// An error with the status that its code implies.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message, status: None, fields: Map::new(), without_errcode: false }
    }

    pub fn bad_json(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadJson, message)
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Forbidden, message)
    }

    /// For those whom an administrator has suspended.
    pub fn suspended() -> Self {
        let message = "You cannot do this while your account is suspended";
        Self::new(ErrorCode::UserSuspended, message)
    }

    pub fn invalid_param(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidParam, message)
    }

    pub fn missing_param(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::MissingParam, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    pub fn unrecognized() -> Self {
        Self::new(ErrorCode::Unrecognized, "Unrecognized request")
    }

    pub fn method_not_allowed() -> Self {
        Self::new(ErrorCode::Unrecognized, "Unrecognized request method").with_status(405)
    }

    pub fn missing_token() -> Self {
        Self::new(ErrorCode::MissingToken, "Missing access token")
    }

    pub fn unknown_token(soft_logout: bool) -> Self {
        Self::new(ErrorCode::UnknownToken, "Access token is unknown or has expired")
            .with_field("soft_logout", json!(soft_logout))
    }

    pub fn user_locked() -> Self {
        Self::new(ErrorCode::UserLocked, "This account is locked")
            .with_field("soft_logout", json!(true))
    }

    pub fn limit_exceeded(retry_after_ms: u64) -> Self {
        Self::new(ErrorCode::LimitExceeded, "Too many requests: try again later")
            .with_field("retry_after_ms", json!(retry_after_ms))
    }

    /// The 401 answer of user-interactive authentication: `flows`, `params`, `session`,
    /// `completed`; with an errcode only if a stage has just failed.
    pub fn authentication_required(
        body: Map<String, Value>,
        failure: Option<(ErrorCode, String)>,
    ) -> Self {
        let without_errcode = failure.is_none();
        let (code, message) = failure.unwrap_or((ErrorCode::Unauthorized, String::new()));
        Self { code, message, status: Some(401), fields: body, without_errcode }
    }

    /// Our own fault. The cause is logged; the caller learns nothing of it.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        crate::log::error(&format!("internal error: {cause}"));
        Self::new(ErrorCode::Unknown, "Internal server error")
    }

    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    pub fn with_field(mut self, name: &str, value: Value) -> Self {
        self.fields.insert(name.to_owned(), value);
        self
    }

    pub fn code(&self) -> ErrorCode {
        self.code
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn status(&self) -> u16 {
        self.status.unwrap_or_else(|| self.code.status())
    }

    /// The JSON body of the answer.
    pub fn body(&self) -> Value {
        let mut body = self.fields.clone();
        if !self.without_errcode {
            body.insert("errcode".to_owned(), json!(self.code.as_str()));
            body.insert("error".to_owned(), json!(self.message));
        }
        Value::Object(body)
    }
}

impl From<DatabaseError> for ApiError {
    fn from(error: DatabaseError) -> Self {
        Self::internal(error)
    }
}
