//! What the endpoints of media share: how much may be stored, and finding a file.

pub mod limits;
pub mod local;
pub mod previews;
pub mod thumbnails;
