//! The variables of wrangler.toml, read once per isolate.

use std::rc::Rc;

use myelin_protocol::application_service::ApplicationService;
use ruma::{OwnedServerName, RoomVersionId};

/// Who may make an account without an administrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Anyone.
    Open,
    /// Whoever has a registration token.
    Token,
    /// Nobody.
    Closed,
}

/// The settings of this server.
#[derive(Clone, Debug)]
pub struct Config {
    pub server_name: OwnedServerName,
    /// Where clients reach the server, without a final `/`; empty: as they called it.
    pub public_baseurl: String,
    pub location: String,
    pub default_room_version: RoomVersionId,
    pub registration: Registration,
    /// Whether a captcha is to be solved to register.
    pub registration_captcha: bool,
    pub registration_shared_secret: Option<String>,
    pub allow_guests: bool,
    pub bcrypt_rounds: u32,
    pub password_pepper: String,
    pub rate_limits: bool,
    pub sync_notifiers: u32,
    pub presence: bool,
    /// Whether people find those whom they have never met.
    pub user_directory_search_all_users: bool,
    /// Every answer carries `Server-Timing`.
    pub development: bool,
    /// Added to each D1 call and hop, to see the shape of production on a laptop.
    pub latency_ms: u64,
    /// A signing key in Synapse's file format; the database's own if absent.
    pub signing_key: Option<String>,
    /// Keys of the past, for verification only: lines `ed25519:name base64 expired_ts`.
    pub old_signing_keys: String,
    /// One-time secret of the page that makes the administrator's account.
    pub setup_token: Option<String>,
    /// Bridges and bots that speak for users of this server.
    pub application_services: Vec<Rc<ApplicationService>>,
    /// How far ahead an event can be scheduled; 0: none can be.
    pub event_delay_max_ms: u64,
    /// How many events a user may have scheduled at once; 0: none.
    pub delayed_events_max: u64,
    /// Where MatrixRTC's media goes, as clients are told: a list of objects.
    pub rtc_transports: Vec<serde_json::Value>,
    variables: std::collections::HashMap<String, String>,
}

#[derive(Debug, thiserror::Error)]
#[error("{name} is not valid: {reason}")]
pub struct ConfigError {
    name: &'static str,
    reason: String,
}

impl Config {
    /// Reads all variables by name; `lookup` answers `None` for one that is not set.
    ///
    /// # Errors
    /// A variable that cannot be understood, by its name.
    pub fn read(names: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let variables: std::collections::HashMap<String, String> =
            names.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let text = |name: &str| variables.get(name).cloned();
        let on = |name: &str, default: bool| {
            text(name).map_or(default, |v| matches!(v.as_str(), "on" | "true" | "1" | "yes"))
        };
        let server_name: OwnedServerName =
            parse("SERVER_NAME", text("SERVER_NAME").as_deref(), "localhost")?;
        let number =
            |name: &'static str, default: &str| parse(name, text(name).as_deref(), default);
        Ok(Self {
            application_services: application_services(&variables, &server_name)?,
            server_name,
            public_baseurl: text("PUBLIC_BASEURL")
                .map(|url| url.trim_end_matches('/').to_owned())
                .unwrap_or_default(),
            location: text("LOCATION").unwrap_or_default(),
            default_room_version: room_version(text("DEFAULT_ROOM_VERSION").as_deref())?,
            registration: registration(text("REGISTRATION").as_deref())?,
            registration_captcha: registration_captcha(&variables)?,
            registration_shared_secret: text("REGISTRATION_SHARED_SECRET"),
            allow_guests: on("ALLOW_GUESTS", false),
            bcrypt_rounds: bcrypt_rounds(text("BCRYPT_ROUNDS").as_deref())?,
            password_pepper: text("PASSWORD_PEPPER").unwrap_or_default(),
            rate_limits: on("RATE_LIMITS", true),
            sync_notifiers: parse("SYNC_NOTIFIERS", text("SYNC_NOTIFIERS").as_deref(), "4")?,
            presence: on("PRESENCE", true),
            user_directory_search_all_users: on("USER_DIRECTORY_SEARCH_ALL_USERS", false),
            development: on("DEVELOPMENT", false),
            latency_ms: parse("LATENCY_MS", text("LATENCY_MS").as_deref(), "0")?,
            signing_key: text("SIGNING_KEY"),
            old_signing_keys: text("OLD_SIGNING_KEYS").unwrap_or_default(),
            setup_token: text("SETUP_TOKEN"),
            event_delay_max_ms: number("EVENT_DELAY_MAX_MS", "86400000")?,
            delayed_events_max: number("DELAYED_EVENTS_MAX", "100")?,
            rtc_transports: rtc_transports(text("RTC_TRANSPORTS").as_deref())?,
            variables,
        })
    }

