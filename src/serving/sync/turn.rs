//! One chunk of an initial sync at a time in an isolate, and none while others send: a chunk is the
//! longest that anything has to wait for. It also bounds the memory: what a chunk has read is held
//! once.

use std::rc::Rc;

use crate::context::{Context, Isolate};

/// A turn ends by itself after so long: the request that has it may have been cut off.
const TURN_MS_MAX: u64 = 500;

/// How often one looks whether the turn is free. Requests cannot wake each other.
const LOOK_EVERY_MS: u64 = 2;

/// Who has looked so often goes on.
const LOOKS_MAX: u32 = 5_000;

/// Others are sending if a room was asked less than so long ago.
const SENDING_MS: u64 = 10;

/// Who has given way to others so often goes on: a tenth of a second for each chunk.
const GIVES_WAY_MAX: u32 = 50;

/// The turn, until it is dropped.
pub struct Turn {
    isolate: Rc<Isolate>,
    ends_ms: u64,
}

impl Turn {
    /// Waits for the turn.
    pub async fn take(context: &Context) -> Self {
        let isolate = &context.isolate;
        let mut given_way = 0;
        for _ in 0..LOOKS_MAX {
            let now_ms = context.now_ms();
            let is_free = isolate.turn_ends_ms.get() <= now_ms;
            let others_send = isolate.room_asked_ms.get() + SENDING_MS > now_ms;
            if is_free && (!others_send || given_way >= GIVES_WAY_MAX) {
                break;
            }
            given_way += u32::from(others_send);
            context.platform.sleep(LOOK_EVERY_MS).await;
        }
        let ends_ms = context.now_ms() + TURN_MS_MAX;
        isolate.turn_ends_ms.set(ends_ms);
        Self { isolate: isolate.clone(), ends_ms }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let turn = &self.isolate.turn_ends_ms;
        if turn.get() == self.ends_ms {
            turn.set(0);
        }
    }
}
