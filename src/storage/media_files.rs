//! Files of media: where each lies in the bucket, and how its bytes come and go. The paths are
//! those of Synapse's media store.
//!
//! Invariant: a file is whole or not there. A large one passes by as a stream: the body of a
//! request goes into the bucket, and a part of the bucket is the body of an answer.

use ruma::ServerName;

/// Marks a request whose body is still to come.
#[derive(Clone, Copy, Debug)]
pub struct UnreadBody {
    /// In bytes, if the client has said so.
    pub length: Option<u64>,
}

/// Marks an answer whose body is this part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePart {
    pub path: String,
    /// Offset and length in bytes; `None`: the whole file.
    pub range: Option<(u64, u64)>,
}

/// What is to become a file.
#[derive(Debug)]
pub enum FileBody {
    Bytes(Vec<u8>),
    /// The body of the request that is being answered.
    OfRequest {
        length: Option<u64>,
        bytes_max: u64,
    },
}

/// Why there is no file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    #[error("the file is too large")]
    TooLarge,
    #[error("the body broke off: {0}")]
    BrokenOff(String),
    #[error("the bucket has failed: {0}")]
    Bucket(String),
}

/// What somebody has uploaded here, or what a preview has fetched.
pub fn local(media_id: &str) -> String {
    match is_of_url_cache(media_id) {
        true => format!("url_cache/{}", dated(media_id)),
        false => format!("local_content/{}", split(media_id)),
    }
}

pub fn local_thumbnail(media_id: &str, name: &ThumbnailName<'_>) -> String {
    match is_of_url_cache(media_id) {
        true => format!("url_cache_thumbnails/{}/{name}", dated(media_id)),
        false => format!("local_thumbnails/{}/{name}", split(media_id)),
    }
}

/// What was fetched from another server.
pub fn remote(origin: &ServerName, filesystem_id: &str) -> String {
    format!("remote_content/{origin}/{}", split(filesystem_id))
}

/// One thumbnail among those of a file.
#[derive(Clone, Copy, Debug)]
pub struct ThumbnailName<'a> {
    pub width: u32,
    pub height: u32,
    pub content_type: &'a str,
    pub method: &'a str,
}

impl std::fmt::Display for ThumbnailName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let content_type = self.content_type.replace('/', "-");
        write!(f, "{}-{}-{content_type}-{}", self.width, self.height, self.method)
    }
}

/// Media of previews are named after the day on which they were fetched: `2026-01-31_...`.
pub fn is_of_url_cache(media_id: &str) -> bool {
    let bytes = media_id.as_bytes();
    bytes.len() > 11 && bytes[4] == b'-' && bytes[7] == b'-' && bytes[10] == b'_'
}

fn dated(media_id: &str) -> String {
    let (date, name) = media_id.split_at_checked(10).unwrap_or((media_id, ""));
    format!("{date}/{}", name.trim_start_matches('_'))
}

/// Two folders of two letters each, so that none becomes too large.
fn split(id: &str) -> String {
    match (id.get(..2), id.get(2..4), id.get(4..)) {
        (Some(first), Some(second), Some(rest)) => format!("{first}/{second}/{rest}"),
        _ => id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_synapses() {
        assert_eq!(local("GerjJBkPgPqs"), "local_content/Ge/rj/JBkPgPqs");
        assert_eq!(local("2026-01-31_abcdef"), "url_cache/2026-01-31/abcdef");
        let name =
            ThumbnailName { width: 32, height: 24, content_type: "image/png", method: "crop" };
        assert_eq!(
            local_thumbnail("GerjJBkPgPqs", &name),
            "local_thumbnails/Ge/rj/JBkPgPqs/32-24-image-png-crop"
        );
        assert_eq!(
            remote(<&ServerName>::try_from("example.org").unwrap(), "abcdefgh"),
            "remote_content/example.org/ab/cd/efgh"
        );
    }
}
