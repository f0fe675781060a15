//! The object that wakes waiting `/sync` requests: hibernating sockets, tagged by what they wait
//! for. See
//! `durable::sync_notifier`.

use std::cell::RefCell;
use std::rc::Rc;

use worker::{
    Date, DurableObject, Env, Headers, Request, Response, State, WebSocket,
    WebSocketIncomingMessage, WebSocketPair, durable_object,
};

use super::objects::{answer, command};
use super::platform::config;
use super::waiter::{SOCKETS_HEADER, WAIT_PATH};
use crate::durable::sync_notifier::{Announced, Concerned, Notifier, oldest_beyond, socket_limits};
use crate::error::ApiError;
use crate::log;

/// Up to so many ids are looked up by tag; more are searched for among the open sockets.
const LOOKUPS_MAX: usize = 16;

/// See `durable::sync_notifier`.
#[durable_object(websocket)]
pub struct SyncNotifier {
    state: Rc<State>,
    notifier: RefCell<Notifier>,
    /// Waiters are told how many they are.
    counts_sockets: bool,
}

impl SyncNotifier {
    /// Accepts the socket of a waiting request, in place of the oldest if there are too many. The
    /// first two tags are of the user and of the device.
    fn register(&self, tags: &[&str]) -> worker::Result<Response> {
        let pair = WebSocketPair::new()?;
        self.state.accept_websocket_with_tags(&pair.server, tags);
        pair.server.serialize_attachment(Date::now().as_millis() as f64)?;
        if let [user_id, device_tag, ..] = tags {
            for (tag, limit) in socket_limits(user_id, device_tag) {
                self.close_oldest(tag, limit);
            }
        }
        let response = Response::from_websocket(pair.client)?;
        if !self.counts_sockets {
            return Ok(response);
        }
        let headers = Headers::new();
        let count = self.state.get_websockets().iter().filter(|socket| is_open(socket)).count();
        headers.set(SOCKETS_HEADER, &count.to_string())?;
        Ok(response.with_headers(headers))
    }

    fn close_oldest(&self, tag: &str, limit: usize) {
        let mut sockets = self.state.get_websockets_with_tag(tag);
        if sockets.len() <= limit {
            return;
        }
        sockets.retain(is_open);
        // Without a time it was accepted by a release before this one.
        let since = |socket: &WebSocket| socket.deserialize_attachment().ok().flatten();
        let times: Vec<f64> = sockets.iter().map(|each| since(each).unwrap_or_default()).collect();
        for index in oldest_beyond(&times, limit) {
            // It may be closing just now.
            let _ = sockets[index].close(Some(1000), Some("too many wait"));
        }
    }

    async fn hear(&self, request: &mut Request) -> Result<Announced, ApiError> {
        let announcement = command(request).await?;
        let mut notifier = self.notifier.borrow_mut();
        let (concerned, announced) = notifier.hear(announcement);
        self.wake(&concerned);
        Ok(announced)
    }

    fn wake(&self, concerned: &Concerned<'_>) {
        let sockets = if concerned.len() <= LOOKUPS_MAX {
            concerned.ids().flat_map(|id| self.state.get_websockets_with_tag(id)).collect()
        } else {
            let mut sockets = self.state.get_websockets();
            sockets.retain(|socket| {
                self.state.get_tags(socket).iter().any(|id| concerned.contains(id))
            });
            sockets
        };
        for socket in sockets.iter().filter(|socket| is_open(socket)) {
            // A socket that is being closed cannot be sent to, and needs no waking.
            if let Err(error) = socket.send_with_str(concerned.news()) {
                log::warn(&format!("a waiting request could not be woken: {error}"));
            }
        }
    }
}

/// Whether it can be sent to, and nobody has closed it yet.
fn is_open(socket: &WebSocket) -> bool {
    let socket: &worker::web_sys::WebSocket = socket.as_ref();
    socket.ready_state() == worker::web_sys::WebSocket::OPEN
}

impl DurableObject for SyncNotifier {
    fn new(state: State, env: Env) -> Self {
        let counts_sockets = config(&env).is_ok_and(|config| config.development);
        Self { state: Rc::new(state), notifier: RefCell::default(), counts_sockets }
    }

    async fn fetch(&self, mut request: Request) -> worker::Result<Response> {
        let url = request.url()?;
        if url.path() != WAIT_PATH {
            return answer(self.hear(&mut request).await);
        }
        let tags: Vec<_> = url.query_pairs().map(|(_, tag)| tag).collect();
        self.register(&tags.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    async fn websocket_message(
        &self,
        _socket: WebSocket,
        _message: WebSocketIncomingMessage,
    ) -> worker::Result<()> {
        Ok(())
    }

    async fn websocket_close(
        &self,
        socket: WebSocket,
        _code: usize,
        _reason: String,
        _was_clean: bool,
    ) -> worker::Result<()> {
        // The runtime may have answered the closing handshake already.
        let _ = socket.close(Some(1000), Some("done"));
        Ok(())
    }

    async fn websocket_error(
        &self,
        _socket: WebSocket,
        _error: worker::Error,
    ) -> worker::Result<()> {
        Ok(())
    }
}
