//! Pages that a person sees in the middle of logging in or proving who they are.

use super::Answer;
use crate::error::ApiError;

const PAGE: &str = include_str!("page.html");

/// What is shown when a stage is complete: it tells the client, which opened this page.
pub const STAGE_DONE: &str =
    "<p>Thank you. You can close this window and go back to your client.</p>
      <script>
        if (window.onAuthDone) window.onAuthDone();
        else if (window.opener) window.opener.postMessage(\"authDone\", \"*\");
      </script>";

/// A page of this content, which is HTML.
///
/// # Errors
/// Never.
pub fn page(status: u16, title: &str, content: &str) -> Result<Answer, ApiError> {
    http::Response::builder()
        .status(status)
        .header("content-type", "text/html; charset=utf-8")
        .header("cache-control", "no-store")
        .header("x-frame-options", "DENY")
        .header("referrer-policy", "no-referrer")
        .body(
            PAGE.replace("<!-- title -->", title).replace("<!-- content -->", content).into_bytes(),
        )
        .map_err(ApiError::internal)
}

/// Text as HTML.
pub fn escape(text: &str) -> String {
    let replaced = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    replaced.replace('"', "&quot;").replace('\'', "&#39;")
}
