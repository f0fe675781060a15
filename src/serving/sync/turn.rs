//! One chunk of an initial sync at a time in an isolate: between two of them, others send and
//! read. It also bounds the memory: what a chunk has read is held once.

use std::rc::Rc;

use crate::context::{Context, Isolate};

/// A turn ends by itself after so long: the request that has it may have been cut off.
const TURN_MS_MAX: u64 = 500;

/// How often one looks whether the turn is free. Requests cannot wake each other.
const LOOK_EVERY_MS: u64 = 2;

/// Who has looked so often goes on.
const LOOKS_MAX: u64 = 5_000;

/// The turn, until it is dropped.
pub struct Turn {
    isolate: Rc<Isolate>,
    ends_ms: u64,
}

impl Turn {
    /// Waits for the turn.
    pub async fn take(context: &Context) -> Self {
        let turn = &context.isolate.turn_ends_ms;
        for _ in 0..LOOKS_MAX {
            if turn.get() <= context.now_ms() {
                break;
            }
            context.platform.sleep(LOOK_EVERY_MS).await;
        }
        let ends_ms = context.now_ms() + TURN_MS_MAX;
        turn.set(ends_ms);
        Self { isolate: context.isolate.clone(), ends_ms }
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
