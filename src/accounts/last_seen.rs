//! Where and when users were last seen: `user_ips`, and the same in `devices`. Written after the
//! answer, at most once in two minutes for each token and address.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::context::{Context, Meter};
use crate::storage::access_tokens::{self, TokenRow};
use crate::storage::user_ips::{self, Sighting};

/// Synapse's granularity.
const INTERVAL_MS: u64 = 120_000;

/// Tokens and addresses that one isolate remembers.
const REMEMBERED_MAX: usize = 10_000;

/// When this isolate last wrote, by token and address.
type Written = RefCell<HashMap<(i64, String), u64>>;

fn written(context: &Context) -> Rc<Written> {
    let name = "last_seen";
    let mut memo = context.isolate.memo.borrow_mut();
    let entry = memo.entry(name).or_insert_with(|| Rc::new(Written::default()));
    entry.clone().downcast::<Written>().unwrap_or_default()
}

/// Notes a request that was authenticated by this token.
pub fn note(context: &Context, row: &TokenRow, token: &str, address: &str, user_agent: &str) {
    let now_ms = context.now_ms();
    let mut statements = Vec::new();
    if row.ends_refresh_token {
        statements.push(access_tokens::mark_used(row.token_id));
    }
    if is_due(&written(context), (row.token_id, address.to_owned()), now_ms) {
        statements.extend(user_ips::record(&Sighting {
            user_id: &row.user_id,
            device_id: row.device_id.as_deref(),
            access_token: token,
            address,
            user_agent,
            last_seen_ms: now_ms,
        }));
    }
    if statements.is_empty() {
        return;
    }
    // It is not part of what the request costs its caller.
    let context = Context { meter: Rc::new(Meter::default()), ..context.clone() };
    let platform = context.platform.clone();
    platform.spawn(Box::pin(async move {
        if let Err(error) = context.batch(statements).await {
            crate::log::warn(&format!("a sighting was not written: {error}"));
        }
    }));
}

fn is_due(written: &Written, key: (i64, String), now_ms: u64) -> bool {
    let mut written = written.borrow_mut();
    if written.get(&key).is_some_and(|at_ms| now_ms.saturating_sub(*at_ms) < INTERVAL_MS) {
        return false;
    }
    if written.len() >= REMEMBERED_MAX {
        written.clear();
    }
    written.insert(key, now_ms);
    true
}