    /// Whether events can be scheduled.
    pub fn has_delayed_events(&self) -> bool {
        self.event_delay_max_ms > 0 && self.delayed_events_max > 0
    }

    /// A variable that only one place needs; `None` if it is not set.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }
}

fn parse<T: std::str::FromStr>(
    name: &'static str,
    value: Option<&str>,
    default: &str,
) -> Result<T, ConfigError>
where
    T::Err: std::fmt::Display,
{
    value
        .unwrap_or(default)
        .parse()
        .map_err(|e: T::Err| ConfigError { name, reason: e.to_string() })
}

fn room_version(value: Option<&str>) -> Result<RoomVersionId, ConfigError> {
    let name = "DEFAULT_ROOM_VERSION";
    let version: RoomVersionId = parse(name, value, "12")?;
    match version.rules() {
        Some(_) => Ok(version),
        None => Err(ConfigError { name, reason: format!("unknown room version {version}") }),
    }
}

fn registration(value: Option<&str>) -> Result<Registration, ConfigError> {
    match value.unwrap_or("closed") {
        "open" => Ok(Registration::Open),
        "token" => Ok(Registration::Token),
        "closed" => Ok(Registration::Closed),
        other => Err(ConfigError {
            name: "REGISTRATION",
            reason: format!("{other}: it is open, token or closed"),
        }),
    }
}

fn registration_captcha(
    variables: &std::collections::HashMap<String, String>,
) -> Result<bool, ConfigError> {
    let is_on = variables.get("REGISTRATION_CAPTCHA").is_some_and(|value| value == "true");
    let keys = ["RECAPTCHA_PUBLIC_KEY", "RECAPTCHA_PRIVATE_KEY"];
    match keys.into_iter().find(|key| is_on && !variables.contains_key(*key)) {
        Some(key) => {
            let reason = format!("{key} is not set");
            Err(ConfigError { name: "REGISTRATION_CAPTCHA", reason })
        }
        None => Ok(is_on),
    }
}

fn application_services(
    variables: &std::collections::HashMap<String, String>,
    server_name: &OwnedServerName,
) -> Result<Vec<Rc<ApplicationService>>, ConfigError> {
    let name = "APPLICATION_SERVICES";
    let Some(json) = variables.get(name) else { return Ok(Vec::new()) };
    let services = ApplicationService::read_all(json, server_name)
        .map_err(|error| ConfigError { name, reason: error.to_string() })?;
    Ok(services.into_iter().map(Rc::new).collect())
}

fn rtc_transports(value: Option<&str>) -> Result<Vec<serde_json::Value>, ConfigError> {
    let name = "RTC_TRANSPORTS";
    let list: Vec<serde_json::Value> = serde_json::from_str(value.unwrap_or("[]"))
        .map_err(|error| ConfigError { name, reason: error.to_string() })?;
    let is_whole = |transport: &serde_json::Value| match transport["type"].as_str() {
        Some("livekit") => transport["livekit_service_url"].is_string(),
        other => other.is_some(),
    };
    if list.iter().all(is_whole) {
        return Ok(list);
    }
    let reason = "each has a type, and one of LiveKit a livekit_service_url".to_owned();
    Err(ConfigError { name, reason })
}

fn bcrypt_rounds(value: Option<&str>) -> Result<u32, ConfigError> {
    let rounds = parse("BCRYPT_ROUNDS", value, "12")?;
    if (4..=16).contains(&rounds) {
        return Ok(rounds);
    }
    Err(ConfigError { name: "BCRYPT_ROUNDS", reason: format!("{rounds}: it is 4 to 16") })
}
