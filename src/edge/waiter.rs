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
use worker::web_sys::{AbortSignal, Event, EventTarget, MessageEvent};
use worker::{Delay, Method, RequestInit, Stub, WebSocket};

use crate::durable::sync_notifier::device_tag;
use crate::durable::{News, Waited, Waiter};
use crate::error::ApiError;

/// Where a notifier takes waiters. The query names what they wait for.
pub const WAIT_PATH: &str = "/wait";

/// How many wait at a notifier, in its answers to waiters; with DEVELOPMENT=true only.
pub const SOCKETS_HEADER: &str = "x-myelin-sockets";

const EVENTS: [&str; 3] = ["message", "close", "error"];
const ABORT: &str = "abort";

/// What the waiter hears.
enum Heard {
    News(String),
    Closed,
    HungUp,
}

pub struct SocketWaiter {
    socket: WebSocket,
    events: mpsc::UnboundedReceiver<Heard>,
    news: News,
    sockets: Option<u64>,
    listener: Closure<dyn FnMut(JsValue)>,
    /// Of the client's request.
    signal: Option<AbortSignal>,
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
            // The receiver is gone once the request has been answered.
            let _ = sender.unbounded_send(heard(event));
        });
        let waiter = Self { socket, events, news: News::none(), sockets, listener, signal: None };
        EVENTS.into_iter().try_for_each(|event| waiter.hear(waiter.socket.as_ref(), event))?;
        waiter.socket.accept().map_err(ApiError::internal)?;
        Ok(waiter)
    }

    /// Ends waiting when the client hangs up.
    pub fn until_aborted(mut self, signal: Option<&AbortSignal>) -> Result<Self, ApiError> {
        if let Some(signal) = signal {
            self.hear(signal, ABORT)?;
            self.signal = Some(signal.clone());
        }
        Ok(self)
    }

    fn hear(&self, target: &EventTarget, event: &str) -> Result<(), ApiError> {
        let listener = self.listener.as_ref().unchecked_ref();
        let added = target.add_event_listener_with_callback(event, listener);
        added.map_err(|error| ApiError::internal(format!("{error:?}")))
    }

    fn hear_no_more(&self, target: &EventTarget, event: &str) {
        let listener = self.listener.as_ref().unchecked_ref();
        // It has been added, so it can be taken away.
        let _ = target.remove_event_listener_with_callback(event, listener);
    }
}

fn heard(event: JsValue) -> Heard {
    match event.dyn_ref::<MessageEvent>() {
        Some(message) => Heard::News(message.data().as_string().unwrap_or_default()),
        None if event.unchecked_ref::<Event>().type_() == ABORT => Heard::HungUp,
        None => Heard::Closed,
    }
}

#[async_trait(?Send)]
impl Waiter for SocketWaiter {
    async fn wait(&mut self, timeout_ms: u64) -> Waited {
        if self.signal.as_ref().is_some_and(AbortSignal::aborted) {
            return Waited::HungUp;
        }
        let timeout = Delay::from(std::time::Duration::from_millis(timeout_ms));
        let mut next = match select(self.events.next(), Box::pin(timeout)).await {
            Either::Left((heard, _)) => heard.unwrap_or(Heard::Closed),
            Either::Right(_) => return Waited::TimedOut,
        };
        // Several announcements are looked after together.
        loop {
            match next {
                Heard::News(text) => self.news.add_text(&text),
                Heard::Closed => return Waited::Closed,
                Heard::HungUp => return Waited::HungUp,
            }
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
        for event in EVENTS {
            self.hear_no_more(self.socket.as_ref(), event);
        }
        if let Some(signal) = &self.signal {
            self.hear_no_more(signal, ABORT);
        }
        // It may be closed already.
        let _ = self.socket.close(Some(1000), Some("done"));
    }
}
