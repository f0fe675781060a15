//! How a file is handed out: Client-Server API, "Content repository", "Security considerations".

use ruma::http_headers::{ContentDisposition, ContentDispositionType};

/// No script runs in what somebody has uploaded.
pub const CONTENT_SECURITY_POLICY: &str = "sandbox; default-src 'none'; script-src 'none'; \
    plugin-types application/pdf; style-src 'unsafe-inline'; media-src 'self'; object-src 'self';";

/// What is served for a file whose type nobody has named.
pub const TYPE_DEFAULT: &str = "application/octet-stream";

/// Types that a browser may show: Client-Server API, "Serving inline content".
const INLINE_TYPES: [&str; 26] = [
    "application/json",
    "application/ld+json",
    "audio/aac",
    "audio/flac",
    "audio/mp4",
    "audio/mpeg",
    "audio/ogg",
    "audio/wav",
    "audio/wave",
    "audio/webm",
    "audio/x-flac",
    "audio/x-pn-wav",
    "audio/x-wav",
    "image/apng",
    "image/avif",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/webp",
    "text/css",
    "text/csv",
    "text/plain",
    "video/mp4",
    "video/ogg",
    "video/quicktime",
    "video/webm",
];

/// Text whose encoding, if it is not named, is UTF-8.
const TEXT_TYPES: [&str; 11] = [
    "application/json",
    "application/ld+json",
    "application/rtf",
    "image/svg+xml",
    "text/calendar",
    "text/css",
    "text/csv",
    "text/html",
    "text/javascript",
    "text/plain",
    "text/xml",
];

/// The `Content-Type` of an answer.
pub fn content_type(media_type: Option<&str>) -> String {
    let media_type = media_type.unwrap_or(TYPE_DEFAULT);
    match TEXT_TYPES.contains(&media_type.to_ascii_lowercase().as_str()) {
        true => format!("{media_type}; charset=UTF-8"),
        false => media_type.to_owned(),
    }
}

/// The `Content-Disposition` of an answer.
pub fn content_disposition(media_type: Option<&str>, name: Option<&str>) -> String {
    let essence = media_type.unwrap_or(TYPE_DEFAULT).split(';').next().unwrap_or_default();
    let is_inline = INLINE_TYPES.contains(&essence.trim().to_ascii_lowercase().as_str());
    let kind = match is_inline {
        true => ContentDispositionType::Inline,
        false => ContentDispositionType::Attachment,
    };
    let name = name.filter(|name| !name.is_empty()).map(str::to_owned);
    ContentDisposition::new(kind).with_filename(name).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_would_run_is_downloaded() {
        assert_eq!(content_disposition(Some("image/png"), None), "inline");
        assert_eq!(content_disposition(Some("Text/Plain; charset=x"), None), "inline");
        for media_type in ["text/html", "image/svg+xml", "application/pdf", "nonsense"] {
            assert_eq!(content_disposition(Some(media_type), None), "attachment");
        }
        assert_eq!(content_disposition(None, None), "attachment");
    }

    #[test]
    fn names_cannot_leave_their_header() {
        let named = |name| content_disposition(Some("image/png"), Some(name));
        assert_eq!(named("a.png"), "inline; filename=a.png");
        assert_eq!(named("猫.png"), "inline; filename*=utf-8''%E7%8C%AB.png");
        assert_eq!(named(""), "inline");
        for name in ["a\"; x=\"b", "a\r\nset-cookie: x", "a b", "a\\"] {
            let header = named(name);
            assert!(header.is_ascii() && !header.contains(['\r', '\n']), "{header}");
            let read = header.parse::<ContentDisposition>().unwrap().filename.unwrap();
            assert_eq!(read, name.replace(['\r', '\n'], ""));
        }
    }

    #[test]
    fn text_is_utf_8_unless_it_says_otherwise() {
        assert_eq!(content_type(Some("text/plain")), "text/plain; charset=UTF-8");
        assert_eq!(content_type(Some("text/plain; charset=x")), "text/plain; charset=x");
        assert_eq!(content_type(Some("image/png")), "image/png");
        assert_eq!(content_type(None), "application/octet-stream");
    }
}
