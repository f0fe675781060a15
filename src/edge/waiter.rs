//! The Worker's end of a wait: a socket into the user's notifier. While it waits, no object is
//! awake.

use async_trait::async_trait;
use futures_channel::mpsc;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use ruma::{DeviceId, RoomId};
use url::Url;
use wasm_bindgen::prelude::Closure;
use wasm_bindgen::{JsCast, JsValue};
use worker::{Delay, Method, RequestInit, Stub, WebSocket};

use crate::durable::sync_notifier::device_tag;
use crate::durable::{News, Waited, Waiter};
use crate::error::ApiError;

/// Where a notifier takes waiters. The query names what they wait for.
pub const WAIT_PATH: &str = "/wait";

/// How many wait at a notifier, in its answers to waiters; with DEVELOPMENT=true only.
pub const SOCKETS_HEADER: &str = "x-myelin-sockets";

const EVENTS: [&str; 3] = ["message", "close", "error"];

pub struct SocketWaiter {
    socket: WebSocket,
    /// What the notifier said, for each event of the socket; `None` for its end.
    events: mpsc::UnboundedReceiver<Option<String>>,
    news: News,
    sockets: Option<u64>,
    listener: Closure<dyn FnMut(JsValue)>,
}

impl SocketWaiter {
    /// Opens the socket. Once this returns, the notifier wakes us.
    pub async fn register(
        notifier: &Stub,
        user_id: &str,
        device_id: Option<&DeviceId>,
        room_id: Option<&RoomId>,
    ) -> Result<Self, ApiError> {
        let mut init = RequestInit::new();
        init.with_method(Method::Get);
        init.headers.set("upgrade", "websocket").map_err(ApiError::internal)?;
        let mut url = Url::parse("https://object").map_err(ApiError::internal)?;
        url.set_path(WAIT_PATH);
        let device_tag = device_tag(user_id, device_id);
        let mut query = url.query_pairs_mut();
        query.append_pair("user_id", user_id).append_pair("device", &device_tag);
        if let Some(room_id) = room_id {
            query.append_pair("room_id", room_id.as_str());
        }
        drop(query);
        let request =
            worker::Request::new_with_init(url.as_str(), &init).map_err(ApiError::internal)?;
        let response = notifier.fetch_with_request(request).await.map_err(ApiError::internal)?;
        let sockets = response.headers().get(SOCKETS_HEADER).ok().flatten();
        let sockets = sockets.and_then(|count| count.parse().ok());
        let socket = response.websocket();
        let socket = socket.ok_or_else(|| ApiError::internal("the notifier opened no socket"))?;
        Self::listen(socket, sockets)
    }

    /// Listens first and accepts the socket after, so that no event falls between.
    fn listen(socket: WebSocket, sockets: Option<u64>) -> Result<Self, ApiError> {
        let (sender, events) = mpsc::unbounded();
        let listener = Closure::new(move |event: JsValue| {
            let message = event.dyn_ref::<worker::web_sys::MessageEvent>();
            let text = message.map(|message| message.data().as_string().unwrap_or_default());
            // The receiver is gone once the request has been answered.
            let _ = sender.unbounded_send(text);
        });
        let waiter = Self { socket, events, news: News::none(), sockets, listener };
        let target: &worker::web_sys::WebSocket = waiter.socket.as_ref();
        for event in EVENTS {
            let listener = waiter.listener.as_ref().unchecked_ref();
            let added = target.add_event_listener_with_callback(event, listener);
            added.map_err(|error| ApiError::internal(format!("{error:?}")))?;
        }
        waiter.socket.accept().map_err(ApiError::internal)?;
        Ok(waiter)
    }
}

#[async_trait(?Send)]
impl Waiter for SocketWaiter {
    async fn wait(&mut self, timeout_ms: u64) -> Waited {
        let timeout = Delay::from(std::time::Duration::from_millis(timeout_ms));
        let mut next = match select(self.events.next(), Box::pin(timeout)).await {
            Either::Left((event, _)) => event.flatten(),
            Either::Right(_) => return Waited::TimedOut,
        };
        // Several announcements are looked after together.
        loop {
            let Some(text) = next else { return Waited::Closed };
            self.news.add_text(&text);
            match self.events.try_recv() {
                Ok(event) => next = event,
                Err(_) => return Waited::Woken,
            }
        }
    }

    fn take_news(&mut self) -> News {
        std::mem::replace(&mut self.news, News::none())
    }

    fn sockets(&self) -> Option<u64> {
        self.sockets
    }
}

impl Drop for SocketWaiter {
    fn drop(&mut self) {
        let target: &worker::web_sys::WebSocket = self.socket.as_ref();
        for event in EVENTS {
            let listener = self.listener.as_ref().unchecked_ref();
            let _ = target.remove_event_listener_with_callback(event, listener);
        }
        // It may be closed already.
        let _ = self.socket.close(Some(1000), Some("done"));
    }
}
