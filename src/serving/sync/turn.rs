//! One chunk of an initial sync at a time in an isolate, and none while others send: a chunk is the
//! longest that anything has to wait for. It also bounds the memory: what a chunk has read is held
//! once.

use std::rc::Rc;

use crate::context::{Context, Isolate};

/// A turn ends by itself after so long: the request that has it may have been cut off.
const TURN_MS_MAX: u64 = 500;

/// Long enough for the runtime to look at its sockets once.
const LET_IN_MS: u64 = 1;

/// How often one looks whether the turn is free. Requests cannot wake each other.
const LOOK_EVERY_MS: u64 = 2;

/// Who has looked so often goes on.
const LOOKS_MAX: u32 = 5_000;

/// Others are sending if a room was asked less than so long ago.
const SENDING_MS: u64 = 10;

/// While others send, a chunk is begun so often: of the messages sent meanwhile, few wait for one.
const EVERY_MS: u64 = 50;

/// And it has so many rooms: those few wait for some milliseconds.
const ROOMS_WHILE_SENDING: usize = 6;

/// The turn, until it is dropped.
pub struct Turn {
    isolate: Rc<Isolate>,
    began_ms: u64,
    others_send: bool,
}

impl Turn {
    /// Waits for the turn, and lets requests in that have arrived meanwhile: where the database is
    /// in the same process, as locally, its answers come before what waits at the socket.
    pub async fn take(context: &Context) -> Self {
        let isolate = &context.isolate;
        context.platform.sleep(LET_IN_MS).await;
        let mut others_send = false;
        for _ in 0..LOOKS_MAX {
            let now_ms = context.now_ms();
            let since_last_ms = now_ms.saturating_sub(isolate.turn_began_ms.get());
            let is_free = !isolate.turn_is_taken.get() || since_last_ms >= TURN_MS_MAX;
            others_send = isolate.room_asked_ms.get() + SENDING_MS > now_ms;
            if is_free && (!others_send || since_last_ms >= EVERY_MS) {
                break;
            }
            context.platform.sleep(LOOK_EVERY_MS).await;
        }
        let began_ms = context.now_ms();
        isolate.turn_began_ms.set(began_ms);
        isolate.turn_is_taken.set(true);
        Self { isolate: isolate.clone(), began_ms, others_send }
    }

    /// How many rooms the chunk of this turn has, of at most `rooms_max`.
    pub fn rooms(&self, rooms_max: usize) -> usize {
        if self.others_send { rooms_max.min(ROOMS_WHILE_SENDING) } else { rooms_max }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.isolate.turn_began_ms.get() == self.began_ms {
            self.isolate.turn_is_taken.set(false);
        }
    }
}
