//! How long somebody is online. Client-Server API, "Presence"; the times are Synapse's.
//!
//! No process counts for a user here: what devices say is noted with a time, and whoever reads it
//! later judges by the time that has passed.

use ruma::presence::PresenceState;

/// Who has not been active for so long is idle.
pub const IDLE_MS: u64 = 5 * 60 * 1000;

/// After the last sync has ended, somebody stays for so long.
const SYNC_ONLINE_TIMEOUT_MS: u64 = 30 * 1000;

/// A device that goes on as it is, is noted so often and no more: a note is a row.
pub const NOTED_EVERY_MS: u64 = 4 * 60 * 1000;

/// Who has not been noted for so long is gone.
pub const OFFLINE_MS: u64 = NOTED_EVERY_MS + SYNC_ONLINE_TIMEOUT_MS;

/// What a device last said of its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNote {
    pub state: PresenceState,
    pub last_active_ts: u64,
}

impl DeviceNote {
    /// Whether the device need not be noted again to stay in this state.
    pub fn holds(&self, state: &PresenceState, now_ms: u64) -> bool {
        self.state == *state && now_ms < self.last_active_ts.saturating_add(NOTED_EVERY_MS)
    }
}

/// What a presence that was noted is worth now. `last_sync_ts` is when the last sync ends.
pub fn shown(
    noted: &PresenceState,
    last_active_ts: u64,
    last_sync_ts: u64,
    now_ms: u64,
) -> PresenceState {
    let passed = |since: u64| now_ms.saturating_sub(since);
    if *noted == PresenceState::Offline || passed(last_active_ts.max(last_sync_ts)) > OFFLINE_MS {
        return PresenceState::Offline;
    }
    if *noted == PresenceState::Online && passed(last_active_ts) > IDLE_MS {
        return PresenceState::Unavailable;
    }
    noted.clone()
}

#[cfg(test)]
mod tests {
    use PresenceState::{Offline, Online, Unavailable};

    use super::*;

    #[test]
    fn who_is_silent_becomes_idle_and_who_syncs_no_more_is_gone() {
        let at = |now_ms: u64| shown(&Online, 1_000, 301_000, now_ms);
        assert_eq!(at(1_000), Online);
        assert_eq!(at(1_000 + IDLE_MS), Online);
        assert_eq!(at(1_001 + IDLE_MS), Unavailable);
        assert_eq!(at(301_000 + OFFLINE_MS), Unavailable);
        assert_eq!(at(301_001 + OFFLINE_MS), Offline);
        assert_eq!(shown(&Unavailable, 1_000, 0, 1_000 + OFFLINE_MS), Unavailable);
        assert_eq!(shown(&Unavailable, 1_000, 0, 1_001 + OFFLINE_MS), Offline);
        assert_eq!(shown(&Offline, 1_000, 1_000, 1_000), Offline);
    }

    #[test]
    fn a_device_that_stays_as_it_is_need_not_be_noted_at_each_sync() {
        let note = DeviceNote { state: Online, last_active_ts: 1_000 };
        assert!(note.holds(&Online, NOTED_EVERY_MS + 999));
        assert!(!note.holds(&Online, NOTED_EVERY_MS + 1_000));
        assert!(!note.holds(&Unavailable, 1_000));
    }
}
