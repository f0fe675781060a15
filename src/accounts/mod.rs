//! What the endpoints of accounts share: proving a password, opening a session on a device,
//! making a user, user-interactive authentication, limits.

pub mod limits;
pub mod new_user;
pub mod passwords;
pub mod session;
pub mod user_interactive;
