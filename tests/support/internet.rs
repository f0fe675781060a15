//! The servers that a test pretends there are.

use std::cell::RefCell;
use std::collections::HashMap;

use myelin::outbound::{Bounds, FetchError};

#[derive(Default)]
pub struct Internet {
    /// Statuses and bodies, by URL without its query.
    answers: RefCell<HashMap<String, (u16, String)>>,
    requests: RefCell<Vec<http::Request<Vec<u8>>>>,
}

impl Internet {
    /// From now on, this URL is answered like this, whatever its query.
    pub fn answer(&self, url: &str, status: u16, body: &str) {
        self.answers.borrow_mut().insert(url.to_owned(), (status, body.to_owned()));
    }

    /// The requests that have been made since this was asked last.
    pub fn take_requests(&self) -> Vec<http::Request<Vec<u8>>> {
        self.requests.take()
    }

    pub(super) fn fetch(
        &self,
        request: http::Request<Vec<u8>>,
        bounds: Bounds,
    ) -> Result<http::Response<Vec<u8>>, FetchError> {
        let url = request.uri().to_string();
        let url = url.split('?').next().unwrap_or_default();
        let answer = self.answers.borrow().get(url).cloned();
        self.requests.borrow_mut().push(request);
        let (status, body) = answer.ok_or(FetchError::Unreachable("no such server".to_owned()))?;
        if body.len() > bounds.bytes_max {
            return Err(FetchError::TooLarge);
        }
        Ok(http::Response::builder().status(status).body(body.into_bytes()).unwrap())
    }
}
