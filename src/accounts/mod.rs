//! What the endpoints of accounts share: proving a password, opening a session on a device,
//! making and ending a user, user-interactive authentication, limits.

pub mod application_services;
pub mod deactivation;
pub mod device_changes;
pub mod last_seen;
pub mod limits;
pub mod masquerade;
pub mod new_user;
pub mod passwords;
pub mod presence;
pub mod session;
pub mod shared_secret;
pub mod single_sign_on;
pub mod terms;
pub mod user_directory;
pub mod user_interactive;
pub mod wanted_user;
