//! Media, as far as it is rules: how a file is handed out, which part of it, which thumbnail, and
//! which addresses may be looked at for a preview.

pub mod address;
pub mod preview;
pub mod range;
pub mod serving;
pub mod thumbnail;
