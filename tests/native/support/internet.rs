//! The servers that a test pretends there are.

use std::cell::RefCell;
use std::collections::HashMap;

use myelin::outbound::{Bounds, FetchError};

#[derive(Default)]
pub struct Internet {
    /// By URL without its query.
    answers: RefCell<HashMap<String, http::Response<Vec<u8>>>>,
    requests: RefCell<Vec<http::Request<Vec<u8>>>>,
}

impl Internet {
    /// From now on, this URL is answered like this, whatever its query.
    pub fn answer(&self, url: &str, status: u16, body: &str) {
        self.answer_with(url, status, &[], body.as_bytes());
    }

    /// As [`Internet::answer`], with headers.
    pub fn answer_with(&self, url: &str, status: u16, headers: &[(&str, &str)], body: &[u8]) {
        let mut answer = http::Response::builder().status(status);
        for (name, value) in headers {
            answer = answer.header(*name, *value);
        }
        let answer = answer.body(body.to_vec()).unwrap();
        self.answers.borrow_mut().insert(url.to_owned(), answer);
    }

    /// From now on, nobody answers there.
    pub fn forget(&self, url: &str) {
        self.answers.borrow_mut().remove(url);
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
        let answer = answer.ok_or(FetchError::Unreachable("no such server".to_owned()))?;
        if answer.body().len() > bounds.bytes_max {
            return Err(FetchError::TooLarge);
        }
        Ok(answer)
    }
}
