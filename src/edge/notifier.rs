//! The object that wakes waiting `/sync` requests: hibernating sockets, tagged by what they wait
//! for. See
//! `durable::sync_notifier`.

use std::cell::RefCell;
use std::rc::Rc;

use worker::{
    DurableObject, Env, Request, Response, State, WebSocket, WebSocketIncomingMessage,
    WebSocketPair, durable_object,
};

use super::objects::{answer, command};
use super::waiter::WAIT_PATH;
use crate::durable::sync_notifier::{Announced, Concerned, Notifier};
use crate::error::ApiError;
use crate::log;

/// Up to so many ids are looked up by tag; more are searched for among the open sockets.
const LOOKUPS_MAX: usize = 16;

/// See `durable::sync_notifier`.
#[durable_object(websocket)]
pub struct SyncNotifier {
    state: Rc<State>,
    notifier: RefCell<Notifier>,
}

impl SyncNotifier {
    /// Accepts the socket of a waiting request.
    fn register(&self, ids: &[&str]) -> worker::Result<Response> {
        let pair = WebSocketPair::new()?;
        self.state.accept_websocket_with_tags(&pair.server, ids);
        Response::from_websocket(pair.client)
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
        for socket in sockets {
            // A socket that is being closed cannot be sent to, and needs no waking.
            if let Err(error) = socket.send_with_str(concerned.news()) {
                log::warn(&format!("a waiting request could not be woken: {error}"));
            }
        }
    }
}

impl DurableObject for SyncNotifier {
    fn new(state: State, _env: Env) -> Self {
        Self { state: Rc::new(state), notifier: RefCell::default() }
    }

    async fn fetch(&self, mut request: Request) -> worker::Result<Response> {
        let url = request.url()?;
        if url.path() != WAIT_PATH {
            return answer(self.hear(&mut request).await);
        }
        let ids: Vec<_> = url.query_pairs().map(|(_, id)| id).collect();
        self.register(&ids.iter().map(AsRef::as_ref).collect::<Vec<_>>())
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
