//! The CAS server at which people sign in: where they are sent, and asking it whose a ticket is.

use myelin_protocol::cas::{self, CasError};
use url::Url;

use super::SMALL_ANSWER;
use crate::config::Config;
use crate::context::Context;
use crate::error::ApiError;

/// A CAS server, in versions 2 and 3 of its protocol.
#[derive(Clone, Copy, Debug)]
pub struct CasServer<'a> {
    url: &'a str,
}

impl<'a> CasServer<'a> {
    /// `None` if none is configured.
    pub fn of(config: &'a Config) -> Option<Self> {
        Some(Self { url: config.variable("CAS_SERVER_URL")?.trim_end_matches('/') })
    }

    fn url(&self, path: &str, pairs: &[(&str, &str)]) -> Result<Url, ApiError> {
        let url = format!("{}/{path}", self.url);
        Url::parse_with_params(&url, pairs).map_err(ApiError::internal)
    }

    /// Where somebody signs in, to be sent on to `service` with a ticket.
    ///
    /// # Errors
    /// If the server's URL is not valid.
    pub fn login_url(&self, service: &str) -> Result<Url, ApiError> {
        self.url("login", &[("service", service)])
    }

    /// The name of whoever has this ticket, which was made for `service`.
    ///
    /// # Errors
    /// If the server's URL is not valid; inside, if the ticket shows nobody.
    pub async fn user_of(
        &self,
        context: &Context,
        ticket: &str,
        service: &str,
    ) -> Result<Result<String, CasError>, ApiError> {
        let url = self.url("proxyValidate", &[("ticket", ticket), ("service", service)])?;
        let request = http::Request::get(url.as_str()).body(Vec::new());
        let request = request.map_err(ApiError::internal)?;
        Ok(match context.fetch(request, SMALL_ANSWER).await {
            Ok(answer) if answer.status() == 200 => {
                cas::user_of(&String::from_utf8_lossy(answer.body()))
            }
            Ok(answer) => Err(CasError::Refused(format!("status {}", answer.status()))),
            Err(error) => Err(CasError::Refused(error.to_string())),
        })
    }
}
