//! Asking the captcha service whether a captcha was solved.

use serde::Deserialize;
use url::form_urlencoded;

use super::SMALL_ANSWER;
use crate::config::Config;
use crate::context::Context;
use crate::error::{ApiError, ErrorCode};

const SITEVERIFY_API: &str = "https://www.recaptcha.net/recaptcha/api/siteverify";

/// The captcha as the operator has configured it.
#[derive(Clone, Copy, Debug)]
pub struct Recaptcha<'a> {
    pub public_key: &'a str,
    private_key: &'a str,
    siteverify_api: &'a str,
}

#[derive(Deserialize)]
struct Verdict {
    #[serde(default)]
    success: bool,
}

impl<'a> Recaptcha<'a> {
    /// `None` if there is none.
    pub fn of(config: &'a Config) -> Option<Self> {
        Some(Self {
            public_key: config.variable("RECAPTCHA_PUBLIC_KEY")?,
            private_key: config.variable("RECAPTCHA_PRIVATE_KEY")?,
            siteverify_api: config.variable("RECAPTCHA_SITEVERIFY_API").unwrap_or(SITEVERIFY_API),
        })
    }

    /// Whether this response shows that a captcha was solved.
    ///
    /// # Errors
    /// 502 if the service gives no verdict.
    pub async fn is_solved(
        &self,
        context: &Context,
        response: &str,
        address: &str,
    ) -> Result<bool, ApiError> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("secret", self.private_key)
            .append_pair("response", response)
            .append_pair("remoteip", address)
            .finish();
        let request = http::Request::post(self.siteverify_api)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.into_bytes())
            .map_err(ApiError::internal)?;
        let answer = context.fetch(request, SMALL_ANSWER).await;
        let answer = answer.map_err(|error| no_verdict(&error.to_string()))?;
        let verdict: Verdict = serde_json::from_slice(answer.body())
            .map_err(|error| no_verdict(&error.to_string()))?;
        Ok(verdict.success)
    }
}

fn no_verdict(reason: &str) -> ApiError {
    crate::log::warn(&format!("the captcha service gave no verdict: {reason}"));
    ApiError::new(ErrorCode::Unknown, "The captcha cannot be checked at the moment")
        .with_status(502)
}
